"""Builders: what is joined to what, how many links there are, and what is refused."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midhaul.errors import ConfigError
from midhaul.network.topology import (
    Cable,
    clos,
    dragonfly,
    dumbbell,
    edge_to_cloud,
    fat_tree,
    leaf_spine,
    parking_lot,
    racks,
    shared_backhaul,
    star,
    wan_ring,
)

if TYPE_CHECKING:
    from midhaul.model import Topology

ACCESS = Cable(rate_bps=10e9)
FABRIC = Cable(rate_bps=40e9)


def graph_of(topology: Topology) -> nx.DiGraph:
    """The same for networkx."""
    graph = nx.DiGraph()
    graph.add_nodes_from(topology.nodes)
    graph.add_edges_from((link.source, link.target) for link in topology.links)
    return graph


def check(topology: Topology, n_hosts: int, diameter: int) -> None:
    """Cables go both ways, hosts have one, and nobody is farther than that."""
    ends = Counter((link.source, link.target) for link in topology.links)
    assert all(ends[(b, a)] == n for (a, b), n in ends.items())
    assert len(topology.hosts) == n_hosts
    graph = graph_of(topology)
    for host in topology.hosts:
        assert graph.out_degree(host) == 1 or host not in graph
    lengths = dict(nx.all_pairs_shortest_path_length(graph))
    assert (
        max(lengths[a][b] for a in topology.hosts for b in topology.hosts) == diameter
    )


def test_small_ones_have_their_shape() -> None:
    """A dumbbell is three links across, a star two, a parking lot as long as asked."""
    check(dumbbell(3, access=ACCESS, middle=FABRIC), 6, 3)
    check(star(5, access=ACCESS), 5, 2)
    line = parking_lot([ACCESS, FABRIC, FABRIC, ACCESS])
    check(line, 5, 4)
    rates = [link.rate_bps for link in line.links if "switch2" in link.source]
    assert sorted(rates) == [40e9, 40e9, 100e12]
    check(parking_lot([ACCESS]), 2, 1)


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 4))
def test_leaf_spine(n_leaves: int, n_spines: int, n_hosts: int) -> None:
    """Every leaf meets every spine."""
    topology = leaf_spine(n_leaves, n_spines, n_hosts, access=ACCESS, fabric=FABRIC)
    n = n_leaves * n_hosts
    assert len(topology.links) == 2 * (n + n_leaves * n_spines)
    assert [len(rack) for rack in racks(topology)] == [n_hosts] * n_leaves


@pytest.mark.parametrize("n_ports", [2, 4, 6])
def test_fat_tree(n_ports: int) -> None:
    """There are a quarter of the cube of the ports of hosts, and no port is free."""
    topology = fat_tree(n_ports, cable=ACCESS)
    check(topology, n_ports**3 // 4, 6)
    degrees = dict(graph_of(topology).out_degree())
    assert {degrees[node] for node in set(degrees) - set(topology.hosts)} == {n_ports}
    assert len(topology.nodes) == n_ports**3 // 4 + n_ports * n_ports * 5 // 4


def test_clos_has_the_oversubscription_that_was_asked_for() -> None:
    """32 racks in two pods: 16, 8 or 4 spines in each plane."""
    for ratio, n_spines in ((1.0, 16), (2.0, 8), (4.0, 4)):
        topology = clos(
            n_pods=2,
            n_racks=16,
            n_hosts=8,
            n_planes=2,
            access=ACCESS,
            fabric=FABRIC,
            spine=FABRIC,
            oversubscription=ratio,
        )
        degrees = graph_of(topology).out_degree()
        assert degrees["fabric0_0"] == 16 + n_spines
        assert degrees["spine1_0"] == 2
        assert len(topology.hosts) == 256
        assert [len(rack) for rack in racks(topology)] == [8] * 32


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.data())
def test_dragonfly_joins_every_two_groups_once(
    n_routers: int, n_hosts: int, n_globals: int, data: st.DataObject
) -> None:
    """Any two groups have one cable between them, and no router more than its ports."""
    most = n_routers * n_globals + 1
    n_groups = data.draw(st.integers(1, most))
    topology = dragonfly(
        n_routers,
        n_hosts,
        n_globals,
        access=ACCESS,
        local=FABRIC,
        wide=FABRIC,
        n_groups=n_groups,
    )
    between: Counter[tuple[str, str]] = Counter()
    ports: Counter[str] = Counter()
    for link in topology.links:
        if link.source.startswith("router") and link.target.startswith("router"):
            pair = [name[6:].split("_")[0] for name in (link.source, link.target)]
            if pair[0] != pair[1]:
                between[pair[0], pair[1]] += 1
                ports[link.source] += 1
    assert set(between.values()) <= {1}
    assert len(between) == n_groups * (n_groups - 1)
    assert max(ports.values(), default=0) <= n_globals
    if n_groups == most:
        assert set(ports.values()) == {n_globals}


def test_wide_areas() -> None:
    """A ring has two ways, and gateways reach the cloud by two exits."""
    check(wan_ring(6, ring=FABRIC), 6, 5)
    check(wan_ring(6, ring=FABRIC, chords=[(0, 3)], n_hosts=2), 12, 5)
    uplinks = [
        Cable(rate_bps=rate, back_rate_bps=100e6, delay_s=0.01) for rate in (20e6, 5e7)
    ]
    topology = edge_to_cloud(8, uplinks=uplinks)
    check(topology, 9, 4)
    rates = {link.name: link.rate_bps for link in topology.links}
    assert rates["gateway0->metro0"] == 20e6
    assert rates["gateway5->metro1"] == 50e6
    assert rates["metro1->gateway5"] == 100e6
    assert "metro0->core" in rates
    assert "metro2->core" in rates
    check(edge_to_cloud(2, uplinks=uplinks, n_metros=1, n_exits=1), 3, 3)
    named = shared_backhaul({"harbour": uplinks[0], "mast": ACCESS}, backhaul=FABRIC)
    check(named, 3, 2)
    assert named.hosts == ("harbour", "mast", "cloud")
    two = edge_to_cloud(2, uplinks=uplinks, n_metros=2, n_exits=1)
    assert sum(link.name == "metro0->metro1" for link in two.links) == 1


def test_what_is_no_network_is_refused() -> None:
    """Counts below one, rates of 0 and other slips are said by their names."""
    refused = {
        "n_pairs must be at least 1": lambda: dumbbell(0, access=ACCESS, middle=ACCESS),
        "n_hosts must be at least 2": lambda: star(1, access=ACCESS),
        "cables must be at least 1": lambda: parking_lot([]),
        "even n_ports, found 5": lambda: fat_tree(5, cable=ACCESS),
        "n_sites must be at least 3": lambda: wan_ring(2, ring=ACCESS),
        "a chord joins two": lambda: wan_ring(3, ring=ACCESS, chords=[(0, 3)]),
        "uplinks must be at least 1": lambda: edge_to_cloud(3, uplinks=[]),
        "gateways must be at least 1": lambda: shared_backhaul({}, backhaul=ACCESS),
        "cannot be named 'hub'": lambda: shared_backhaul(
            {"hub": ACCESS}, backhaul=ACCESS
        ),
        "n_exits is at most": lambda: edge_to_cloud(3, uplinks=[ACCESS], n_exits=9),
        "can join 5 groups": lambda: dragonfly(
            2, 1, 2, access=ACCESS, local=ACCESS, wide=ACCESS, n_groups=6
        ),
        "rate_bps must be above 0": lambda: Cable(rate_bps=0),
        "back_rate_bps must be above 0": lambda: Cable(back_rate_bps=-1.0),
        "delay_s must be at least 0": lambda: Cable(delay_s=-1.0),
        "loss_share must be": lambda: Cable(loss_share=1.0),
        "1,000,000 nodes at most": lambda: star(1_000_001, access=ACCESS),
    }
    for message, build in refused.items():
        with pytest.raises(ConfigError, match=message):
            build()
    whole = {"n_pods": 1, "n_racks": 3, "n_hosts": 1, "n_planes": 1}
    cables = {"access": ACCESS, "fabric": FABRIC, "spine": FABRIC}
    with pytest.raises(ConfigError, match="whole number of spines"):
        clos(**whole, **cables, oversubscription=2.0)
