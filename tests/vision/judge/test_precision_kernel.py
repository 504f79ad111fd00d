"""The compiled average precision and the one of arrays are one number."""

from __future__ import annotations

import numpy as np
import pytest

from midhaul.vision.judge.average_precision import class_average_precision
from midhaul.vision.judge.matching import Matches


@pytest.mark.parametrize("has_crowds", [False, True])
def test_both_give_the_same_for_any_weights(has_crowds: bool) -> None:  # noqa: FBT001
    """Few resamples go through arrays, many through the kernel."""
    pytest.importorskip("numba", reason="the kernel is compiled by numba")
    rng = np.random.default_rng(3)
    n_images, n = 12, 160
    labels = np.sort(rng.integers(0, 3, n)).astype(np.int32)
    is_true = rng.random((4, n)) < 0.4
    is_ignored = (rng.random((4, n)) < 0.2) & ~is_true & has_crowds
    matches = Matches(
        images=rng.integers(0, n_images, n).astype(np.int32),
        labels=labels,
        scores=np.linspace(1, 0, n),
        is_true=is_true,
        is_ignored=is_ignored,
        support=rng.integers(0, 9, (n_images, 4)).astype(np.int32),
    )
    weights = rng.multinomial(n_images, np.ones(n_images) / n_images, 240)
    weights[0] = 0
    many = weights.astype(np.float64)
    compiled = class_average_precision(matches, many, (0, 2, 3))
    parts = [class_average_precision(matches, w, (0, 2, 3)) for w in np.split(many, 4)]
    np.testing.assert_allclose(compiled, np.concatenate(parts), atol=1e-12)
    assert np.isnan(compiled[0]).all()
    assert (compiled[1:, :3] > 0).any()
