"""The workload over HTTP, where nobody listens; e2e tests have nodes that answer."""

from __future__ import annotations

import gc
import socket

import numpy as np
import pytest

from midhaul.testbed.load.generator import Guard, run_load
from midhaul.testbed.load.scenarios import Poisson, Scenario, Server, SingleStream, Stop


@pytest.fixture
def nowhere() -> str:
    """The address of a port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@pytest.mark.parametrize(
    "scenario",
    [SingleStream(), Server(arrivals=Poisson(rate_hz=1000))],
    ids=lambda s: s.name,
)
def test_a_node_that_is_gone_gives_rows_that_say_so(
    scenario: Scenario, nowhere: str
) -> None:
    """Refused connections are rows with a status and end the load soon."""
    load = run_load(
        scenario,
        {"edge": nowhere},
        {"a": b"x"},
        ["a"],
        stop=Stop(duration_s=60),
        rng=np.random.default_rng(0),
        timeout_s=5.0,
        guard=Guard(max_failures=10),
    )
    assert load.ending == "nobody answers"
    assert {record.status for record in load.records} == {"refused"}
    assert all(nowhere in str(record.error) for record in load.records)
    assert all(record.latency_ns > 0 for record in load.records)


def test_garbage_is_collected_again_after_a_load(nowhere: str) -> None:
    """A load leaves the collector as it was, though it ended with an error."""

    def fail(*_: object) -> None:
        message = "disk full"
        raise OSError(message)

    assert gc.isenabled()
    with pytest.raises(OSError, match="disk full"):
        run_load(
            SingleStream(),
            {"edge": nowhere},
            {"a": b"x"},
            ["a"],
            stop=Stop(count=3),
            rng=np.random.default_rng(0),
            timeout_s=5.0,
            on_done=fail,
        )
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
