"""A node that stands still for a second cannot hide it from an open loop."""

from __future__ import annotations

import io
import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from midhaul.testbed.load.generator import run_load
from midhaul.testbed.load.scenarios import (
    Constant,
    Poisson,
    Scenario,
    Server,
    SingleStream,
    Stop,
)
from midhaul.testbed.measure.tables import REQUESTS
from midhaul.testbed.nodes.launcher import LocalLauncher
from midhaul.testbed.nodes.settings import NodeSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from midhaul.testbed.nodes.launcher import LocalNode

DURATION_S = 4.0
FREEZE_S = 1.0


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalNode]:
    """A node that answers nothing, at once, in a process of its own."""
    folder: Path = tmp_path_factory.mktemp("node")
    with LocalLauncher(folder) as launcher:
        yield launcher.start(NodeSettings(name="edge", detector="null"), {})


def picture() -> bytes:
    """A small JPEG."""
    file = io.BytesIO()
    Image.new("RGB", (64, 48), "gray").save(file, "JPEG")
    return file.getvalue()


def measure_frozen(node: LocalNode, scenario: Scenario) -> tuple[np.ndarray, float]:
    """Latencies in seconds, from the table's rows, and how long the node stood still.

    The machine may be slow to stop or wake the node, so the length is measured.
    """
    moments: list[float] = []

    def freeze() -> None:
        time.sleep(DURATION_S / 3)
        os.kill(node.pid, signal.SIGSTOP)
        moments.append(time.monotonic())
        time.sleep(FREEZE_S)
        os.kill(node.pid, signal.SIGCONT)
        moments.append(time.monotonic())

    freezer = threading.Thread(target=freeze)
    freezer.start()
    try:
        load = run_load(
            scenario,
            {"edge": node.url},
            {"scene": picture()},
            ["scene"],
            stop=Stop(duration_s=DURATION_S),
            rng=np.random.default_rng(0),
            timeout_s=10.0,
        )
    finally:
        freezer.join()
    rows = [record.row(configuration=0, block=0) for record in load.judged]
    table = REQUESTS.from_rows(rows)
    assert set(table["status"].to_pylist()) == {"ok"}
    return table["latency_ns"].to_numpy() / 1e9, moments[1] - moments[0]


@pytest.mark.parametrize(
    "arrivals", [Constant(rate_hz=50), Poisson(rate_hz=50)], ids=["constant", "poisson"]
)
def test_an_open_loop_sees_the_freeze(
    node: LocalNode, arrivals: Constant | Poisson
) -> None:
    """Under 50 requests per second a freeze of 1 s makes p99 about 1 s.

    Afterwards the node works off the 50 that waited, in no time unless the machine is
    busy; one in five requests was long over by then.
    """
    latency_s, frozen_s = measure_frozen(node, Server(arrivals=arrivals))
    backlog_s = 50 * np.quantile(latency_s, 0.2)
    assert 0.7 * frozen_s <= np.quantile(latency_s, 0.99) <= 1.6 * frozen_s + backlog_s
    # A quarter of the requests meet the freeze, for half of its length on average.
    assert np.quantile(latency_s, 0.9) >= 0.3 * frozen_s


def test_a_closed_loop_does_not(node: LocalNode) -> None:
    """The same freeze is a single request of a closed loop, and p99 stays small.

    On a busy machine the freeze may be over before the first request.
    """
    for _ in range(5):
        latency_s, frozen_s = measure_frozen(node, SingleStream())
        if max(latency_s) >= 0.7 * frozen_s:
            break
    assert max(latency_s) >= 0.7 * frozen_s
    assert np.quantile(latency_s, 0.99) <= 0.3 * frozen_s + 5 * np.median(latency_s)
