"""Work is predicted, done in slices and kept."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from tests.network.fake_simulator import FakeSimulation, FakeSimulator

from midhaul.network.checks import check_problems
from midhaul.network.transports import RdmaTransport
from midhaul.network.work import first_flows, packet_hops, predict, work_off

if TYPE_CHECKING:
    from midhaul.network.problem import NetworkProblem

PROBLEMS: dict[str, NetworkProblem] = dict(check_problems(RdmaTransport()))


class Clock:
    """Seconds that pass only when somebody works."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now_s


def test_packets_times_links_are_counted() -> None:
    """A packet is full but for the last one, and counts on each link."""
    problem = PROBLEMS["many flows"]
    expected = [
        -(-int(size) // 1000) * len(problem.routes.of(i))
        for i, size in enumerate(problem.flows.size_bytes)
    ]
    assert packet_hops(problem).tolist() == expected


def test_the_first_flows_are_a_problem_of_their_own() -> None:
    """Also where flows wait for each other."""
    for name in ("many flows", "one after the other"):
        part = first_flows(PROBLEMS[name], 5)
        assert len(part.flows) == 5
        simulation = FakeSimulator().begin(part)
        assert simulation.advance(100)
        whole = FakeSimulator().begin(PROBLEMS[name])
        whole.advance(100)
        first = whole.results().start_ns[:5]
        assert np.array_equal(simulation.results().start_ns, first)


def test_small_work_is_not_probed() -> None:
    """What takes a second anyway is begun at once, and says so."""
    found = predict(FakeSimulator(), PROBLEMS["many flows"])
    assert found.seconds is None
    assert found.sentence.endswith("a second or so")


def test_large_work_is_predicted_from_its_first_flows() -> None:
    """Events and seconds grow with packets times links."""
    problem = PROBLEMS["many flows"]
    sizes = problem.flows.size_bytes * 1000
    large = replace(problem, flows=replace(problem.flows, size_bytes=sizes))
    found = predict(FakeSimulator(), large)
    assert found.n_packet_hops == packet_hops(large).sum()
    assert found.n_events is not None
    assert found.seconds is not None
    assert "events" in found.sentence


def test_work_is_told_and_kept_between_slices() -> None:
    """The shares add up to the whole; what is kept comes at its time."""
    clock = Clock()

    class Slow:
        """Takes a second for each call."""

        def __init__(self) -> None:
            self.n = 0

        @property
        def share_done(self) -> float:
            return self.n / 10

        def advance(self, n_events: int) -> bool:
            assert n_events >= 1
            self.n += 1
            clock.now_s += 1.0
            return self.n == 10

    shares: list[float] = []
    kept: list[float] = []
    took_s = work_off(
        Slow(),  # type: ignore[arg-type]
        advance=shares.append,
        keep=kept.append,
        keep_every_s=3.0,
        clock=clock,
    )
    assert took_s == 10.0
    assert sum(shares) == 1.0
    assert kept == [3.0, 6.0, 9.0]


def test_many_small_parts_do_not_make_slices_without_end() -> None:
    """Slices that end early say nothing of how long the next one takes."""

    class Parts(FakeSimulation):
        def advance(self, n_events: int) -> bool:
            asked.append(n_events)
            return len(asked) == 200

    asked: list[int] = []
    work_off(Parts(PROBLEMS["many flows"], None), clock=Clock())
    assert max(asked) < 1e9
