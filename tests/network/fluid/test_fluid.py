"""Fluid: fair at every moment, equal to the reference, exact where one can reckon."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.fluid_cases import (
    RDMA,
    assert_max_min_fair,
    line,
    on_a_line,
    problems,
    routes_of,
    wire_bytes,
)

from midhaul.errors import ConfigError, DataError
from midhaul.model import Link, Topology
from midhaul.network.checks import SimulatorClaims, check_simulator
from midhaul.network.fluid import FluidSimulator
from midhaul.network.fluid.flow_classes import fluid_load
from midhaul.network.fluid.scratch import fair_rates, simulate_from_scratch
from midhaul.network.problem import busiest_links

if TYPE_CHECKING:
    from pathlib import Path

    from midhaul.network import NetworkProblem
    from midhaul.network.fluid import FluidSimulation
    from midhaul.network.fluid.simulator import Method

METHODS = ("paths", "graph")
PLENTY = 1_000_000


def _run(
    problem: NetworkProblem, method: Method = "auto", slice_: int = PLENTY
) -> FluidSimulation:
    simulation = FluidSimulator(method=method).begin(problem)
    while not simulation.advance(slice_):
        pass
    return simulation


@given(problems(), st.sampled_from(METHODS), st.integers(1, 40))
@settings(max_examples=150)
def test_rates_are_max_min_fair_after_any_event(
    problem: NetworkProblem, method: Method, n_events: int
) -> None:
    """Feasible, and every flow has a bottleneck, whatever has started and ended."""
    simulation = FluidSimulator(method=method).begin(problem)
    for _ in range(n_events):
        assert_max_min_fair(simulation)
        if simulation.advance(1):
            break
    assert_max_min_fair(simulation)


@given(problems(), st.sampled_from(METHODS))
@settings(max_examples=150)
def test_what_is_kept_changes_nothing(problem: NetworkProblem, method: Method) -> None:
    """Equal to the reference, which shares everything out anew at each event.

    Who waits for others starts at a whole nanosecond, and half of one is taken up or
    down: each that is waited for may move what comes after it by one.
    """
    moved_ns = len(problem.flows.after)
    load = fluid_load(problem)
    fate = load.fate()
    simulate_from_scratch(load.given, fate, PLENTY)
    simulation = _run(problem, method)
    found = simulation.results()
    expected = pytest.approx(fate.sent_ns, rel=1e-9, abs=moved_ns + 1e-9)
    assert simulation.sent_ns == expected
    assert np.abs(found.fct_ns - fate.fct_ns).max() <= 1 + moved_ns
    assert np.abs(found.start_ns - fate.start_ns).max() <= moved_ns


@given(problems(most_flows=8))
@settings(max_examples=20)
def test_the_compiled_reference_is_the_plain_one(problem: NetworkProblem) -> None:
    """The same numbers from Python as it stands."""
    load = fluid_load(problem)
    plain, compiled = load.fate(), load.fate()
    simulate_from_scratch.py_func(load.given, plain, PLENTY)
    simulate_from_scratch(load.given, compiled, PLENTY)
    assert plain.sent_ns == pytest.approx(compiled.sent_ns, rel=1e-12)
    everybody = np.arange(len(problem.flows), dtype=np.int32)
    rates = np.zeros((2, len(everybody)))
    fair_rates.py_func(load.given, everybody, rates[0])
    fair_rates(load.given, everybody, rates[1])
    assert np.array_equal(rates[0], rates[1])


@given(problems(), st.sampled_from(METHODS))
def test_every_byte_is_sent_once_on_every_link(
    problem: NetworkProblem, method: Method
) -> None:
    """What links carried is what flows had to send, with their headers."""
    found = _run(problem, method).results()
    assert found.is_finished.all()
    expected = np.zeros(len(problem.topology.links))
    wire = wire_bytes(problem.flows.size_bytes)
    for flow, n_bytes in enumerate(wire):
        expected[problem.routes.of(flow)] += n_bytes
    assert np.array_equal(found.links.n_bytes, expected)
    rate = np.array([link.rate_bps for link in problem.topology.links])
    assert found.links.busy_ns == pytest.approx(8e9 * expected / rate, abs=0.5)
    busiest = busiest_links(problem.routes, found.links.busy_ns)
    assert np.array_equal(found.busiest_link, busiest)
    assert (found.slowdown >= 1).all()


@given(problems(), st.sampled_from(METHODS), st.integers(1, 9), st.integers(0, 30))
@settings(max_examples=60)
def test_slices_and_a_state_change_no_bit(
    problem: NetworkProblem, method: Method, slice_: int, n_before: int
) -> None:
    """Any slices; and another simulation goes on where this one stood."""
    whole = _run(problem, method)
    first = FluidSimulator(method=method).begin(problem)
    first.advance(n_before)
    state = first.state()
    second = FluidSimulator(method=method).begin(problem, state)
    assert second.share_done == first.share_done
    for simulation in (first, second):
        while not simulation.advance(slice_):
            pass
        assert np.array_equal(simulation.sent_ns, whole.sent_ns)
        one, other = simulation.results(), whole.results()
        assert np.array_equal(one.fct_ns, other.fct_ns)
        assert np.array_equal(one.links.n_bytes, other.links.n_bytes)
        assert one.n_events == other.n_events


@pytest.mark.parametrize("method", METHODS)
def test_equal_flows_share_a_link_evenly(method: Method) -> None:
    """Four flows of a size take four times as long as one."""
    sizes = [10_000] * 4
    found = _run(on_a_line([10e9], [(0, 1)] * 4, sizes), method)
    alone_ns = (10_000 + 480) * 8 / 10
    assert found.sent_ns == pytest.approx([4 * alone_ns] * 4, rel=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_a_flow_that_comes_later_halves_the_rate_of_the_first(method: Method) -> None:
    """Processor sharing, by hand: 10 kB at 0 ns and 5 kB at 4192 ns, at 10 Gbit/s."""
    problem = on_a_line([10e9], [(0, 1)] * 2, [10_000, 5_000], [0, 4_192])
    # The first has sent 5,240 of 10,480 B when the second comes with 5,240 B.
    assert _run(problem, method).sent_ns == pytest.approx([12_576, 8_384], rel=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_a_parking_lot_is_shared_by_hand(method: Method) -> None:
    """The long flow gets half of the slow link, the short one the rest of the fast."""
    ends = [(0, 2), (0, 1), (1, 2)]
    problem = on_a_line([10e9, 4e9], ends, [100_000] * 3)
    simulation = FluidSimulator(method=method).begin(problem)
    simulation.advance(3)
    per_class = {"paths": lambda: simulation._paths.rates, "graph": lambda: None}
    rates = per_class[method]()
    if rates is None:
        rates = simulation._graph.moving[:, 2]
    assert rates * 8 == pytest.approx([2, 8, 2], rel=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_a_flow_alone_has_its_ideal_time(method: Method) -> None:
    """Its slowdown is 1 on any path, since what its packets need stands beside."""
    topology = line([10e9, 40e9, 10e9], delay_s=1e-6)
    ends = [(0, 3), (1, 2), (0, 1)]
    starts = [0, 10**7, 2 * 10**7]
    problem = on_a_line([], ends, [150, 2_345, 99_999], starts, topology=topology)
    found = _run(problem, method).results()
    assert np.array_equal(found.fct_ns, found.ideal_fct_ns)
    assert found.busiest_link.tolist() == [0, 1, 0]


@pytest.mark.parametrize("method", METHODS)
def test_flows_wait_for_others(method: Method) -> None:
    """One starts when the last that it waits for has ended, and so much later."""
    problem = on_a_line(
        [10e9, 1e9],
        [(0, 1), (1, 2), (0, 1), (0, 2)],
        [1_000, 1_000, 1_000, 1_000],
        [0, 0, 50, 7],
        after=[[], [], [0, 1], [2]],
    )
    found = _run(problem, method).results()
    ends = found.start_ns + found.fct_ns
    assert found.start_ns[2] == max(ends[0], ends[1]) + 50
    assert found.start_ns[3] == ends[2] + 7


@pytest.mark.parametrize("method", METHODS)
def test_a_simulation_stops_when_it_is_told(method: Method) -> None:
    """What had not ended says so, and links carried what was sent until then."""
    problem = on_a_line(
        [8e9], [(0, 1)] * 3, [952, 952_000, 1_000], [0, 2_000, 90_000], until_ns=10_000
    )
    simulation = _run(problem, method)
    found = simulation.results()
    assert found.is_finished.tolist() == [True, False, False]
    assert found.end_ns == 10_000
    assert found.links.n_bytes.tolist() == [1_000 + 8_000, 0]  # 1 B/ns
    assert simulation.share_done == 1


def test_a_link_whose_rate_changes_is_followed() -> None:
    """A tenth of the rate from 4 to 6 us, none until 8 us, then all of it again."""
    link = Link(
        source="a",
        target="b",
        rate_bps=8e9,
        rate_changes=((4e-6, 0.8e9), (6e-6, 0.0), (8e-6, 8e9)),
    )
    topology = Topology(nodes=("a", "b"), links=(link,))
    sizes = [4_760, 952]  # 5,000 and 1,000 B with headers
    problem = on_a_line([], [(0, 1)] * 2, sizes, [0, 8_500], topology=topology)
    simulation = _run(problem)
    # 4,000 B until 4 us, 200 more until 6 us, 500 until the other comes, 300 beside it.
    assert simulation.sent_ns == pytest.approx([8_500 + 600, 600 + 700], rel=1e-12)
    links = simulation.results().links
    assert links.n_bytes.tolist() == [6_000]
    assert links.busy_ns.tolist() == [4_000 + 2_000 + 1_800]


def test_a_dead_link_leaves_flows_open() -> None:
    """They have not ended, and that is the answer."""
    link = Link(source="a", target="b", rate_bps=8e9, rate_changes=((1e-6, 0.0),))
    topology = Topology(nodes=("a", "b"), links=(link,))
    problem = on_a_line([], [(0, 1)] * 2, [10_000, 5], [0, 0], topology=topology)
    found = _run(problem).results()
    assert found.is_finished.tolist() == [False, True]
    assert found.links.n_bytes.tolist() == [1_000]


@pytest.mark.parametrize("method", METHODS)
def test_no_flow_is_faster_than_its_card(method: Method) -> None:
    """What a card is bounded to bounds each of its flows; others take the rest."""
    slow = replace(RDMA, max_rate_bps=2e9)
    problem = on_a_line([10e9], [(0, 1)] * 3, [9_520] * 3)
    transport = np.array([0, 0, 1], np.int64)
    problem = replace(
        problem,
        flows=replace(problem.flows, transport=transport),
        transports=(slow, RDMA),
    )
    simulation = _run(problem, method)
    assert simulation.sent_ns == pytest.approx([40_000, 40_000, 10_000 * 8 / 6])


def test_links_without_a_rate_hold_nothing_up() -> None:
    """A flow over such links only has no time of its own, and they count its bytes."""
    topology = line([float("inf"), 8e9, float("inf")])
    ends = [(0, 1), (0, 3)]
    found = _run(on_a_line([], ends, [952, 952], topology=topology))
    assert found.sent_ns.tolist() == [0, 1_000]
    assert found.results().links.n_bytes.tolist()[:3] == [2_000, 1_000, 1_000]


def test_a_watched_flow_has_a_timeline() -> None:
    """Its rate at each change, and all of it sent in the end."""
    problem = on_a_line(
        [8e9], [(0, 1)] * 2, [1_000_000, 100_000], [0, 100_000], watched=(0, 1)
    )
    timeline = _run(problem).results().timeline
    assert timeline is not None
    first = timeline.flow == 0
    assert timeline.rate_bps[first] == pytest.approx([8e9, 4e9, 8e9, 0])
    assert timeline.time_ns[first].tolist() == [0, 100_000, 309_600, 1_152_800]
    assert timeline.acked_bytes[~first].tolist()[-1] == 100_000
    assert timeline.acked_bytes[first].tolist()[-1] == 1_000_000


def test_many_classes_go_to_the_kernel_for_graphs() -> None:
    """And few to the other, unless the problem has what only that of graphs can do."""
    few = on_a_line([8e9], [(0, 1)], [5])
    many = on_a_line([8e9] * 70, [(i, i + 1) for i in range(70)], [5] * 70)
    assert _run(few)._graph is None
    assert _run(many)._graph is not None
    assert _run(replace(few, watched=(0,)))._graph is not None
    with pytest.raises(ConfigError, match="at most 63 links"):
        _run(many, "paths")


def test_a_link_that_carries_nothing_is_refused() -> None:
    """It is named."""
    with pytest.raises(ConfigError, match="n0->n1 has a rate of 0 bit/s"):
        _run(on_a_line([0.0], [(0, 1)], [5]))


def test_a_state_of_another_problem_is_refused() -> None:
    """However like it is."""
    one, other = (on_a_line([8e9], [(0, 1)], [size]) for size in (5, 6))
    state = FluidSimulator().begin(one).state()
    with pytest.raises(DataError, match="another problem"):
        FluidSimulator().begin(other, state)


def test_no_flows_are_done_at_once() -> None:
    """Nothing to do, nothing wrong."""
    simulation = FluidSimulator().begin(on_a_line([8e9], [], []))
    assert simulation.advance(1)
    assert simulation.share_done == 1
    assert len(simulation.results().fct_ns) == 0


@pytest.mark.needs_data
def test_the_fluid_model_of_m3_is_this_one(data_dir: Path) -> None:
    """Times of its own program on each of its scenarios, to a relative 1e-6."""
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(data_dir / "m3_demo" / "flows.parquet")
    columns = {name: table[name].to_numpy() for name in table.column_names}
    transport = replace(RDMA, as_fork=True)
    worst = 0.0
    for scenario in np.unique(columns["scenario"]):
        own = {n: v[columns["scenario"] == scenario] for n, v in columns.items()}
        ends = list(zip(own["src"].tolist(), own["dst"].tolist(), strict=True))
        problem = on_a_line(
            [10e9, 10e9],
            ends,
            own["size_bytes"].tolist(),
            own["start_ns"].tolist(),
            transport=transport,
        )
        found = _run(problem).sent_ns
        worst = max(worst, float(np.abs(found / own["fluid_fct_ns"] - 1).max()))
    assert worst < 1e-6


@pytest.mark.parametrize("method", ["auto", "graph"])
def test_fluid_is_a_simulator(method: Method) -> None:
    """It passes the suite of its protocol, either way; it has no queues to sample."""
    simulator = FluidSimulator(method=method)
    check_simulator(simulator, RDMA, claims=SimulatorClaims(has_samples=False))


def test_routes_with_the_same_links_are_one_class() -> None:
    """In whatever order flows of them come; a part of a route is another one."""
    problem = on_a_line([8e9] * 3, [(0, 3), (0, 2), (0, 3), (1, 3), (0, 2)], [9] * 5)
    load = fluid_load(problem)
    assert load.given.class_of.tolist() == [0, 1, 0, 2, 1]
    assert load.given.route_links.tolist() == [0, 1, 2, 0, 1, 1, 2]
    assert routes_of([[0, 1], [1]]).of(1).tolist() == [1]
