"""The load generator, in virtual time."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.testbed.virtual import FakeNodes, FakeReply, VirtualClock, run_virtually

from midhaul.testbed.load.generator import Guard, generate
from midhaul.testbed.load.scenarios import (
    Bursts,
    Constant,
    MultiStream,
    Offline,
    Poisson,
    Recorded,
    Scenario,
    Server,
    SingleStream,
    Stop,
    Warmup,
)
from midhaul.testbed.measure.tables import REQUESTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midhaul.testbed.load.generator import Load
    from midhaul.testbed.load.records import Reply, RequestRecord, Target

SCENARIOS = (
    SingleStream(),
    MultiStream(images_per_request=3),
    Server(arrivals=Poisson(rate_hz=20)),
    Offline(in_flight=4),
    Bursts(requests=2),
)


def load(
    scenario: Scenario,
    target: Target,
    stop: Stop,
    *,
    nodes: Sequence[str] = ("edge",),
    warmup: Warmup | None = None,
    guard: Guard | None = None,
    seed: int = 0,
) -> Load:
    """A load over three images in virtual time, with time-outs after 5 s."""
    return run_virtually(
        generate(
            scenario,
            target,
            ("a", "b", "c"),
            stop=stop,
            nodes=nodes,
            rng=np.random.default_rng(seed),
            clock=VirtualClock(),
            timeout_s=5.0,
            warmup=warmup,
            guard=guard,
        )
    )


def latencies_s(records: Sequence[RequestRecord]) -> np.ndarray:
    """Latencies in seconds."""
    return np.array([record.latency_ns for record in records]) / 1e9


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
@given(count=st.integers(1, 40))
def test_a_fixed_count_is_met(scenario: Scenario, count: int) -> None:
    """Every scenario asks exactly as often as told."""
    result = load(scenario, FakeNodes(), Stop(count=count))
    assert len(result.judged) == count
    assert result.ending == "complete"
    assert [record.request for record in result.records] == list(range(count))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_a_fixed_duration_is_met(scenario: Scenario) -> None:
    """No request is planned after the duration, and the load does not end early."""
    result = load(scenario, FakeNodes(), Stop(duration_s=2.0))
    planned = [record.planned_ns / 1e9 for record in result.judged]
    sent = [record.sent_ns / 1e9 for record in result.judged]
    assert max(planned) < 2.0
    assert max(sent) > 1.5


def test_a_stop_with_both_reaches_both() -> None:
    """Count and duration together are minima, as in MLPerf."""
    scenario = Server(arrivals=Constant(rate_hz=10))
    assert len(load(scenario, FakeNodes(), Stop(count=5, duration_s=2)).judged) == 19
    assert len(load(scenario, FakeNodes(), Stop(count=50, duration_s=2)).judged) == 50


def test_single_stream_plans_when_the_previous_answer_came() -> None:
    """In a closed loop a request is planned for the moment of the last answer."""
    records = load(SingleStream(), FakeNodes(), Stop(count=10)).records
    for before, after in pairwise(records):
        assert after.planned_ns == before.done_ns
    assert latencies_s(records) == pytest.approx(0.01)


def test_multi_stream_sends_its_images_in_one_request() -> None:
    """Each request carries the next images, from the first again after the last."""
    nodes = FakeNodes()
    load(MultiStream(images_per_request=2), nodes, Stop(count=3))
    assert [images for _, images in nodes.asked] == [("a", "b"), ("c", "a"), ("b", "c")]


def test_bursts_visit_one_node_after_the_other() -> None:
    """X requests to one node, one after the other, then X to the next."""
    nodes = FakeNodes()
    scenario = Bursts(requests=2, images_per_request=1)
    load(scenario, nodes, Stop(count=6), nodes=("e1", "e2"))
    assert [node for node, _ in nodes.asked] == ["e1", "e1", "e2", "e2", "e1", "e1"]
    assert nodes.most_outstanding == 1


def test_offline_keeps_its_requests_in_flight() -> None:
    """The pile is worked on at once, and waits from the begin."""
    nodes = FakeNodes()
    records = load(Offline(in_flight=4), nodes, Stop(count=20)).records
    assert nodes.most_outstanding == 4
    assert {record.planned_ns for record in records} == {0}


def test_an_open_loop_does_not_wait_for_answers() -> None:
    """Requests go out on time though the node is ten times too slow."""
    nodes = FakeNodes(lambda _: 1.0)
    scenario = Server(arrivals=Constant(rate_hz=10))
    records = load(scenario, nodes, Stop(count=30)).records
    assert nodes.most_outstanding == 28
    assert all(abs(record.lateness_ns) < 10 for record in records)
    timeouts = [record for record in records if record.status == "timeout"]
    assert len(timeouts) == len(records) - 5
    assert latencies_s(timeouts) == pytest.approx(5.0)


def test_a_frozen_server_cannot_hide_its_queue() -> None:
    """The same freeze of 1 s fills the tail of an open loop and of no closed one."""
    stop = Stop(duration_s=10)
    freeze = (4.0, 5.0)
    scenario = Server(arrivals=Constant(rate_hz=50))
    frozen = load(scenario, FakeNodes(lambda _: 0.001, freeze_s=freeze), stop)
    closed = load(SingleStream(), FakeNodes(lambda _: 0.001, freeze_s=freeze), stop)
    # 50 of 500 requests meet the freeze and wait 1.0, 0.98 … 0.02 s.
    assert np.quantile(latencies_s(frozen.judged), 0.99) == pytest.approx(0.9, abs=0.02)
    assert np.quantile(latencies_s(closed.judged), 0.99) == pytest.approx(0.001)
    assert max(latencies_s(closed.judged)) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(
    "scenario",
    [SingleStream(), Server(arrivals=Constant(rate_hz=0.5)), Offline()],
    ids=lambda s: s.name,
)
def test_a_request_of_1_7_s_is_a_row_of_1_7_s(scenario: Scenario) -> None:
    """No duration wraps at a second: 1.7 s stay 1.7 s down to the table."""
    records = load(scenario, FakeNodes(lambda _: 1.7), Stop(count=1)).records
    table = REQUESTS.from_rows([r.row(configuration=0, block=0) for r in records])
    row = table.to_pylist()[0]
    assert row["latency_ns"] == 1_700_000_000
    assert row["service_ns"] == 1_700_000_000
    assert row["node_ns"] == 1_700_000_000
    assert row["network_ns"] == 0


def test_warm_up_ends_when_windows_agree() -> None:
    """Slow first requests are warm-up rows; what is judged is steady."""
    nodes = FakeNodes(lambda n: 1.0 if n < 3 else 0.1 if n < 12 else 0.01)
    warmup = Warmup(window=5)
    result = load(SingleStream(), nodes, Stop(count=30), warmup=warmup)
    assert result.is_steady
    assert len(result.judged) == 30
    assert len(result.records) - 30 >= 20
    assert latencies_s(result.judged) == pytest.approx(0.01)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_judged_requests_do_not_depend_on_the_warm_up(scenario: Scenario) -> None:
    """Images, nodes and gaps of the judged requests pair up whatever came before."""
    plans = []
    for first in (1, 23):
        nodes = FakeNodes(lambda n, first=first: 0.5 if n < first else 0.01)
        result = load(
            scenario,
            nodes,
            Stop(count=12),
            nodes=("e1", "e2"),
            warmup=Warmup(window=4),
        )
        begin = result.judged[0].planned_ns
        plans.append(
            [
                (
                    record.images,
                    record.node,
                    (record.planned_ns - begin) / 1e9
                    if isinstance(scenario, Server)
                    else 0,
                )
                for record in result.judged
            ]
        )
    assert [plan[:2] for plan in plans[0]] == [plan[:2] for plan in plans[1]]
    gaps = np.array([[plan[2] for plan in one] for one in plans])
    assert gaps[0] == pytest.approx(gaps[1], abs=1e-6)


def test_warm_up_gives_up_when_the_load_grows_for_ever() -> None:
    """An overloaded node is never steady; the cell is still measured, and says so."""
    result = load(
        Server(arrivals=Constant(rate_hz=100)),
        FakeNodes(lambda _: 0.02),
        Stop(count=20),
        warmup=Warmup(window=10, max_requests=100),
    )
    assert not result.is_steady
    assert len(result.judged) == 20
    assert len(result.records) == 120


def test_too_many_outstanding_requests_end_the_load() -> None:
    """Memory stays bounded when a node never answers."""
    guard = Guard(max_outstanding=50)
    scenario = Server(arrivals=Constant(rate_hz=1000))
    result = load(scenario, FakeNodes(lambda _: 9), Stop(count=5000), guard=guard)
    assert result.ending == "too many outstanding"
    assert len(result.records) == 51


def test_a_dead_node_ends_the_load() -> None:
    """Failures in a row end a load whose stop would never come."""

    class Dead:
        async def send(
            self, node: str, images: Sequence[str], *, timeout_s: float
        ) -> Reply:
            await asyncio.sleep(0.001)
            return FakeReply(status="refused", error=f"{node}, {images}, {timeout_s}")

    guard = Guard(max_failures=20)
    result = load(SingleStream(), Dead(), Stop(duration_s=1e6), guard=guard)
    assert result.ending == "nobody answers"
    assert len(result.records) == 20


def test_recorded_arrivals_that_end_are_said_to() -> None:
    """A recording shorter than the stop does not pass for a complete load."""
    scenario = Server(arrivals=Recorded(times_s=np.array([0.0, 0.5, 1.0])))
    result = load(scenario, FakeNodes(), Stop(count=10))
    assert result.ending == "arrivals over"
    assert len(result.records) == 3


def test_what_a_callback_raises_ends_the_load() -> None:
    """A full disk is no hang: the error comes out of the load, at once."""
    seen: list[int] = []

    def fail(record: RequestRecord, reply: Reply) -> None:
        seen.append(len(reply.meta) + record.request)
        if len(seen) == 3:
            message = "disk full"
            raise OSError(message)

    for scenario in SCENARIOS:
        seen.clear()
        with pytest.raises(OSError, match="disk full"):
            run_virtually(
                generate(
                    scenario,
                    FakeNodes(),
                    ("a",),
                    stop=Stop(duration_s=1e4),
                    nodes=("edge",),
                    rng=np.random.default_rng(0),
                    clock=VirtualClock(),
                    timeout_s=5.0,
                    on_done=fail,
                )
            )
        assert len(seen) < 20


def test_a_load_needs_images_and_nodes() -> None:
    """Nothing to send, or nowhere to send it, is a mistake."""
    with pytest.raises(ValueError, match="found 3 and 0"):
        load(SingleStream(), FakeNodes(), Stop(count=1), nodes=())
