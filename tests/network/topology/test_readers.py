"""Readers of topologies: what they find, count, and say of files that are not whole."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midhaul.errors import DataError
from midhaul.model import Link, LinkQueue, Topology
from midhaul.network.topology import (
    Cable,
    leaf_spine,
    of_links,
    read_demands,
    read_graphml,
    read_json,
    read_repetita,
    to_json,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

GRAPH = """NODES 3
label x y
0_Oslo 10.7 59.9
1_Bergen 5.3 60.4
2_Voss 6.4 60.6

EDGES 4
label src dest weight bw delay
edge_0 0 1 10 1000000 1525
edge_1 1 0 10 1000000 1525
edge_2 1 2 2 2500 237.5
edge_3 2 1 2 2500 237.5
"""
DEMANDS = """DEMANDS 3
label src dest bw
demand_0 0 1 435117
demand_1 0 1 1000
demand_2 2 0 5
"""
GRAPHML = """<?xml version="1.0" encoding="utf-8"?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns">
  <key attr.name="label" attr.type="string" for="node" id="d0" />
  <key attr.name="Latitude" attr.type="double" for="node" id="d1" />
  <key attr.name="Longitude" attr.type="double" for="node" id="d2" />
  <key attr.name="LinkSpeedRaw" attr.type="double" for="edge" id="d3" />
  <graph edgedefault="undirected">
    <node id="0"><data key="d0">Oslo</data>
      <data key="d1">59.91</data><data key="d2">10.75</data></node>
    <node id="1"><data key="d0">Bergen</data>
      <data key="d1">60.39</data><data key="d2">5.32</data></node>
    <node id="2"><data key="d0">Voss</data></node>
    <edge source="0" target="1"><data key="d3">2500000000.0</data></edge>
    <edge source="0" target="1"><data key="d3">1000000.0</data></edge>
    <edge source="1" target="2"></edge>
    <edge source="2" target="2"></edge>
  </graph>
