"""Percentile curves as points."""

from __future__ import annotations

import numpy as np
import pytest

from midhaul.report.charts import points_of


def test_curves_end_where_values_do() -> None:
    """A curve is dotted where fewer than ten lie beyond, and ends at the last one."""
    points = points_of(np.arange(1.0, 101.0))
    assert points[0] == {"nines": 0, "percentile": 0, "ms": 1000, "is_thin": False}
    assert points[-1]["percentile"] == pytest.approx(99)
    assert points[-1]["ms"] == 99_000
    thin = [point["is_thin"] for point in points]
    assert thin == sorted(thin)
    (seam,) = (point for point in points if point.get("is_seam"))
    assert seam["percentile"] == pytest.approx(90)


def test_curves_end_before_what_is_not_known() -> None:
    """Waits without an answer are beyond the curve, which is drawn up to them."""
    values = np.concatenate([np.full(60, 0.1), np.full(40, 0.5)])
    points = points_of(values, 0.5)
    assert {point["ms"] for point in points} == {100}
    assert points[-1]["percentile"] <= 60
    assert points_of(np.full(3, 0.5), 0.5) == []
