"""Links and paths alone: every flow is there, each byte is where it was."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.fluid_cases import RDMA, line, on_a_line, problems, wire_bytes

from midhaul.errors import ConfigError, DataError
from midhaul.network.checks import SimulatorClaims, check_simulator
from midhaul.network.decomposition import (
    LinksSimulator,
    path_problem,
    sample_paths,
)
from midhaul.network.fluid import FluidSimulator
from midhaul.network.ideal import ideal_fct_ns

if TYPE_CHECKING:
    from midhaul.network import FlowResults, NetworkProblem
    from midhaul.network.simulator import Simulator

PLENTY = 1_000_000
LINKS = LinksSimulator(inner=FluidSimulator())


def _run(problem: NetworkProblem, simulator: Simulator = LINKS) -> FlowResults:
    simulation = simulator.begin(problem)
    while not simulation.advance(PLENTY):
        pass
    return simulation.results()


def test_one_congested_link_costs_what_it_costs_in_the_whole() -> None:
    """Where flows meet at one link only, links alone are the network."""
    topology = line([40e9, 10e9, 40e9], delay_s=1e-6)
    problem = on_a_line(
        [], [(1, 2)] * 5, [20_000] * 5, range(0, 5000, 1000), topology=topology
    )
    whole, parts = _run(problem, FluidSimulator()), _run(problem)
    assert parts.fct_ns == pytest.approx(whole.fct_ns, abs=2)
    assert parts.links.n_bytes.tolist() == whole.links.n_bytes.tolist()


def test_delays_of_links_add_up() -> None:
    """A flow that meets one flow at each of two links pays for both."""
    topology = line([10e9, 10e9])
    ends, sizes = [(0, 2), (0, 1), (1, 2)], [100_000, 5_000, 5_000]
    found = _run(on_a_line([], ends, sizes, topology=topology))
    delay_ns = found.fct_ns - found.ideal_fct_ns
    one_ns = 5_000 * 1048 / 1000 * 8 / 10
    assert delay_ns[0] == pytest.approx(2 * one_ns, abs=2)
    assert delay_ns[1] == pytest.approx(one_ns, abs=2)


def test_flows_come_to_a_link_no_faster_than_their_first_one() -> None:
    """A sender on a slow link leaves the fast one behind it alone."""
    topology = line([1e9, 10e9])
    ends, sizes = [(0, 2), (1, 2)], [50_000, 50_000]
    problem = on_a_line([], ends, sizes, topology=topology)
    found = _run(problem)
    assert found.fct_ns[0] == pytest.approx(found.ideal_fct_ns[0], rel=1e-3)
    assert found.fct_ns[1] > found.ideal_fct_ns[1]


@given(problems(), st.integers(1, 7), st.integers(0, 60))
@settings(max_examples=40)
def test_any_slices_and_a_state_change_nothing(
    problem: NetworkProblem, slice_: int, n_before: int
) -> None:
    """Also when it stops within a link."""
    flows = replace(
        problem.flows, after=np.zeros(0, np.int64), after_offsets=np.zeros(0, np.int64)
    )
    problem = replace(problem, flows=flows)
    whole = _run(problem)
    first = LINKS.begin(problem)
    for _ in range(n_before):
        first.advance(1)
    second = LINKS.begin(problem, first.state())
    assert second.share_done == first.share_done
    while not second.advance(slice_):
        pass
    found = second.results()
    assert np.array_equal(found.fct_ns, whole.fct_ns)
    assert np.array_equal(found.links.n_bytes, whole.links.n_bytes)
    assert found.n_events == whole.n_events
    expected = np.zeros(len(problem.topology.links))
    for flow, n_bytes in enumerate(wire_bytes(flows.size_bytes)):
        expected[problem.routes.of(flow)] += n_bytes
    assert np.array_equal(found.links.n_bytes, expected)


def test_links_are_a_simulator() -> None:
    """It passes the suite of its protocol, but for waiting, which it refuses."""
    claims = SimulatorClaims(
        has_waiting=False, has_samples=False, max_lone_slowdown=1.001
    )
    check_simulator(LINKS, RDMA, claims=claims)


def test_what_is_not_known_before_is_refused() -> None:
    """Flows that wait, links that carry nothing, and states of other problems."""
    problem = on_a_line([8e9], [(0, 1)] * 2, [5, 5], after=[[], [0]])
    with pytest.raises(ConfigError, match="no flow can wait"):
        LINKS.begin(problem)
    problem = on_a_line([8e9], [(0, 1)], [5])
    assert _run(replace(problem, watched=(0,))).timeline is None
    with pytest.raises(ConfigError, match="more than 0 bit/s"):
        LINKS.begin(on_a_line([0.0], [(0, 1)], [5]))
    other = on_a_line([8e9], [(0, 1)], [6])
    with pytest.raises(DataError, match="another problem"):
        LINKS.begin(problem, LINKS.begin(other).state())


def test_a_path_has_its_flows_and_parts_of_those_that_cross_it() -> None:
    """One that leaves the path and comes back is two; delays of the rest stay."""
    topology = line([10e9] * 4, delay_s=1e-6)
    ends = [(1, 3), (0, 4), (0, 2), (2, 4), (3, 4), (1, 2)]
    whole = on_a_line([], ends, [5_000] * 6, topology=topology)
    found = path_problem(whole, (1, 2))
    assert found.flow.tolist() == [0, 1, 2, 3, 5]
    assert found.is_foreground.tolist() == [True, False, False, False, False]
    assert np.diff(found.problem.routes.offsets).tolist() == [2, 4, 3, 3, 2]
    ideal, part = ideal_fct_ns(whole), ideal_fct_ns(found.problem)
    assert part == pytest.approx(ideal[found.flow], abs=2000)  # less a link or two
    assert part[0] == ideal[0]
    _run(found.problem, FluidSimulator())


@given(problems(), st.integers(0, 1000))
@settings(max_examples=60)
def test_the_foreground_of_a_path_is_all_that_takes_it(
    whole: NetworkProblem, seed: int
) -> None:
    """And each of its links carries there what it carries in the whole."""
    flows = replace(
        whole.flows, after=np.zeros(0, np.int64), after_offsets=np.zeros(0, np.int64)
    )
    whole = replace(whole, flows=flows)
    drawn, counts = sample_paths(whole.routes, 5, np.random.default_rng(seed))
    assert counts.sum() == 5
    in_whole = _run(whole, FluidSimulator()).links.n_bytes
    for path in drawn:
        part = path_problem(whole, path)
        expected = [f for f in range(len(flows)) if tuple(whole.routes.of(f)) == path]
        assert part.flow[part.is_foreground].tolist() == expected
        found = _run(part.problem, FluidSimulator()).links.n_bytes
        assert found[0 : 2 * len(path) : 2].tolist() == in_whole[list(path)].tolist()
