"""ECMP and k shortest paths against plain Python and networkx."""

from __future__ import annotations

from itertools import islice, pairwise
from typing import TYPE_CHECKING

import networkx as nx
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.support.routing_reference import distances, way

from midhaul.errors import ConfigError
from midhaul.model import Flows, Link, Topology
from midhaul.network.routing import (
    ecmp,
    flow_hashes,
    k_shortest_paths,
    link_weights,
    over_k_paths,
)
from midhaul.network.topology import Cable, fat_tree, leaf_spine, star, wan_ring

if TYPE_CHECKING:
    from midhaul.network.problem import Routes

CABLE = Cable()


def flows_of(pairs: list[tuple[int, int]]) -> Flows:
    """Flows between these nodes, of one byte each."""
    ends = np.array(pairs, np.int32).reshape(-1, 2)
    n = len(ends)
    return Flows(
        source=ends[:, 0].copy(),
        target=ends[:, 1].copy(),
        size_bytes=np.ones(n, np.int64),
        start_ns=np.zeros(n, np.int64),
    )


@st.composite
def networks(draw: st.DrawFn) -> tuple[Topology, np.ndarray]:
    """Small topologies with hosts, switches, parallel links and weights."""
    switches = [f"s{i}" for i in range(draw(st.integers(1, 5)))]
    hosts = [f"h{i}" for i in range(draw(st.integers(0, 4)))]
    nodes = switches + hosts
    assume(len(nodes) > 1)
    names = st.sampled_from(nodes)
    ends = draw(st.lists(st.tuples(names, names), min_size=1, max_size=16))
    links = tuple(Link(source=a, target=b) for a, b in ends if a != b)
    assume(links)
    one = st.integers(1, draw(st.sampled_from([1, 3])))
    weights = draw(st.lists(one, min_size=len(links), max_size=len(links)))
    return Topology(nodes=tuple(nodes), links=links, hosts=tuple(hosts)), np.array(
        weights
    )


def check_ways(topology: Topology, flows: Flows, routes: Routes) -> None:
    """Each way goes from link to link, and through no host."""
    for i in range(len(flows)):
        links = [topology.links[link] for link in routes.of(i)]
        assert links[0].source == topology.nodes[flows.source[i]]
        assert links[-1].target == topology.nodes[flows.target[i]]
        for one, other in pairwise(links):
            assert one.target == other.source
            assert one.target not in topology.hosts


@settings(max_examples=60)
@given(networks(), st.integers(0, 2**63), st.data())
def test_ecmp_takes_the_ways_of_plain_python(
    network: tuple[Topology, np.ndarray], seed: int, data: st.DataObject
) -> None:
    """The kernel's links are those that whole numbers in plain Python give."""
    topology, weights = network
    ends = range(len(topology.nodes))
    if topology.hosts:
        ends = [topology.nodes.index(host) for host in topology.hosts]
    pairs = [(a, b) for a in ends for b in ends if a != b]
    assume(pairs)
    chosen = data.draw(st.lists(st.sampled_from(pairs), min_size=1, max_size=12))
    keys = np.array(
        data.draw(
            st.lists(st.integers(0, 2**40), min_size=len(chosen), max_size=len(chosen))
        ),
        np.int64,
    )
    expected = [
        way(topology, weights.tolist(), pair, int(key), seed)
        for pair, key in zip(chosen, keys, strict=True)
    ]
    flows = flows_of(chosen)
    if None in expected:
        with pytest.raises(ConfigError, match="no path from"):
            ecmp(topology, flows, weights=weights, seed=seed, keys=keys)
        return
    routes = ecmp(topology, flows, weights=weights, seed=seed, keys=keys)
    assert [routes.of(i).tolist() for i in range(len(flows))] == expected
    check_ways(topology, flows, routes)


