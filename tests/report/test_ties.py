"""Nobody wins among numbers that are not told apart."""

from __future__ import annotations

from midhaul.report.ties import best_and_ties, recommendation
from midhaul.runs.metric import Metric

F1 = Metric("f1", "f1", better="higher", heading="F1", form="{:.2f}")
SIZE = Metric("size", "bytes", unit="B", better="lower", heading="bytes")


def row(value: float, low: float | None, high: float | None, bound: str = "") -> dict:
    """A row of a summary."""
    return {"value": value, "low": low, "high": high, "bound": bound or None}


def test_those_whose_intervals_overlap_the_best_are_its_equals() -> None:
    """The best comes first; a bound is not it."""
    found = [
        (row(0.5, 0.4, 0.6), "a"),
        (row(0.7, 0.58, 0.8), "b"),
        (row(0.3, 0.2, 0.4), "c"),
        (row(0.9, None, None, "<="), "d"),
    ]
    assert [name for _, name in best_and_ties(found, "higher")] == ["b", "a"]
    assert [name for _, name in best_and_ties(found, "lower")] == ["c", "a"]
    alone = [(row(1.0, None, None), "x"), (row(2.0, None, None), "y")]
    assert [name for _, name in best_and_ties(alone, "lower")] == ["x"]


def test_a_tie_is_decided_by_what_it_costs() -> None:
    """As far as that can be told; without a tie the best is taken."""
    tied = [(row(0.7, 0.6, 0.8), "b"), (row(0.65, 0.55, 0.75), "a")]
    sizes = {"a": row(2_000.0, 1_900.0, 2_100.0), "b": row(9_000.0, 8_000.0, 9_900.0)}
    text = recommendation(F1, tied, [("smallest", SIZE, sizes)])
    assert "2 configurations are equal within the intervals" in text
    assert "The smallest of them is **a** (bytes 2 kB)" in text
    wide = {**sizes, "b": row(2_050.0, 1_950.0, 2_150.0)}
    assert "cannot be told" in recommendation(F1, tied, [("smallest", SIZE, wide)])
    assert recommendation(F1, tied[:1], []).startswith("**Take b**")