</graphml>
"""


def put(folder: Path, text: str, name: str = "net.txt") -> Path:
    """A file with this text."""
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


links = st.builds(
    Link,
    source=st.just("a"),
    target=st.sampled_from(["b", "c å"]),
    rate_bps=st.sampled_from([1.0, 2.5e9, math.inf]),
    delay_s=st.floats(0, 10),
    queue=st.builds(
        LinkQueue,
        discipline=st.sampled_from(["fifo", "red", "codel", "fq_codel"]),
        max_packets=st.none() | st.integers(1, 1000),
        mark_from=st.floats(0, 1e6),
        has_ecn=st.booleans(),
    ),
    loss_share=st.floats(0, 0.99),
    jitter_s=st.floats(0, 1),
    rate_changes=st.sampled_from([(), ((0.0, 1e6), (1.5, 0.0))]),
)


@given(st.lists(links, min_size=1, max_size=6), st.sampled_from([None, 1, 7]))
def test_json_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, found: list[Link], first: int | None
) -> None:
    """Every attribute of a link comes back, and so do the weights."""
    topology = Topology(nodes=("a", "b", "c å"), links=tuple(found), hosts=("b",))
    weights = None if first is None else np.arange(first, first + len(found))
    file = put(tmp_path_factory.mktemp("json"), to_json(topology, weights=weights))
    back = read_json(file)
    assert back.topology == topology
    if weights is None:
        assert back.weights is None
    else:
        assert back.weights.tolist() == weights.tolist()


def test_a_built_topology_comes_back() -> None:
    """What others hand over as rows is the same as what builders make."""
    topology = leaf_spine(2, 2, 2, access=Cable(), fabric=Cable(rate_bps=40e9))
    rows = [
        {
            "source": k.source,
            "target": k.target,
            "rate_bps": k.rate_bps,
            "delay_s": 1e-6,
        }
        for k in topology.links
    ]
    found = of_links(rows, nodes=topology.nodes, hosts=topology.hosts)
    assert found.topology == topology
    one = of_links([{"source": "a", "target": "b", "is_both_ways": True}])
    assert [link.name for link in one.topology.links] == ["a->b", "b->a"]
    assert one.topology.links[0].rate_bps == math.inf
    assert one.weights is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a topology as JSON"),
        ("[]", "expected a table with nodes and links, found list"),
        ('{"link": []}', "unknown key 'link'; did you mean 'links'"),
        ('{"nodes": ["a"]}', "expected a list of links, found nothing"),
        ('{"links": []}', "links: expected at least one link, found none"),
        (
            '{"nodes": ["a", "a"], "links": [{"source": "a", "target": "b"}]}',
            "names of nodes once each, found 'a' twice",
        ),
        ('{"links": [1]}', r"links\[0\]: expected a table, found int"),
        ('{"nodes": [""], "links": []}', "nodes: expected a list of names, found ''"),
        ('{"links": [{"source": "a"}]}', r"links\[0\]: expected target to name a node"),
        ('{"links": [{"source": "a", "target": "a"}]}', "found 'a' twice"),
    ],
)
def test_json_that_is_no_topology(tmp_path: Path, text: str, message: str) -> None:
    """File and place are said, and what was expected there."""
    file = put(tmp_path, text)
    with pytest.raises(DataError, match=message) as caught:
        read_json(file)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"rate_bps": 0}, r"here\[0\].rate_bps: expected a number above 0, found 0"),
        ({"rate_bps": "fast"}, "rate_bps: expected a number above 0, found 'fast'"),
        ({"rate_bps": True}, "rate_bps: expected a number above 0, found True"),
        ({"delay_s": -1}, "delay_s: expected a number of at least 0, found -1"),
        ({"delay_s": math.inf}, r"delay_s: expected less than 1e\+06, found inf"),
        ({"delay_s": 1e30}, r"delay_s: expected less than 1e\+06, found 1e\+30"),
        ({"loss_share": 1}, "loss_share: expected less than 1, found 1"),
        ({"ratebps": 1}, "unknown key 'ratebps'; did you mean 'rate_bps'"),
        ({"weight": 0}, "weight: expected a number of at least 1, found 0"),
        ({"weight": 1.5}, "weight: expected a whole number"),
        ({"queue": 3}, "queue: expected a table, found 3"),
        ({"queue": {"max": 3}}, "queue: unknown key 'max'"),
        ({"queue": {"discipline": "red2"}}, "discipline: expected a discipline"),
        ({"queue": {"max_packets": 0}}, "max_packets: expected a number of at least 1"),
        ({"queue": {"mark_share": 2}}, "queue: mark_share of LinkQueue must be"),
        ({"queue": {"has_ecn": 1}}, "has_ecn: expected true or false, found 1"),
        ({"queue": {"mark_from": None}}, "mark_from: expected a number of at least 0"),
        ({"rate_changes": 5}, "rate_changes: expected pairs"),
        (
            {"rate_changes": [[1, 2], [1, 3]]},
            r"rate_changes\[1\]: expected a number ab",
        ),
        ({"rate_changes": [[1]]}, r"rate_changes\[0\]: expected a time and a rate"),
    ],
)
def test_a_link_that_cannot_be(more: dict[str, Any], message: str) -> None:
    """Every value of a row is looked at, and its place is said."""
    with pytest.raises(DataError, match=message):
        of_links([{"source": "a", "target": "b", **more}], where="here")


def test_rows_end_at_nodes_that_are_named() -> None:
    """With a list of nodes, a link to another one is a mistake."""
    row = {"source": "cloud", "target": "gatway"}
    with pytest.raises(DataError, match="found 'gatway'; did you mean 'gateway'"):
        of_links([row], nodes=["cloud", "gateway"])
    with pytest.raises(DataError, match="hosts must be nodes, found x"):
        of_links([row], hosts=["x"])


def test_repetita_is_kbit_and_microseconds(tmp_path: Path) -> None:
    """Rates, delays, weights and demands have their units."""
    found = read_repetita(put(tmp_path, GRAPH))
    assert found.topology.nodes == ("0_Oslo", "1_Bergen", "2_Voss")
    assert found.topology.hosts == ()
    assert found.topology.links[0].rate_bps == 1e9
    assert found.topology.links[2].delay_s == pytest.approx(237.5e-6)
    assert found.weights is not None
    assert found.weights.tolist() == [10, 10, 2, 2]
    assert found.tallies == ()
    rates, tallies = read_demands(put(tmp_path, DEMANDS, "d"), 3)
    assert rates[0, 1] == 436_117_000
    assert rates[2, 0] == 5000
    assert rates.sum() == 436_122_000
    assert tallies == ()


def test_repetita_counts_what_it_leaves_out(tmp_path: Path) -> None:
    """Links and demands to oneself are left out, weights of 0 are 1, and both told."""
    text = GRAPH.replace("edge_1 1 0 10", "edge_1 1 1 10").replace("2 2500", "0 2500")
    found = read_repetita(put(tmp_path, text))
    assert len(found.topology.links) == 3
    assert [tally.n for tally in found.tallies] == [1, 2]
    assert "line 10" in found.tallies[0].places[0]
    assert found.weights is not None
    assert found.weights.tolist() == [10, 1, 1]
    demands = put(tmp_path, DEMANDS.replace("demand_2 2 0", "demand_2 2 2"), "d")
    rates, tallies = read_demands(demands, 3)
    assert rates[2].sum() == 0
    assert [tally.n for tally in tallies] == [1]


@pytest.mark.parametrize("read", [read_repetita, lambda file: read_demands(file, 3)])
def test_a_text_cut_short_is_no_text_of_repetita(
    tmp_path: Path, read: Callable[[Path], object]
) -> None:
    """Wherever the file ends, but behind its last word, that is said with the file."""
    whole = GRAPH if read is read_repetita else DEMANDS
    last = whole.rstrip().rindex(" ") + 1
    for at in range(0, last, 3):
        file = put(tmp_path, whole[:at])
        with pytest.raises(DataError) as caught:
            read(file)
        assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "edge_0 0 1",
            "edge_0 0 7",
            "line 9: expected a whole number of 0 to 2, found",
        ),
        ("edge_0 0 1", "edge_0 0 x", "line 9: expected a number of at least 0, found"),
        ("1000000 1525", "0 1525", "line 9: bw.*expected a number above 0, found '0'"),
        ("1525", "-3", "line 9: delay: expected a number of at least 0, found '-3'"),
        ("1_Bergen", "0_Oslo", "line 4: node 0_Oslo stands in line 3 already"),
        ("NODES 3", "NODES 4", "line 7: expected EDGES|expected 4 entries of NODES"),
        ("EDGES 4", "EDGES 5", "expected 5 entries of EDGES, found 4"),
        ("edge_0 0 1 10 ", "edge_0 0 1 ", "line 9: expected 6 words in EDGES, found 5"),
    ],
)
def test_a_wrong_line_of_repetita_is_named(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    """Line and what was expected in it."""
    with pytest.raises(DataError, match=message):
        read_repetita(put(tmp_path, GRAPH.replace(old, new, 1)))


def test_graphml_states_or_assumes(tmp_path: Path) -> None:
    """Speeds are read, distances become delays, and what is assumed is counted."""
    found = read_graphml(put(tmp_path, GRAPHML), rate_bps=1e9, delay_s=0.002)
    assert found.topology.nodes == ("Oslo", "Bergen", "Voss")
    by_name: dict[str, list[Link]] = {}
    for link in found.topology.links:
        by_name.setdefault(link.name, []).append(link)
    assert [k.rate_bps for k in by_name["Oslo->Bergen"]] == [2.5e9, 1e6]
    assert [k.rate_bps for k in by_name["Bergen->Oslo"]] == [2.5e9, 1e6]
    # 305 km of great circle.
    assert by_name["Oslo->Bergen"][0].delay_s == pytest.approx(0.001525, rel=0.01)
    assert by_name["Bergen->Voss"][0].rate_bps == 1e9
    assert by_name["Bergen->Voss"][0].delay_s == 0.002
    assert [(tally.n, tally.of) for tally in found.tallies] == [(1, 4), (1, 4), (1, 4)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GRAPHML[:900], "expected GraphML"),
        ("", "expected GraphML"),
        ("<graphml/>", "expected GraphML"),
        ("<!DOCTYPE x [<!ENTITY a 'a'>]>" + GRAPHML, "declares a document type"),
        (GRAPHML.replace("2500000000.0", "-1"), "Oslo-Bergen.rate_bps: expected a num"),
        (GRAPHML.replace("59.91", "north"), "expected GraphML"),
    ],
)
def test_what_is_no_graphml_is_said(tmp_path: Path, text: str, message: str) -> None:
    """File and link are named."""
    file = put(tmp_path, text, "net.graphml")
    with pytest.raises(DataError, match=message) as caught:
        read_graphml(file)
    assert str(file) in str(caught.value)