@settings(max_examples=60)
@given(networks(), st.integers(1, 6))
def test_k_shortest_paths_weigh_what_networkx_says(
    network: tuple[Topology, np.ndarray], k: int
) -> None:
    """Yen's paths are loopless, in order, and as short as those of networkx."""
    topology, weights = network
    ends = topology.hosts or topology.nodes
    source, target = ends[0], ends[-1]
    assume(source != target)
    # Links become nodes between nodes, as networkx knows no parallel links here.
    graph = nx.DiGraph()
    graph.add_nodes_from((source, target))
    between = set(topology.nodes) - set(topology.hosts)
    for i, (link, weight) in enumerate(zip(topology.links, weights, strict=True)):
        if {link.source, link.target} <= between | {source, target}:
            graph.add_edge(link.source, i, w=int(weight))
            graph.add_edge(i, link.target, w=0)
    for name in (source, target):
        assert name in graph
    if not nx.has_path(graph, source, target):
        with pytest.raises(ConfigError, match=f"no path from {source} to {target}"):
            k_shortest_paths(topology, source, target, k, weights=weights)
        return
    found = k_shortest_paths(topology, source, target, k, weights=weights)
    costs = [int(weights[list(path)].sum()) for path in found]
    expected = [
        nx.path_weight(graph, path, "w")
        for path in islice(nx.shortest_simple_paths(graph, source, target, "w"), k)
    ]
    assert costs == expected
    assert len(set(found)) == len(found)
    for path in found:
        nodes = [source, *(topology.links[link].target for link in path)]
        assert len(set(nodes)) == len(nodes)


def test_every_shortest_way_of_a_fat_tree_is_taken_about_as_often() -> None:
    """Four cores lie between two pods of a fat tree, and each has its share."""
    topology = fat_tree(4, cable=CABLE)
    source, target = (topology.nodes.index(f"host{i}") for i in (0, 15))
    flows = flows_of([(source, target)] * 4000)
    routes = ecmp(topology, flows)
    assert (np.diff(routes.offsets) == 6).all()
    ways, counts = np.unique(routes.links.reshape(-1, 6), axis=0, return_counts=True)
    assert len(ways) == 4
    # Three standard deviations of a binomial draw.
    assert (abs(counts - 1000) < 3 * np.sqrt(1000 * 0.75) + 1).all()


def test_the_hash_is_the_same_on_any_machine() -> None:
    """Known flows have known hashes, for good."""
    flows = flows_of([(0, 1), (1, 0), (5, 7)])
    first = flow_hashes(flows, 0, None)
    assert first.tolist() == EXPECTED_HASHES
    assert flow_hashes(flows, 1, None).tolist() != first.tolist()
    same = flow_hashes(flows_of([(0, 1)] * 2), 0, np.array([9, 9]))
    assert same[0] == same[1]


EXPECTED_HASHES = [
    4964578127960768432,
    7806873273932414515,
    9152398701790123923,
]


def test_a_seed_moves_flows_and_a_key_keeps_them() -> None:
    """Another seed is another division of flows; equal keys go the same way."""
    topology = leaf_spine(2, 8, 1, access=CABLE, fabric=CABLE)
    hosts = [topology.nodes.index(host) for host in topology.hosts]
    flows = flows_of([(hosts[0], hosts[1])] * 50)
    one, other = (ecmp(topology, flows, seed=seed) for seed in (1, 2))
    assert one.links.tolist() != other.links.tolist()
    kept = ecmp(topology, flows, keys=np.full(50, 7))
    assert len(np.unique(kept.links.reshape(50, -1), axis=0)) == 1


def test_weights_by_delay_and_by_rate() -> None:
    """Slow links are long by rate, far ones by delay, and no weight is below 1."""
    links = (
        Link(source="a", target="b", rate_bps=1e9, delay_s=0.0),
        Link(source="a", target="b", rate_bps=10e9, delay_s=0.002),
        Link(source="b", target="a"),
    )
    topology = Topology(nodes=("a", "b"), links=links)
    assert link_weights(topology, "hops").tolist() == [1, 1, 1]
    assert link_weights(topology, "delay").tolist() == [1, 2_000_000, 1]
    assert link_weights(topology, "rate").tolist() == [100_000, 10_000, 1]
    assert k_shortest_paths(topology, "a", "b", 5, weights="rate") == ((1,), (0,))
    for bad in (np.array([1, 2]), np.array([1, 0, 1]), np.array([1, 1.5, 1])):
        with pytest.raises(ConfigError, match="weight"):
            link_weights(topology, bad)


