"""Holm's correction."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midhaul.stats import holm

P_VALUES = st.lists(st.floats(0, 1), max_size=12)


@given(P_VALUES, st.floats(0.001, 0.5))
def test_holm_definition(p_values: list[float], level: float) -> None:
    """Rejecting adjusted values is Holm's procedure: stop at the first that holds."""
    rejected: set[int] = set()
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    for rank, i in enumerate(order):
        if p_values[i] * (len(p_values) - rank) > level:
            break
        rejected.add(i)
    assert set(np.flatnonzero(holm(p_values) <= level)) == rejected


@given(P_VALUES)
def test_holm_order(p_values: list[float]) -> None:
    """Adjusting lowers nothing, keeps the order and ends at 1."""
    adjusted = holm(np.array(p_values))
    assert np.all(adjusted >= np.array(p_values))
    assert np.all(adjusted <= 1)
    assert np.all(np.diff(adjusted[np.argsort(p_values, kind="stable")]) >= 0)


def test_holm_known() -> None:
    """Worked example; a comparison that could not be made does not count."""
    adjusted = holm([0.01, 0.04, np.nan, 0.03])
    np.testing.assert_allclose(adjusted, [0.03, 0.06, np.nan, 0.06])


def test_holm_misuse() -> None:
    """A p value above 1 is none."""
    with pytest.raises(ValueError, match="p values"):
        holm([1.5])
