"""A path with the flows that cross it: the same flows as a path problem has."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.support.correctors import scenario, scenario_of

from midhaul.errors import ConfigError
from midhaul.model import Flows
from midhaul.network import (
    Cable,
    FlowLaw,
    LognormalSize,
    NetworkProblem,
    RdmaTransport,
    draw_flows,
    leaf_spine,
)
from midhaul.network.decomposition import path_problem, sample_paths
from midhaul.network.decomposition.crossed import HERE, CrossedPath, WholeFlows
from midhaul.network.ideal import ideal_fct_ns
from midhaul.network.packet.simulator import PacketSimulator


def fabric(n: int = 400) -> NetworkProblem:
    """Flows in a small fabric with slow access links."""
    topology = leaf_spine(
        3, 2, 4, access=Cable(rate_bps=1e9), fabric=Cable(rate_bps=4e9, delay_s=2e-6)
    )
    law = FlowLaw(sizes=LognormalSize(mean_bytes=5_000), load=0.5)
    drawn = draw_flows(topology, law, n, seed=1)
    return NetworkProblem(
        topology=topology,
        flows=drawn.flows,
        routes=drawn.routes,
        transports=(RdmaTransport(max_rate_bps=1e9),),
    )


def test_it_has_the_parts_of_flows_that_a_path_problem_has() -> None:
    """Which flows, which of them are foreground, and how far what was cut off is."""
    whole = fabric()
    index = WholeFlows(whole)
    paths, _ = sample_paths(whole.routes, 30, np.random.default_rng(0))
    for path in paths:
        one, other = path_problem(whole, path), index.cross(path)
        assert sorted(one.flow.tolist()) == sorted(other.flow.tolist())
        assert np.flatnonzero(one.is_foreground).size == other.is_foreground.sum()
        delays = {
            int(flow): int(fct)
            for flow, fct in zip(one.flow, ideal_fct_ns(one.problem), strict=True)
        }
        problem = other.problem()
        # Ends are as fast as the links before the path, so ideal times are not less.
        for flow, fct in zip(other.flow, ideal_fct_ns(problem), strict=True):
            assert fct >= delays[int(flow)]


def test_a_flow_comes_as_fast_as_its_own_card() -> None:
    """Background of a fabric link has the rate of the access links."""
    whole = fabric()
    index = WholeFlows(whole)
    path = next(
        p
        for p in sample_paths(whole.routes, 30, np.random.default_rng(0))[0]
        if len(p) == 4
    )
    crossed = index.cross(path)
    assert set(crossed.own_bps[crossed.sender != HERE].tolist()) == {1e9}
    assert np.isinf(crossed.own_bps[crossed.sender == HERE]).all()


@pytest.mark.parametrize("number", range(6))
def test_its_problem_is_simulated_and_ends_where_it_says(number: int) -> None:
    """Every flow ends; foreground goes over the path's own links only."""
    path = scenario(number).path
    problem = path.problem()
    own = np.flatnonzero(path.is_foreground)
    for flow in own[:5].tolist():
        assert problem.routes.of(flow).tolist() == list(
            range(0, 2 * len(path.links), 2)
        )
    simulation = PacketSimulator().begin(problem)
    while not simulation.advance(1_000_000):
        pass
    assert simulation.results().is_finished.all()


def test_a_flow_that_comes_back_is_two_parts() -> None:
    """It leaves the path for a link beside it."""
    whole = fabric()
    routes = whole.routes
    path = tuple(routes.of(0).tolist())
    assert len(path) >= 2
    index = WholeFlows(whole)
    crossed = index.cross((path[0],))
    assert (crossed.leaves == 1).all()
    assert len(crossed) == index.n_flows(path[0])


def test_the_first_flows_are_those_that_start_first() -> None:
    """Whatever order they stand in."""
    path = scenario_of("dctcp").path
    order = np.random.default_rng(0).permutation(len(path))
    names = ("flow", "size_bytes", "start_ns", "transport", "enters", "leaves")
    mixed = replace(
        path, **{n: getattr(path, n)[order] for n in (*names, "sender", "receiver")}
    )
    assert isinstance(mixed, CrossedPath)
    first = mixed.first(20)
    assert first.start_ns.tolist() == np.sort(path.start_ns)[:20].tolist()


def test_flows_that_wait_are_refused() -> None:
    """A path alone cannot know when they start."""
    whole = fabric(3)
    flows = replace(
        whole.flows, after_offsets=np.array([0, 0, 1, 1]), after=np.array([0])
    )
    assert isinstance(flows, Flows)
    with pytest.raises(ConfigError, match="no flow can wait"):
        WholeFlows(replace(whole, flows=flows))
