"""Samples and bins: what they hold each other to, and say when it is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from midhaul.errors import DataError
from midhaul.memory.samples import Bins, Samples, concatenate


def _samples(n: int = 4) -> Samples:
    x = np.arange(2 * n, dtype=np.float32).reshape(n, 2)
    prediction = np.full((n, 3), 1 / 3, np.float32)
    return Samples.of(x, np.arange(n) % 3, prediction=prediction)


def test_an_output_is_in_the_bin_whose_lower_edge_it_reaches() -> None:
    """Ends take what lies outside, and what is not known is in none."""
    bins = Bins(edges=np.array([0, 1, 2, 4.0]))
    found = bins.of(np.array([-5, 0, 0.99, 1, 3.9, 4, 99, np.nan]))
    assert found.tolist() == [0, 0, 0, 1, 2, 2, 2, -1]
    assert Bins.of_classes(3).of(np.array([0, 1, 2.0])).tolist() == [0, 1, 2]


@pytest.mark.parametrize("edges", [[1.0], [0, 1, 1], [0, np.nan, 2]])
def test_bins_rise(edges: list[float]) -> None:
    """Edges that do not are refused."""
    with pytest.raises(DataError, match="rising edges"):
        Bins(edges=np.array(edges))


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("x", np.full((4, 2), np.nan, np.float32), "x of sample 0"),
        ("y", np.array([0, 1, np.inf, 0]), "y of sample 2"),
        ("weight", np.array([1, -1, 1, 1.0]), "weight of sample 1"),
        ("time_s", np.array([0, 1, 2, np.nan]), "time_s of sample 3"),
        ("prediction", np.full((4, 3), 0.5, np.float32), "sum to 1"),
        ("group", np.arange(3), "group: expected 4 rows"),
    ],
)
def test_what_is_no_sample_is_refused_with_its_place(
    field: str, value: np.ndarray, words: str
) -> None:
    """NaN, negative weights, shares that are none, and arrays of other lengths."""
    whole = {"y": np.zeros(4), "prediction": np.full((4, 3), 1 / 3, np.float32)}
    told = whole | {field: value}
    x = told.pop("x", np.zeros((4, 2), np.float32))
    with pytest.raises(DataError, match=words):
        Samples.of(x, **told)


def test_taking_and_joining_keep_rows_together() -> None:
    """Parts of samples, put together again, are what they were."""
    whole = _samples(6)
    again = concatenate([whole.take(slice(0, 2)), whole.take(np.arange(2, 6))])
    assert np.array_equal(again.x, whole.x)
    assert np.array_equal(again.group, whole.group)
    other = Samples.of(np.zeros((1, 3), np.float32))
    with pytest.raises(DataError, match="other numbers of inputs"):
        concatenate([whole, other])


def test_a_prediction_has_its_model() -> None:
    """Rows that a model has looked at say which one it was."""
    told = _samples().predicted(np.tile([0.5, 0.25, 0.25], (4, 1)), 7)
    assert told.model_version.tolist() == [7] * 4
    assert "4 samples of 2 inputs" in repr(told)