def test_flows_divide_over_k_paths_by_shares() -> None:
    """Both ways round a ring are taken; the longer one less often by inverse shares."""
    ring = Cable(delay_s=0.01)
    topology = wan_ring(4, ring=ring, access=Cable(delay_s=0.0))
    source, target = (topology.nodes.index(f"host{i}") for i in (0, 1))
    flows = flows_of([(source, target)] * 3000)
    for shares, expected in (("equal", 0.5), ("inverse", 0.75)):
        routes = over_k_paths(topology, flows, 3, shares=shares)
        check_ways(topology, flows, routes)
        short = np.diff(routes.offsets) == 3
        assert abs(short.mean() - expected) < 0.03
        assert set(np.diff(routes.offsets)) == {3, 5}


def test_what_cannot_be_routed_is_named() -> None:
    """A pair without a path, a link of rate 0 and odd ends are said by name."""
    links = (Link(source="a", target="b"), Link(source="c", target="b"))
    topology = Topology(nodes=("a", "b", "c"), links=links)
    with pytest.raises(ConfigError, match="no path from b to c for flow 1, nor for 1"):
        ecmp(topology, flows_of([(0, 1), (1, 2), (1, 0)]))
    with pytest.raises(ConfigError, match="no path from b to c for flow 1"):
        over_k_paths(topology, flows_of([(0, 1), (1, 2)]), 2)
    with pytest.raises(ConfigError, match="flow 0 ends where it begins, at a"):
        ecmp(topology, flows_of([(0, 0)]))
    with pytest.raises(ConfigError, match="target of flow 0 must be a node, found nod"):
        ecmp(topology, flows_of([(0, 3)]))
    with pytest.raises(ConfigError, match="k must be at least 1"):
        k_shortest_paths(topology, "a", "b", 0)
    with pytest.raises(ConfigError, match="expected a node of the topology"):
        k_shortest_paths(topology, "a", "x", 1)
    dead = Topology(
        nodes=("a", "b"), links=(Link(source="a", target="b", rate_bps=0.0),)
    )
    with pytest.raises(ConfigError, match="a->b has a rate of 0 bit/s"):
        ecmp(dead, flows_of([(0, 1)]))
    late = Link(source="a", target="b", delay_s=-1.0)
    with pytest.raises(ConfigError, match=r"a->b has a delay.* at -1 s"):
        ecmp(Topology(nodes=("a", "b"), links=(late,)), flows_of([(0, 1)]))
    switch = star(2, access=CABLE)
    with pytest.raises(ConfigError, match="source of flow 0 must be a host, found swi"):
        ecmp(switch, flows_of([(0, 1)]))


def test_hosts_never_pass_on_what_others_send() -> None:
    """A host with two cables is no way between its switches."""
    both = [("s", "h"), ("h", "t"), ("a", "s"), ("t", "b")]
    links = tuple(
        Link(source=x, target=y) for pair in both for x, y in (pair, pair[::-1])
    )
    topology = Topology(
        nodes=("s", "t", "h", "a", "b"), links=links, hosts=("h", "a", "b")
    )
    with pytest.raises(ConfigError, match="no path from a to b"):
        ecmp(topology, flows_of([(3, 4)]))
    assert ecmp(topology, flows_of([(3, 2), (2, 4)])).offsets.tolist() == [0, 2, 4]
    assert "b" not in distances(topology, [1] * len(links), "a")


def test_no_flows_have_no_links() -> None:
    """Routing nothing is no error."""
    routes = ecmp(star(2, access=CABLE), flows_of([]))
    assert routes.offsets.tolist() == [0]
    assert len(routes.links) == 0
