"""Tests of how values show themselves: short, escaped, and never slow."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from midhaul.model import Detections, Link, Topology
from midhaul.model.display import MOST_ROWS, Display, Shown, short


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Thing(Shown):
    """A value with one field of each sort."""

    name: str = "x" * 500
    array: Any = field(default_factory=lambda: np.zeros((5000, 4), np.float32))
    many: Any = field(default_factory=lambda: dict.fromkeys(range(5000), "y" * 99))
    few: Any = ("a", "b")
    share: float = 0.123456
    nothing: object = None
    call: Any = len
    raw: bytes = b"\0" * 2000


def test_a_value_shows_its_shape_and_not_its_content() -> None:
    """Arrays by type and shape, long things by their length, the rest as it is."""
    text = repr(Thing())
    assert "array=float32 (5,000, 4)" in text
    assert "many=<5,000 entries>" in text
    assert "few=('a', 'b')" in text
    assert "share=0.1235" in text
    assert "raw=2,000 bytes" in text
    assert len(text) < 400


def test_markup_in_a_name_stays_text() -> None:
    """Whatever a data set calls its labels, a notebook shows it as text."""
    evil = "<script>alert(1)</script>"
    found = Detections(
        boxes=np.array([[0, 0, 1, 1]], np.float32),
        scores=np.ones(1, np.float32),
        labels=np.zeros(1, np.int32),
        names=(evil,),
    )
    display = Display(text=evil, columns=(evil,), rows=[(evil,)], remarks=(evil,))
    for shown in (found._repr_html_(), display.html(evil)):
        assert "<script" not in shown
        assert "&lt;script&gt;" in shown


def test_a_long_table_says_how_long_it_is() -> None:
    """Ten rows are shown, the rest is counted."""
    rows = [(n, float(n)) for n in range(25)]
    shown = Display(text="", columns=("n", "x"), rows=rows).html("T")
    assert shown.count("<tr>") == MOST_ROWS + 1
    assert "and 15 more" in shown


def test_detections_show_the_best_first() -> None:
    """The table is in the order of the scores, the line counts the labels."""
    n = 30
    found = Detections(
        boxes=np.zeros((n, 4), np.float32),
        scores=np.linspace(0.1, 0.9, n).astype(np.float32),
        labels=(np.arange(n) % 2).astype(np.int32),
        names=("car", "bus"),
    )
    assert repr(found) == "Detections(30 boxes: 15 car, 15 bus)"
    shown = found._repr_html_()
    assert shown.index("0.9") < shown.index("0.8724")
    assert repr(Detections.empty(("car",))) == "Detections(0 boxes of 1 labels)"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (True, "yes"),
        (np.bool_(0), "no"),
        (1234567, "1,234,567"),
        (np.float32(0.5), "0.5"),
        (("a", 1), "a, 1"),
        ([1, 2, 3, 4], "<4 entries>"),
        ({"a": 1}, "{'a': 1}"),
    ],
)
def test_cells_are_written_for_people(value: object, text: str) -> None:
    """Numbers have four digits and thousands apart, nothing is a dash."""
    assert short(value) == text


def test_a_large_topology_is_a_line_and_a_short_table() -> None:
    """How much there is of what, and the first links."""
    nodes = tuple(f"n{i}" for i in range(300))
    links = tuple(Link(source=a, target=b) for a, b in pairwise(nodes))
    topology = Topology(nodes=nodes, links=links, hosts=nodes[:7])
    assert repr(topology) == "Topology(300 nodes, 7 of them hosts, 299 links)"
    shown = topology._repr_html_()
    assert "n0-&gt;n1" in shown
    assert "n20-&gt;n21" not in shown
    assert len(shown) < 10_000
