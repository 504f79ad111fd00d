"""Sampled paths: their flows are simulated, all others are drawn and say so."""

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
from midhaul.network.decomposition import PathsSimulator
from midhaul.network.decomposition.pooling import donors, stands_for
from midhaul.network.fluid import FluidSimulator
from midhaul.network.slowdown import size_class

if TYPE_CHECKING:
    from midhaul.model import Flows
    from midhaul.network import FlowResults, NetworkProblem
    from midhaul.network.simulator import Simulator

PLENTY = 1_000_000


def _paths(n_paths: int) -> PathsSimulator:
    return PathsSimulator(inner=FluidSimulator(), n_paths=n_paths)


def _run(problem: NetworkProblem, simulator: Simulator) -> FlowResults:
    simulation = simulator.begin(problem)
    while not simulation.advance(PLENTY):
        pass
    return simulation.results()


def _free(problem: NetworkProblem) -> NetworkProblem:
    """The same without flows that wait."""
    none = np.zeros(0, np.int64)
    flows: Flows = replace(problem.flows, after=none, after_offsets=none)
    return replace(problem, flows=flows)


def test_all_paths_of_one_link_each_are_the_network() -> None:
    """Nothing is cut and nothing drawn, so every flow is as in the whole."""
    ends = [(0, 1), (1, 2), (0, 1), (2, 3), (0, 1), (1, 2)]
    problem = on_a_line([10e9] * 3, ends, [9_000] * 6, range(0, 6000, 1000))
    whole, found = _run(problem, FluidSimulator()), _run(problem, _paths(500))
    assert not found.is_drawn.any()
    assert found.fct_ns == pytest.approx(whole.fct_ns, abs=2)
    assert found.links.n_bytes.tolist() == whole.links.n_bytes.tolist()


@given(problems(), st.integers(1, 7), st.integers(0, 60), st.integers(1, 6))
@settings(max_examples=40)
def test_any_slices_and_a_state_change_nothing(
    problem: NetworkProblem, slice_: int, n_before: int, n_paths: int
) -> None:
    """Also when it stops within a path; every byte is where it was sent."""
    problem, simulator = _free(problem), _paths(n_paths)
    whole = _run(problem, simulator)
    first = simulator.begin(problem)
    for _ in range(n_before):
        first.advance(1)
    second = simulator.begin(problem, first.state())
    assert second.share_done == first.share_done
    while not second.advance(slice_):
        pass
    found = second.results()
    for name in ("fct_ns", "drawn_from", "n_marked"):
        assert np.array_equal(getattr(found, name), getattr(whole, name)), name
    expected = np.zeros(len(problem.topology.links))
    for flow, n_bytes in enumerate(wire_bytes(problem.flows.size_bytes)):
        expected[problem.routes.of(flow)] += n_bytes
    assert np.array_equal(found.links.n_bytes, expected)
    assert found.drawn_from is not None
    donor = found.drawn_from
    assert not found.is_drawn[donor].any()
    assert found.slowdown == pytest.approx(found.slowdown[donor], abs=0.01)


@pytest.mark.parametrize("n_paths", [2, 500])
def test_paths_are_a_simulator(n_paths: int) -> None:
    """They pass the suite of the protocol, but for waiting, which they refuse."""
    claims = SimulatorClaims(
        has_waiting=False, has_samples=False, max_lone_slowdown=1.001
    )
    check_simulator(_paths(n_paths), RDMA, claims=claims)


def test_a_link_on_no_sampled_path_says_so() -> None:
    """Its bytes are known, and nothing of its queue."""
    ends = [(0, 1)] * 40 + [(2, 3)]
    topology = line([10e9] * 3)
    problem = on_a_line([], ends, [5_000] * 41, range(41), topology=topology)
    found = _run(problem, _paths(1))
    assert found.links.is_simulated is not None
    assert found.links.is_simulated[:3].tolist() == [True, False, False]
    assert found.is_drawn.tolist() == [False] * 40 + [True]
    assert found.links.n_bytes[2] == wire_bytes(np.array([5_000]))[0]
    assert "1 of them drawn" in repr(found)


def test_what_ended_late_gives_no_slowdown() -> None:
    """When it is cut off, late flows that ended were the quick ones."""
    n = 60
    ends = [(0, 1)] * n + [(1, 2)] * 5
    starts = [*range(0, 100 * n, 100), *range(0, 500, 100)]
    problem = on_a_line([10e9] * 2, ends, [20_000] * (n + 5), starts)
    found = _run(replace(problem, until_ns=300_000), _paths(1))
    assert found.drawn_from is not None
    given = found.drawn_from[found.is_drawn]
    assert len(given)
    late = problem.flows.start_ns + 10 * found.ideal_fct_ns > 300_000
    assert not late[given].any()
    assert found.end_ns <= 300_000


def test_what_is_not_known_before_is_refused() -> None:
    """Flows that wait, links that carry nothing, and states of other problems."""
    paths = _paths(5)
    problem = on_a_line([8e9], [(0, 1)] * 2, [5, 5], after=[[], [0]])
    with pytest.raises(ConfigError, match="paths are simulated one by one"):
        paths.begin(problem)
    problem = on_a_line([8e9], [(0, 1)], [5])
    with pytest.raises(ConfigError, match="more than 0 bit/s"):
        paths.begin(on_a_line([0.0], [(0, 1)], [5]))
    with pytest.raises(DataError, match="another problem"):
        paths.begin(problem, _paths(6).begin(problem).state())


def test_a_flow_stands_for_as_many_as_its_path_was_unlikely() -> None:
    """Sums over samples are those over all, on average over draws."""
    rng = np.random.default_rng(1)
    sizes = np.array([1, 1, 2, 5, 11, 40])
    owner = np.repeat(np.arange(6), sizes)
    totals = []
    for _ in range(4000):
        sampled = np.unique(owner[rng.integers(0, 60, 8)])
        beside = stands_for(sizes[sampled], 60, 8)
        totals.append(float((sizes[sampled] * (1 + beside)).sum()))
    assert np.mean(totals) == pytest.approx(60, rel=0.02)
    assert stands_for(np.array([60]), 60, 8) == pytest.approx(0, abs=1e-9)


@given(st.integers(1, 400), st.integers(0, 2**31), st.floats(0.05, 1))
@settings(max_examples=50)
def test_who_takes_gets_one_of_its_class_in_proportion(
    n: int, seed: int, share: float
) -> None:
    """Weights decide how often; without its class the nearest one gives."""
    rng = np.random.default_rng(seed)
    size = (10 ** rng.uniform(1, 7, n)).astype(np.int64)
    gives = rng.random(n) < share
    slowdown, weight = 1 + rng.exponential(1, n), rng.exponential(1, n)
    found = donors(size, slowdown, weight, gives, ~gives, rng)
    assert np.array_equal(found[gives], np.flatnonzero(gives))
    if not gives.any():
        assert np.array_equal(found, np.arange(n))
        return
    assert gives[found].all()
    classes = size_class(size)
    there = set(classes[gives].tolist())
    for one in np.flatnonzero(~gives).tolist():
        mine, other = int(classes[one]), int(classes[found[one]])
        assert abs(mine - other) == min(abs(mine - c) for c in there)
    for c in there:
        takers = np.flatnonzero(~gives & (classes == c))
        pool = np.flatnonzero(gives & (classes == c))
        expected = len(takers) * weight[pool] / weight[pool].sum()
        times = np.bincount(found[takers], minlength=n)[pool]
        assert (np.abs(times - expected) <= 1 + 1e-9).all()
