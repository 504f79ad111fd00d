"""Coverage increase, held against SciPy's distances."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.coverage_reference import BINS, increase, made_samples

from midhaul.errors import ConfigError, DataError
from midhaul.memory.coverage.increase import coverage_increase
from midhaul.memory.samples import Samples, concatenate


@settings(max_examples=25)
@given(
    seed=st.integers(0, 1000),
    bandwidth=st.sampled_from([0.02, 0.1, 1.0]),
    sort=st.sampled_from(["value", "bin"]),
    levels=st.sampled_from([0, 2]),
)
def test_it_is_what_the_formulas_say(
    seed: int, bandwidth: float, sort: Any, levels: int
) -> None:
    """Fast and slow agree, with ties and without, also when a batch is cut short."""
    rng = np.random.default_rng(seed)
    memory = made_samples(83, rng, levels=levels)
    trained = made_samples(51, rng, levels=levels)
    options: dict[str, Any] = {
        "batch_size": 8,
        "bandwidth": bandwidth,
        "sort": sort,
    }
    found = coverage_increase(memory, trained, BINS, **options)
    assert found == pytest.approx(increase(memory, trained, **options), abs=1e-7)


def test_what_was_trained_on_has_not_grown() -> None:
    """The same samples, in another order, are no increase."""
    memory = made_samples(512, np.random.default_rng(1))
    again = memory.take(np.random.default_rng(2).permutation(512))
    assert coverage_increase(memory, again, BINS) == pytest.approx(0, abs=1e-12)


def test_what_lies_elsewhere_is_new() -> None:
    """A memory of outputs that training never saw has grown by nearly all of it."""
    rng = np.random.default_rng(3)
    trained = made_samples(512, rng)
    elsewhere = trained.take(np.full(512, 0)).predicted(
        np.tile([0, 0, 0, 0, 1.0], (512, 1)), 0
    )
    memory = Samples.of(elsewhere.x, np.full(512, 9.0), prediction=elsewhere.prediction)
    early = trained.take(trained.y < 0.5)
    early = concatenate([early] * 4)
    assert coverage_increase(memory, early, BINS) > 0.99
    mixed = concatenate([early, memory])
    assert 0.1 < coverage_increase(mixed, early, BINS) < 0.9


def test_it_says_what_it_lacks() -> None:
    """Too few samples, no outputs, no predictions and odd settings are refused."""
    some = made_samples(300, np.random.default_rng(4))
    with pytest.raises(DataError, match="memory: expected a batch of 256 samples"):
        coverage_increase(some.take(slice(0, 255)), some, BINS)
    with pytest.raises(DataError, match="trained: expected a batch of 256 samples"):
        coverage_increase(some, some.take(slice(0, 0)), BINS)
    with pytest.raises(DataError, match="300 samples of 300 have none"):
        coverage_increase(Samples.of(some.x, prediction=some.prediction), some, BINS)
    with pytest.raises(DataError, match="needs predictions"):
        coverage_increase(some, Samples.of(some.x, some.y), BINS)
    narrow = Samples.of(some.x, some.y, prediction=np.ones((300, 1)))
    with pytest.raises(DataError, match="other numbers of bins"):
        coverage_increase(some, narrow, BINS)
    with pytest.raises(ConfigError, match="bandwidth"):
        coverage_increase(some, some, BINS, bandwidth=0.0)
    with pytest.raises(ConfigError, match="batch_size"):
        coverage_increase(some, some, BINS, batch_size=0)
    order: Any = "bins"
    with pytest.raises(ConfigError, match="sort: expected value or bin"):
        coverage_increase(some, some, BINS, sort=order)
