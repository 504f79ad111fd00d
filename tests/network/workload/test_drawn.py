"""Drawn flows: loads that are what was asked for, matrices, and seeds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midhaul.errors import ConfigError
from midhaul.network.ideal import wire_bytes
from midhaul.network.problem import link_table
from midhaul.network.routing import ecmp, over_k_paths
from midhaul.network.topology import Cable, dumbbell, edge_to_cloud, leaf_spine, racks
from midhaul.network.transports import TcpTransport
from midhaul.network.workload import (
    ExponentialSize,
    FixedSize,
    FlowLaw,
    LognormalArrivals,
    TraceArrivals,
    TrafficMatrix,
    by_groups,
    by_nodes,
    draw_flows,
    gravity,
    host_indices,
    link_loads,
    ring_all_reduce,
    uniform,
)

FABRIC = leaf_spine(4, 2, 4, access=Cable(rate_bps=10e9), fabric=Cable(rate_bps=40e9))
LAW = FlowLaw(sizes=ExponentialSize(mean_bytes=20_000), load=0.4)


@settings(max_examples=25)
@given(
    n=st.integers(1, 400),
    load=st.sampled_from([0.1, 0.5, 0.9, 1.7]),
    seed=st.integers(0, 2**40),
    arrivals=st.sampled_from([LAW.arrivals, LognormalArrivals(sigma=1.5)]),
)
def test_the_busiest_link_has_the_load(
    n: int, load: float, seed: int, arrivals: LognormalArrivals
) -> None:
    """Loads are bytes over what the link carries in the time, and its most is given."""
    law = FlowLaw(sizes=LAW.sizes, load=load, arrivals=arrivals)
    drawn = draw_flows(FABRIC, law, n, seed=seed)
    loads = drawn.loads
    assert loads.load.max() == pytest.approx(load, rel=1e-3)
    assert (np.diff(drawn.flows.start_ns) >= 0).all()
    assert drawn.flows.start_ns[-1] <= loads.horizon_ns
    sizes = wire_bytes(drawn.flows, [law.transport])
    n_bytes = np.zeros(len(FABRIC.links), np.int64)
    for i, size in enumerate(sizes.tolist()):
        n_bytes[drawn.routes.of(i)] += size
    assert (loads.n_bytes == n_bytes).all()
    expected = n_bytes * 8e9 / link_table(FABRIC).rate_bps / loads.horizon_ns
    assert loads.load == pytest.approx(expected)
    assert loads.is_stable == (load < 1)
    assert loads.tally.n == int((expected >= 1).sum())
    again = draw_flows(FABRIC, law, n, seed=seed)
    for name in ("source", "target", "size_bytes", "start_ns"):
        assert (getattr(drawn.flows, name) == getattr(again.flows, name)).all()


def test_a_law_changes_only_what_it_says() -> None:
    """Other arrivals leave ends and sizes as they were, other sizes leave ends."""
    drawn = draw_flows(FABRIC, LAW, 50, seed=3).flows
    bursts = FlowLaw(sizes=LAW.sizes, arrivals=LognormalArrivals(sigma=2.0))
    other = draw_flows(FABRIC, bursts, 50, seed=3).flows
    assert (drawn.size_bytes == other.size_bytes).all()
    assert (drawn.source == other.source).all()
    assert (drawn.start_ns != other.start_ns).any()
    fixed = draw_flows(FABRIC, FlowLaw(sizes=FixedSize(mean_bytes=9)), 50, seed=3).flows
    assert (drawn.target == fixed.target).all()
    assert (draw_flows(FABRIC, LAW, 50, seed=4).flows.source != drawn.source).any()


def test_a_load_of_one_says_that_queues_never_end() -> None:
    """The tally speaks against the run, names the link and says why."""
    law = FlowLaw(sizes=LAW.sizes, load=1.2)
    tally = draw_flows(FABRIC, law, 500).loads.tally
    assert tally.is_too_many
    assert "queues never end" in tally.sentence
    assert "120%" in tally.places[0] or "120%" in " ".join(tally.places)
    assert draw_flows(FABRIC, LAW, 500).loads.tally.n == 0


def test_what_cannot_be_drawn_is_refused() -> None:
    """No load, no flows, and links that are too fast to speak of a load."""
    for load in (0, -1, np.nan, np.inf, 101):
        with pytest.raises(ConfigError, match="load must be above 0"):
            FlowLaw(sizes=LAW.sizes, load=load)
    with pytest.raises(ConfigError, match="expected 1 to 100,000,000 flows, found 0"):
        draw_flows(FABRIC, LAW, 0)
    endless = Cable(rate_bps=float("inf"))
    with pytest.raises(ConfigError, match="too fast"):
        draw_flows(dumbbell(1, access=endless, middle=endless), LAW, 5)


def test_flows_take_other_routes_and_transports() -> None:
    """Headers of TCP and paths of a WAN count into the loads."""
    topology = edge_to_cloud(6, uplinks=[Cable(rate_bps=20e6, delay_s=0.01)])
    law = FlowLaw(sizes=FixedSize(mean_bytes=1448), transport=TcpTransport(), load=0.8)
    drawn = draw_flows(
        topology, law, 60, route=lambda net, flows: over_k_paths(net, flows, 2)
    )
    assert set(wire_bytes(drawn.flows, [law.transport])) == {1502}
    assert drawn.loads.load.max() == pytest.approx(0.8, rel=1e-6)
    loads = link_loads(topology, drawn.flows, drawn.routes, [law.transport])
    assert loads.horizon_ns == drawn.flows.start_ns[-1]
    assert loads.load.max() > 0.8


def test_loads_of_flows_that_all_start_at_once_have_no_end() -> None:
    """Without a time there is no load but an infinite one, and 0 where nothing goes."""
    law = FlowLaw(
        sizes=LAW.sizes, arrivals=TraceArrivals(start_ns=np.zeros(9, np.int64))
    )
    drawn = draw_flows(FABRIC, law, 9)
    assert (drawn.flows.start_ns == 0).all()
    loads = link_loads(FABRIC, drawn.flows, drawn.routes, [law.transport])
    assert np.isinf(loads.load[loads.n_bytes > 0]).all()
    assert (loads.load[loads.n_bytes == 0] == 0).all()


def test_flows_that_wait_need_a_time_to_have_a_load() -> None:
    """When they start is not known before they are simulated."""
    hosts = host_indices(FABRIC)[:3]
    flows = ring_all_reduce(hosts, 3000)
    routes = ecmp(FABRIC, flows)
    with pytest.raises(ConfigError, match="wait for others have no known time"):
        link_loads(FABRIC, flows, routes, [LAW.transport])
    loads = link_loads(FABRIC, flows, routes, [LAW.transport], horizon_ns=10**6)
    assert loads.n_bytes.sum() == 12 * (1000 + 48) * 2


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=4),
    st.integers(0, 10_000),
)
def test_matrices_draw_what_they_weigh(sizes: list[int], seed: int) -> None:
    """Pairs come only from groups with a weight, and never twice the same node."""
    chance = np.random.default_rng(seed)
    nodes = np.arange(sum(sizes), dtype=np.int32)
    groups = tuple(np.split(nodes, np.cumsum(sizes)[:-1]))
    weights = chance.integers(0, 3, (len(sizes), len(sizes))).astype(float)
    if not by_hand(weights, sizes).any():
        with pytest.raises(ConfigError, match="a weight above 0"):
            by_groups(groups, weights)
        return
    matrix, left_out = by_groups(groups, weights)
    kept = by_hand(weights, sizes)
    assert left_out == pytest.approx(1 - kept.sum() / weights.sum())
    source, target = matrix.draw(chance, 3000)
    assert (source != target).all()
    of = np.repeat(np.arange(len(sizes)), sizes)
    counts = np.zeros_like(kept)
    np.add.at(counts, (of[source], of[target]), 1)
    expected = 3000 * kept / kept.sum()
    assert ((counts > 0) <= (kept > 0)).all()
    assert (abs(counts - expected) <= 6 * np.sqrt(expected) + 6).all()


def by_hand(weights: np.ndarray, sizes: list[int]) -> np.ndarray:
    """Weights without those of single nodes to themselves."""
    kept = weights.copy()
    for i, size in enumerate(sizes):
        if size == 1:
            kept[i, i] = 0
    return kept


def test_every_pair_of_a_uniform_matrix_is_as_likely() -> None:
    """Sources, targets and pairs all come about as often."""
    nodes = host_indices(FABRIC)[:5]
    source, target = uniform(nodes).draw(np.random.default_rng(0), 20_000)
    pairs, counts = np.unique(source * 1000 + target, return_counts=True)
    assert len(pairs) == 20
    assert (abs(counts - 1000) < 4 * np.sqrt(1000)).all()
    assert set(source) == set(nodes)


def test_gravity_and_demands_are_between_nodes() -> None:
    """Weights are products, or those given, and nothing goes to oneself."""
    nodes = np.array([4, 7, 9], np.int32)
    matrix = gravity(nodes, np.array([1.0, 2, 3]), np.array([1.0, 0, 2]))
    assert matrix.weights.tolist() == [[0, 0, 2], [2, 0, 4], [3, 0, 0]]
    demands, left_out = by_nodes(nodes, np.array([[1.0, 3, 0], [0, 0, 0], [0, 0, 0]]))
    assert left_out == pytest.approx(0.25)
    source, target = demands.draw(np.random.default_rng(0), 10)
    assert set(source) == {4}
    assert set(target) == {7}
    with pytest.raises(ConfigError, match="found 2 and 3 numbers"):
        gravity(nodes, np.ones(2), np.ones(3))


def test_what_is_no_matrix_is_refused() -> None:
    """Shapes, signs and groups are looked at before anything is drawn."""
    hosts = racks(FABRIC)
    with pytest.raises(ConfigError, match="4 groups need 4 x 4 weights, found 2 x 2"):
        by_groups(hosts, np.ones((2, 2)))
    weights = np.ones((4, 4))
    weights[1, 2] = -1
    with pytest.raises(ConfigError, match="row 2, column 3 has -1"):
        by_groups(hosts, weights)
    with pytest.raises(ConfigError, match="is one node, and sends to itself"):
        TrafficMatrix(groups=(np.array([1], np.int32),), weights=np.ones((1, 1)))
    with pytest.raises(ConfigError, match="group 0 of a traffic matrix has no nodes"):
        TrafficMatrix(groups=(np.zeros(0, np.int32),), weights=np.ones((1, 1)))
