"""Nodes stand where a reader can follow the links."""

from __future__ import annotations

import itertools

import numpy as np

from midhaul.network.drawing import positions
from midhaul.network.topology.builders import clos, edge_to_cloud, leaf_spine
from midhaul.network.topology.wiring import Cable

CABLE = Cable()


def _placed(topology: object) -> tuple[dict[str, np.ndarray], set[str]]:
    nodes, links = topology.nodes, topology.links  # type: ignore[attr-defined]
    index = {name: i for i, name in enumerate(nodes)}
    pairs = [(index[x.source], index[x.target]) for x in links]
    hosts = [index[h] for h in topology.hosts]  # type: ignore[attr-defined]
    at = positions(len(nodes), pairs, hosts)
    return dict(zip(nodes, at, strict=True)), set(topology.hosts)  # type: ignore[attr-defined]


def test_fabrics_stand_in_layers() -> None:
    """Hosts at the bottom, leaves above them, spines at the top."""
    found, _ = _placed(leaf_spine(4, 2, 3, access=CABLE, fabric=CABLE))
    height = {name: at[1] for name, at in found.items()}
    assert {height[f"host{i}"] for i in range(12)} == {0.0}
    assert {height[f"leaf{i}"] for i in range(4)} == {0.5}
    assert {height[f"spine{i}"] for i in range(2)} == {1.0}


def test_hosts_stand_beside_those_of_their_rack() -> None:
    """No rack is torn apart, so that links to hosts do not cross."""
    topology = clos(
        n_pods=2,
        n_racks=3,
        n_hosts=4,
        n_planes=2,
        n_spines=2,
        access=CABLE,
        fabric=CABLE,
        spine=CABLE,
    )
    found, hosts = _placed(topology)
    rack = {x.source: x.target for x in topology.links if x.source in hosts}
    order = [rack[h] for h in sorted(hosts, key=lambda h: found[h][0])]
    assert sum(a != b for a, b in itertools.pairwise(order)) == 5


def test_rings_are_drawn_by_distance() -> None:
    """All within the page, no two nodes in one place, the same each time."""
    topology = edge_to_cloud(12, uplinks=[CABLE])
    found, _ = _placed(topology)
    places = np.array(list(found.values()))
    assert ((places >= 0) & (places <= 1)).all()
    assert len(np.unique(places.round(4), axis=0)) == len(places)
    assert np.array_equal(places, np.array(list(_placed(topology)[0].values())))
