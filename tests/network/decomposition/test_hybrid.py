"""Hybrid: flows of windows are simulated, others corrected by what these show."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.fluid_cases import RDMA, on_a_line, problems, wire_bytes

from midhaul.errors import ConfigError, DataError
from midhaul.network import (
    Cable,
    FlowLaw,
    NetworkProblem,
    TcpTransport,
    draw_flows,
    leaf_spine,
)
from midhaul.network.checks import SimulatorClaims, check_simulator
from midhaul.network.decomposition import HybridSimulator
from midhaul.network.decomposition.hot_deck import nearest_donors
from midhaul.network.decomposition.hybrid import (
    most_windows,
    round_trip_ns,
    time_window,
)
from midhaul.network.decomposition.window_draws import draw_by_turns, drawn_windows
from midhaul.network.fluid import FluidSimulator
from midhaul.network.packet.simulator import PacketSimulator
from midhaul.network.work import work_off
from midhaul.network.workload import published_sizes

if TYPE_CHECKING:
    from midhaul.network import FlowResults
    from midhaul.network.simulator import Arrays, Simulation, Simulator

PLENTY = 1_000_000


def _hybrid(share: float = 0.3, n_windows: int = 4) -> HybridSimulator:
    return HybridSimulator(
        inner=FluidSimulator(),
        fluid=FluidSimulator(),
        share=share,
        n_windows=n_windows,
        fewest_flows=0,
    )


def _run(problem: NetworkProblem, simulator: Simulator) -> FlowResults:
    simulation = simulator.begin(problem)
    while not simulation.advance(PLENTY):
        pass
    return simulation.results()


def _free(problem: NetworkProblem) -> NetworkProblem:
    """The same without flows that wait."""
    none = np.zeros(0, np.int64)
    return replace(
        problem, flows=replace(problem.flows, after=none, after_offsets=none)
    )


def _fabric(n_flows: int) -> NetworkProblem:
    topology = leaf_spine(
        4, 2, 4, access=Cable(rate_bps=10e9), fabric=Cable(rate_bps=40e9)
    )
    law = FlowLaw(sizes=published_sizes("webserver"), load=0.5, transport=RDMA)
    drawn = draw_flows(topology, law, n_flows, seed=3)
    return NetworkProblem(
        topology=topology, flows=drawn.flows, routes=drawn.routes, transports=(RDMA,)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Twice:
    """A fluid whose flows take twice as long; it stands for packets."""

    name = "twice"

    def begin(self, problem: NetworkProblem, state: Arrays | None = None) -> Simulation:
        """Begin the fluid."""
        return _Twice(FluidSimulator().begin(problem, state))


class _Twice:
    def __init__(self, inner: Simulation) -> None:
        self._inner = inner
        self.advance, self.state = inner.advance, inner.state

    @property
    def share_done(self) -> float:
        return self._inner.share_done

    def results(self) -> FlowResults:
        found = self._inner.results()
        fct_ns = np.where(found.is_finished, 2 * found.fct_ns, found.fct_ns)
        return replace(found, fct_ns=fct_ns)


def test_one_window_of_all_is_the_inner_simulator() -> None:
    """Nothing is drawn."""
    problem = _fabric(400)
    simulator = replace(_hybrid(1.0, 1), inner=PacketSimulator())
    whole, found = _run(problem, PacketSimulator()), _run(problem, simulator)
    assert not found.is_drawn.any()
    assert np.array_equal(found.fct_ns, whole.fct_ns)
    assert np.array_equal(found.n_marked, whole.n_marked)


def test_windows_hold_enough_flows() -> None:
    """More windows are drawn for it; where a third is not enough, all is one window."""
    problem = _fabric(1000)
    for fewest, low, high in ((0, 50, 150), (300, 200, 500), (600, 1000, 1000)):
        found = _run(problem, replace(_hybrid(0.1, 20), fewest_flows=fewest))
        assert low <= np.sum(~found.is_drawn) <= high


def test_all_flows_have_what_windows_show() -> None:
    """Where packets take twice as long as the fluid, all flows do."""
    problem = _fabric(3000)
    fluid = _run(problem, FluidSimulator())
    found = _run(problem, replace(_hybrid(0.2, 10), inner=Twice()))
    assert 0.05 < np.mean(~found.is_drawn) < 0.35
    ratio = found.fct_ns / fluid.fct_ns
    # Of what is under way at the start of a window it is known how much on average.
    assert np.quantile(ratio[found.is_drawn], [0.1, 0.9]) == pytest.approx(2, rel=0.1)
    assert np.quantile(found.slowdown, 0.99) == pytest.approx(
        2 * np.quantile(fluid.slowdown, 0.99), rel=0.1
    )


def test_the_tail_is_nearer_to_packets_than_the_fluid_is() -> None:
    """A quarter of the packets tells most of what the fluid lacks."""
    problem = _fabric(8000)
    simulator = replace(_hybrid(0.25, 20), inner=PacketSimulator())
    whole, fluid, found = (
        _run(problem, one) for one in (PacketSimulator(), FluidSimulator(), simulator)
    )
    true = np.quantile(whole.slowdown, 0.99)
    error = abs(np.quantile(found.slowdown, 0.99) / true - 1)
    assert error < 0.5 * abs(np.quantile(fluid.slowdown, 0.99) / true - 1)
    assert found.n_events < 0.6 * whole.n_events


@given(problems(), st.integers(1, 7), st.integers(0, 20), st.integers(1, 6))
@settings(max_examples=40)
def test_any_slices_and_a_state_change_nothing(
    problem: NetworkProblem, slice_: int, n_before: int, n_windows: int
) -> None:
    """Also when it stops within a window; every byte is where it was sent."""
    problem, simulator = _free(problem), _hybrid(0.5, n_windows)
    whole = _run(problem, simulator)
    first = simulator.begin(problem)
    for _ in range(n_before):
        first.advance(1)
    second = simulator.begin(problem, first.state())
    assert second.results().fct_ns.tolist() == first.results().fct_ns.tolist()
    while not second.advance(slice_):
        pass
    found = second.results()
    assert found.is_finished.all()
    for name in ("fct_ns", "drawn_from", "n_marked"):
        assert np.array_equal(getattr(found, name), getattr(whole, name)), name
    expected = np.zeros(len(problem.topology.links))
    for flow, n_bytes in enumerate(wire_bytes(problem.flows.size_bytes)):
        expected[problem.routes.of(flow)] += n_bytes
    assert np.array_equal(found.links.n_bytes, expected)
    assert (found.fct_ns >= found.ideal_fct_ns).all() or not found.is_drawn.any()


def test_it_is_a_simulator() -> None:
    """It passes the suite of the protocol, but for waiting, which it refuses."""
    claims = SimulatorClaims(
        has_waiting=False, has_samples=False, max_lone_slowdown=1.001
    )
    check_simulator(_hybrid(), RDMA, claims=claims)


def test_a_window_begins_with_what_is_under_way() -> None:
    """A flow that the fluid has half sent is sent from there on, and not judged."""
    problem = on_a_line(
        [8e9], [(0, 1)] * 3, [1_000_000, 1000, 1000], [0, 500_000, 501_000]
    )
    whole = _run(problem, FluidSimulator())
    window = time_window(problem, whole, 500_000, 501_000)
    assert window.flow.tolist() == [0, 1, 2]
    assert window.is_judged.tolist() == [False, True, True]
    left = window.problem.flows.size_bytes[0] / 1_000_000
    assert left == pytest.approx(1 - 500_000 / whole.fct_ns[0], abs=0.01)
    # It joins in the middle of the first half of as long as the window lasts.
    assert window.problem.flows.start_ns.tolist() == [499_250, 500_000, 501_000]


def test_what_is_before_a_window_lasts_round_trips() -> None:
    """Thirty of them, if the window is that long; a quarter of it at least."""
    problem = on_a_line([12e9], [(0, 1)] * 3, [10**7, 1000, 1000], [0, 10**6, 0])
    each_ns = round_trip_ns(problem)
    assert each_ns == pytest.approx(1000 + 2 * problem.topology.links[0].delay_s * 1e9)
    whole = _run(problem, FluidSimulator())
    for length_ns, before in ((10_000, 1.0), (100_000, 0.3), (1_000_000, 0.25)):
        starts = np.array([0, 2_000_000, 2_000_000 + length_ns])
        moved = replace(problem, flows=replace(problem.flows, start_ns=starts))
        window = time_window(moved, whole, int(starts[1]), int(starts[2]))
        joined_ns = 2_000_000 - window.problem.flows.start_ns[0]
        assert joined_ns == pytest.approx(0.75 * before * length_ns, abs=1)


def test_slow_windows_are_drawn_more_often() -> None:
    """Half of the chance goes by what is slow; a share of 1 takes all."""
    slow = np.array([0.0, 0.0, 0.0, 0.5])
    times = np.zeros(4)
    for seed in range(2000):
        chosen, chances = drawn_windows(slow, 0.25, np.random.default_rng(seed))
        times[chosen] += 1
        assert chances.tolist() == [0.625 if one == 3 else 0.125 for one in chosen]
    assert times / 2000 == pytest.approx([0.125, 0.125, 0.125, 0.625], abs=0.03)
    assert drawn_windows(slow, 1.0, np.random.default_rng(0))[0] == [0, 1, 2, 3]
    assert drawn_windows(0 * slow, 0.01, np.random.default_rng(0))[0] != []


def test_windows_by_turns_are_the_slowest_and_others() -> None:
    """The first is the slowest; chosen ones stand for themselves, others for more."""
    draw = draw_by_turns(np.arange(9.0), np.random.default_rng(1))
    assert sorted(draw.order.tolist()) == list(range(9))
    assert draw.order[0] == 8
    assert draw.is_chosen[:6].sum() in {3, 4}
    for n in range(2, 10):
        weight = draw.stands_for(np.ones(n, np.bool_))
        assert (weight[draw.is_chosen[:n]] == 1).all()
        assert weight.sum() == pytest.approx(9)
    without = draw.stands_for(np.arange(6) != 1)
    assert without[1] == 0
    assert without.sum() == pytest.approx(9)


def test_windows_that_are_added_are_as_if_they_had_been_drawn_at_once() -> None:
    """Also from a state; without a group of windows others tell of its flows."""
    problem = _fabric(2000)
    simulator = replace(_hybrid(1, 10), inner=PacketSimulator())
    few, many = (replace(simulator, n_by_turns=n) for n in (4, 6))
    at_once = _run(problem, many)
    simulation = few.begin(problem)
    work_off(simulation)
    simulation = few.begin(problem, simulation.state())
    assert simulation.share_done == 1.0
    simulation.widen(6)
    work_off(simulation)
    found = few.begin(problem, simulation.state()).results()
    assert np.array_equal(found.fct_ns, at_once.fct_ns)
    assert simulation.n_windows == 10
    for slowdown in simulation.left_out(3):
        is_as_it_was = slowdown == at_once.slowdown
        assert 0.2 < is_as_it_was[~at_once.is_drawn].mean() < 1


@given(st.integers(1, 300), st.integers(0, 2**31), st.floats(0, 1))
@settings(max_examples=50)
def test_donors_are_of_the_class_and_nearly_as_slow(
    n: int, seed: int, share: float
) -> None:
    """What is known has itself; a class that has some takes its own, all alike any."""
    rng = np.random.default_rng(seed)
    classes, fluid = rng.integers(0, 3, n), 1 + np.rint(rng.exponential(5, n))
    is_known = rng.random(n) < share
    ways, weights = np.arange(n), is_known * rng.uniform(1, 9, n)
    found = nearest_donors(classes, ways, fluid, weights, rng)
    assert np.array_equal(found[is_known], np.flatnonzero(is_known))
    if not is_known.any():
        assert np.array_equal(found, np.arange(n))
        return
    assert is_known[found].all()
    for c in range(3):
        pool = np.flatnonzero(is_known & (classes == c))
        mine = np.flatnonzero(~is_known & (classes == c))
        if len(pool) < 10:
            continue
        assert (classes[found[mine]] == c).all()
        for one in mine.tolist():
            between = np.sort(fluid[[one, found[one]]])
            n_between = np.sum((fluid[pool] > between[0]) & (fluid[pool] < between[1]))
            assert n_between <= 15


def test_a_donor_stands_for_as_many_as_its_window_was_unlikely() -> None:
    """Of two that are alike one that stands for four times as many gives so often."""
    stands_for = np.array([1.0, 4.0, *np.zeros(5000)])
    classes, fluid = np.zeros(5002, np.int64), np.ones(5002)
    rng = np.random.default_rng(1)
    found = nearest_donors(classes, classes, fluid, stands_for, rng)
    assert np.mean(found[2:] == 1) == pytest.approx(0.8, abs=0.02)


def test_donors_are_of_the_same_way_where_windows_have_many_of_it() -> None:
    """A way with 30 known flows of a class keeps to them, one with 29 does not."""
    rng = np.random.default_rng(2)
    ways = np.repeat([0, 1, 2], 400)
    is_known = np.zeros(1200, np.bool_)
    is_known[:30] = is_known[400:429] = is_known[800:1100] = True
    fluid, classes = np.ones(1200), np.zeros(1200, np.int64)
    found = nearest_donors(classes, ways, fluid, is_known.astype(float), rng)
    assert (ways[found[:400]] == 0).all()
    assert (ways[found[800:]] == 2).all()
    assert set(ways[found[429:800]]) == {0, 1, 2}
    assert is_known[found].all()


def test_windows_of_tcp_are_long_beside_its_time_outs() -> None:
    """Of a second of flows there are 20 of 50 ms where a time-out takes 10 ms."""
    problem = on_a_line([8e9], [(0, 1)] * 2, [5, 5], [0, 1_000_000_000])
    assert most_windows(problem) > 1000
    tcp = TcpTransport(min_timeout_s=0.01)
    assert most_windows(replace(problem, transports=(tcp,))) == 20
    tcp = TcpTransport(min_timeout_s=10)
    assert most_windows(replace(problem, transports=(tcp,))) == 1


def test_what_cannot_be_is_refused() -> None:
    """Flows that wait, links that carry nothing, and states of other problems."""
    hybrid = _hybrid()
    problem = on_a_line([8e9], [(0, 1)] * 2, [5, 5], after=[[], [0]])
    with pytest.raises(ConfigError, match="windows are cut out of time"):
        hybrid.begin(problem)
    with pytest.raises(ConfigError, match="more than 0 bit/s"):
        hybrid.begin(on_a_line([0.0], [(0, 1)], [5]))
    problem = on_a_line([8e9], [(0, 1)], [5])
    with pytest.raises(DataError, match="another problem"):
        hybrid.begin(problem, _hybrid(0.4).begin(problem).state())
