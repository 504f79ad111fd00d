"""MLPerf's load generator as a second opinion: its Server scenario against a node.

Both generators drive the same node at the same time, each at half of the rate, so that
whatever slows the machine for a while slows both. Poisson arrivals see what any other
Poisson arrivals see (Wolff 1982), so the two must find the same percentiles.

Needs ``mlcommons-loadgen``. Used by ``load_generator.py`` and by the tests.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlperf_loadgen
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import uvloop

from midhaul.stats import paired_bootstrap, quantile, quantile_statistic
from midhaul.testbed.load.generator import run_load
from midhaul.testbed.load.scenarios import Poisson, Server, Stop
from midhaul.testbed.nodes.launcher import LocalLauncher
from midhaul.testbed.nodes.settings import NodeSettings
from midhaul.wire import Client

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

PERCENTILES = (50, 90, 99)
_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a generator did and found.

    Attributes:
        planned_s: when each request was planned, by the monotonic clock.
        latency_s: from then to its answer.
    """

    planned_s: np.ndarray
    latency_s: np.ndarray

    def between(self, begin_s: float, end_s: float) -> Found:
        """The requests planned in a span of time."""
        is_in = (self.planned_s >= begin_s) & (self.planned_s < end_s)
        return Found(planned_s=self.planned_s[is_in], latency_s=self.latency_s[is_in])


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One percentile of both generators.

    Attributes:
        percentile: which.
        ours_s: latency as ours finds it.
        theirs_s: latency as MLPerf's finds it.
        low_s: lower end of the bootstrap interval of ours minus theirs, seconds of the
            run being the units.
        high_s: upper end.
    """

    percentile: int
    ours_s: float
    theirs_s: float
    low_s: float
    high_s: float

    @property
    def agrees(self) -> bool:
        """True when no difference lies within the interval."""
        return self.low_s <= 0 <= self.high_s

    @property
    def offset(self) -> float:
        """The difference, in lengths of the interval towards no difference."""
        difference = self.ours_s - self.theirs_s
        side = difference - self.low_s if difference > 0 else self.high_s - difference
        return abs(difference) / side if side else float("inf")


def compare(
    *,
    rate_hz: float,
    duration_s: float,
    data: bytes,
    service_s: float = 0.02,
    cv: float = 0.5,
    seed: int = 0,
) -> list[Comparison]:
    """Both generators against the same node at the same time.

    Args:
        rate_hz: mean rate of the Poisson arrivals of each.
        duration_s: of the run.
        data: an encoded image.
        service_s: mean service time of the node, which serves one at a time.
        cv: its coefficient of variation.
        seed: of our arrivals; theirs are the same every time.
    """
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(1) as beside:
        folder = Path(name)
        spec = f"recorded:{_recording(folder)}?service_s={service_s}&cv={cv}"
        with LocalLauncher(folder) as launcher:
            url = launcher.start(NodeSettings(name="edge", detector=spec), {}).url
            count = round(rate_hz * duration_s)
            asking = beside.submit(ask_mlperf, url, data, rate_hz, count, folder)
            ours = ask_ours(url, data, rate_hz, duration_s, seed)
            theirs = asking.result()
    begin_s = max(ours.planned_s.min(), theirs.planned_s.min())
    end_s = min(ours.planned_s.max(), theirs.planned_s.max())
    both = ours.between(begin_s, end_s), theirs.between(begin_s, end_s)
    return [_compared(*both, begin_s, percentile) for percentile in PERCENTILES]


def ask_ours(
    url: str, data: bytes, rate_hz: float, duration_s: float, seed: int
) -> Found:
    """Drive a node by our generator, server scenario.

    Args:
        url: of the node.
        data: an encoded image.
        rate_hz: mean rate of its Poisson arrivals.
        duration_s: of the load.
        seed: of its arrivals.
    """
    begin_s = time.monotonic()
    load = run_load(
        Server(arrivals=Poisson(rate_hz=rate_hz)),
        {"edge": url},
        {"scene": data},
        ["scene"],
        stop=Stop(duration_s=duration_s),
        rng=np.random.default_rng(seed),
        timeout_s=_TIMEOUT_S,
    )
    planned = np.array([record.planned_ns for record in load.judged]) / 1e9
    latency = np.array([record.latency_ns for record in load.judged]) / 1e9
    return Found(planned_s=begin_s + planned, latency_s=latency)


def ask_mlperf(
    url: str, data: bytes, rate_hz: float, count: int, folder: Path
) -> Found:
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

        issued: list[float] = []

        def issue(queries: Sequence[Any]) -> None:
            issued.append(time.monotonic())
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
    return _logged(folder, issued[0])


def _logged(folder: Path, begin_s: float) -> Found:
    """What MLPerf's generator logged, query by query.

    Raises:
        ValueError: its queries and its summary disagree, so the log was misread.
    """
    planned: dict[int, float] = {}
    latency: dict[int, float] = {}
    trace = folder / "mlperf_log_trace.json"
    for line in trace.read_text(encoding="utf-8").splitlines():
        if '"name":"Sample"' in line and '"ph":"b"' in line:
            event = json.loads(line.rstrip(","))
            query = event["args"]["query_seq"]
            planned[query] = event["ts"] / 1e6
            latency[query] = event["args"]["complete_ns"] / 1e9
    order = sorted(planned)
    found = Found(
        planned_s=np.array([planned[query] for query in order]) - planned[0] + begin_s,
        latency_s=np.array([latency[query] for query in order]),
    )
    detail = (folder / "mlperf_log_detail.txt").read_text(encoding="utf-8")
    for percentile in PERCENTILES:
        key = f'"result_{percentile}.00_percentile_latency_ns"'
        (line,) = (line for line in detail.splitlines() if key in line)
        stated = json.loads(line.removeprefix(":::MLLOG "))["value"] / 1e9
        rank = np.searchsorted(np.sort(found.latency_s), stated) / len(order)
        if abs(rank - percentile / 100) > 1.5 / len(order):
            message = f"MLPerf states p{percentile} {stated} s, its queries say {rank}"
            raise ValueError(message)
    return found


def _compared(
    ours: Found, theirs: Found, begin_s: float, percentile: int
) -> Comparison:
    q = percentile / 100
    seconds = [(found.planned_s - begin_s).astype(int) for found in (ours, theirs)]
    n_units = 1 + max(int(unit.max()) for unit in seconds)
    difference = paired_bootstrap(
        quantile_statistic(ours.latency_s, seconds[0], n_units, q=q),
        quantile_statistic(theirs.latency_s, seconds[1], n_units, q=q),
        n_units,
        np.random.default_rng(percentile),
    ).estimate
    return Comparison(
        percentile=percentile,
        ours_s=quantile(ours.latency_s, q),
        theirs_s=quantile(theirs.latency_s, q),
        low_s=difference.low,
        high_s=difference.high,
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
