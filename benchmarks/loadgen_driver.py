"""MLPerf's load generator as a second opinion: its Server scenario against a node.

Needs ``mlcommons-loadgen``. Used by ``load_generator.py`` and by the tests.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlperf_loadgen
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import uvloop

from midhaul.stats import bootstrap, quantile_statistic
from midhaul.testbed.arrivals import Recorded
from midhaul.testbed.launcher import LocalLauncher
from midhaul.testbed.nodes import NodeSettings
from midhaul.testbed.scenarios import Server, Stop
from midhaul.testbed.workload import run_load
from midhaul.wire import Client

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from midhaul.testbed.load import Load

PERCENTILES = (50, 90, 99)
_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What MLPerf's load generator did and found.

    Attributes:
        planned_s: when each query was scheduled, from the first.
        percentiles_s: latency by percentile, as its summary states it.
    """

    planned_s: np.ndarray
    percentiles_s: dict[int, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One percentile of both generators.

    Attributes:
        percentile: which.
        theirs_s: what MLPerf's generator states.
        ours_s: what ours finds for the same arrivals.
        low_s: lower end of the bootstrap interval of ours.
        high_s: upper end.
    """

    percentile: int
    theirs_s: float
    ours_s: float
    low_s: float
    high_s: float

    @property
    def is_inside(self) -> bool:
        """True when their percentile lies within our interval."""
        return self.low_s <= self.theirs_s <= self.high_s

    @property
    def offset(self) -> float:
        """Their distance from ours, in lengths of the interval on that side."""
        is_above = self.theirs_s >= self.ours_s
        side = self.high_s - self.ours_s if is_above else self.ours_s - self.low_s
        return abs(self.theirs_s - self.ours_s) / side if side else float("inf")


def compare(
    *, rate_hz: float, count: int, data: bytes, service_s: float = 0.01, cv: float = 0.5
) -> tuple[list[Comparison], Load]:
    """Both generators against the same node, one after the other.

    MLPerf's draws the Poisson arrivals; ours plays the same ones again, and the node,
    started afresh, draws the same service times. What is left to differ is how the two
    send, wait and count.

    Args:
        rate_hz: mean rate of the arrivals.
        count: queries.
        data: an encoded image.
        service_s: mean service time of the node.
        cv: its coefficient of variation.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spec = f"{_recording(folder)}?service_s={service_s}&cv={cv}"
        node = NodeSettings(name="edge", detector=f"recorded:{spec}")
        with LocalLauncher(folder) as launcher:
            url = launcher.start(node, {}).url
            theirs = ask_mlperf(url, data, rate_hz=rate_hz, count=count, folder=folder)
        with LocalLauncher(folder) as launcher:
            ours = run_load(
                Server(arrivals=Recorded(times_s=theirs.planned_s)),
                {"edge": launcher.start(node, {}).url},
                {"scene": data},
                ["scene"],
                stop=Stop(count=count),
                rng=np.random.default_rng(0),
                timeout_s=_TIMEOUT_S,
            )
    latency_s = np.array([record.latency_ns for record in ours.judged]) / 1e9
    return [_compared(latency_s, theirs, p) for p in PERCENTILES], ours


def ask_mlperf(
    url: str, data: bytes, *, rate_hz: float, count: int, folder: Path
) -> Opinion:
    """Drive a node by MLPerf's generator, Server scenario.

    Args:
        url: of the node.
        data: an encoded image.
        rate_hz: target rate of its Poisson arrivals.
        count: queries.
        folder: for its logs.
    """
    settings = mlperf_loadgen.TestSettings()
    settings.scenario = mlperf_loadgen.TestScenario.Server
    settings.mode = mlperf_loadgen.TestMode.PerformanceOnly
    settings.server_target_qps = rate_hz
    settings.min_query_count = settings.max_query_count = count
    settings.min_duration_ms = 0
    log = mlperf_loadgen.LogSettings()
    log.enable_trace = True
    log.log_output.outdir = str(folder)
    log.log_output.copy_summary_to_stdout = False
    with _background_loop() as loop:
        client = Client()
        _result(client.__aenter__(), loop)

        async def ask(query: int) -> None:
            answer = await client.infer(url, [("scene", data)], timeout_s=_TIMEOUT_S)
            if answer.is_ok:
                reply = mlperf_loadgen.QuerySampleResponse(query, 0, 0)
                mlperf_loadgen.QuerySamplesComplete([reply])

        def issue(queries: Sequence[Any]) -> None:
            for query in queries:
                asyncio.run_coroutine_threadsafe(ask(query.id), loop)

        system = mlperf_loadgen.ConstructSUT(issue, lambda: None)
        library = mlperf_loadgen.ConstructQSL(
            1, 1, lambda _samples: None, lambda _samples: None
        )
        mlperf_loadgen.StartTestWithLogSettings(system, library, settings, log, "none")
        mlperf_loadgen.DestroyQSL(library)
        mlperf_loadgen.DestroySUT(system)
        _result(client.close(), loop)
    return _opinion(folder)


def _opinion(folder: Path) -> Opinion:
    """Read what MLPerf's generator logged."""
    planned: dict[int, float] = {}
    trace = folder / "mlperf_log_trace.json"
    for line in trace.read_text(encoding="utf-8").splitlines():
        if '"name":"Sample"' in line and '"ph":"b"' in line:
            event = json.loads(line.rstrip(","))
            planned[event["args"]["query_seq"]] = event["ts"] / 1e6
    found: dict[int, float] = {}
    detail = folder / "mlperf_log_detail.txt"
    for line in detail.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line.removeprefix(":::MLLOG "))
        for percentile in PERCENTILES:
            if entry["key"] == f"result_{percentile}.00_percentile_latency_ns":
                found[percentile] = entry["value"] / 1e9
    times = np.array([planned[number] for number in sorted(planned)])
    return Opinion(planned_s=times - times[0], percentiles_s=found)


def _compared(latency_s: np.ndarray, theirs: Opinion, percentile: int) -> Comparison:
    ours = bootstrap(
        quantile_statistic(latency_s, q=percentile / 100),
        len(latency_s),
        np.random.default_rng(percentile),
    )
    return Comparison(
        percentile=percentile,
        theirs_s=theirs.percentiles_s[percentile],
        ours_s=ours.value,
        low_s=ours.low,
        high_s=ours.high,
    )


def _recording(folder: Path) -> Path:
    """A recording of one box on one image, for a node that only takes its time."""
    file = folder / "recording.parquet"
    box = {"x1": 1.0, "y1": 1.0, "x2": 9.0, "y2": 9.0, "score": 0.9}
    row = {"image_id": "scene", "provider": "p", "label": "car", **box}
    pq.write_table(pa.Table.from_pylist([row]), file)
    return file


@contextmanager
def _background_loop() -> Generator[asyncio.AbstractEventLoop]:
    """An event loop in a thread of its own."""
    loop = uvloop.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _result(work: Any, loop: asyncio.AbstractEventLoop) -> Any:
    return asyncio.run_coroutine_threadsafe(work, loop).result()
