"""Outputs that come after their samples: they find them, and move what is counted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midhaul.errors import DataError
from midhaul.memory.late_labels import matches
from midhaul.memory.sample_memory import SampleMemory
from midhaul.memory.samples import Bins, Samples
from midhaul.memory.selectors.fifo import Fifo
from midhaul.memory.selectors.priority import PrioritySampler

BINS = Bins.of_classes(3)
KEYS = st.lists(
    st.tuples(st.sampled_from([-1.5, -0.0, 0.0, 2.0, 1e300]), st.integers(-3, 3)),
    max_size=12,
)


def _stream(n: int, *, is_known: bool, seed: int = 0) -> Samples:
    rng = np.random.default_rng(seed)
    y = rng.choice(3, n, p=[0.9, 0.09, 0.01]).astype(float)
    return Samples.of(
        rng.normal(size=(n, 4)).astype(np.float32),
        y if is_known else np.full(n, np.nan),
        prediction=rng.dirichlet([4, 1, 0.5], n).astype(np.float32),
        group=np.arange(n) // 10,
        model_version=0,
    )


@given(have=KEYS, labels=KEYS)
def test_a_label_is_of_the_samples_of_its_time_and_group(
    have: list[tuple[float, int]], labels: list[tuple[float, int]]
) -> None:
    """As a plain search finds them; the last one of several is meant."""
    samples = Samples.of(
        np.zeros((len(have), 1), np.float32),
        time_s=np.array([time for time, _ in have], np.float64),
        group=np.array([group for _, group in have], np.int64),
    )
    rows, at = matches(
        samples,
        np.array([time for time, _ in labels], np.float64),
        np.array([group for _, group in labels], np.int64),
    )
    wanted = {
        row: len(labels) - 1 - labels[::-1].index(key)
        for row, key in enumerate(have)
        if key in labels
    }
    assert dict(zip(rows.tolist(), at.tolist(), strict=True)) == wanted


def test_a_memory_hears_outputs_of_what_it_keeps_and_says_which_it_does_not() -> None:
    """Those that were dropped are gone, and their labels are told so."""
    memory = SampleMemory(Fifo(capacity=5), BINS)
    memory.offer(_stream(8, is_known=False))
    is_here = memory.label(
        np.array([0.0, 6.0, 7.0]), np.array([0, 0, 0]), np.array([1.0, 2.0, 0.0])
    )
    assert is_here.tolist() == [False, True, True]
    kept = memory.get()
    told = dict(zip(kept.time_s.tolist(), kept.y.tolist(), strict=True))
    assert (told[6.0], told[7.0]) == (2.0, 0.0)
    assert np.isnan(told[5.0])


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_label_that_is_no_number_changes_nothing(wrong: float) -> None:
    """It is refused as a whole."""
    memory = SampleMemory(Fifo(capacity=5), BINS)
    memory.offer(_stream(3, is_known=False))
    with pytest.raises(DataError, match="y of label 1"):
        memory.label(np.arange(2.0), np.zeros(2, np.int64), np.array([1.0, wrong]))
    assert np.isnan(memory.get().y).all()


def test_labels_of_all_that_was_seen_give_the_counts_of_a_labelled_stream() -> None:
    """As long as everything is kept, it is as if outputs had come with the samples."""
    late, known = _stream(400, is_known=False), _stream(400, is_known=True)
    memories = [SampleMemory(_sampler(capacity=400), BINS) for _ in range(2)]
    memories[0].offer(late)
    memories[1].offer(known)
    assert memories[0].label(known.time_s, known.group, known.y).all()
    assert np.allclose(_counts(memories[0]), _counts(memories[1]))
    more = _stream(400, is_known=True, seed=1)
    kept = [set() if not memory.offer(more) else _times(memory) for memory in memories]
    assert kept[0] == kept[1]


def test_what_is_counted_is_right_on_average_where_most_was_dropped() -> None:
    """The weights of those that are left move the others' counts along."""
    total = np.zeros(BINS.n)
    truth = np.zeros(BINS.n)
    n_seeds = 60
    for seed in range(n_seeds):
        known = _stream(600, is_known=True, seed=seed)
        memory = SampleMemory(_sampler(capacity=100, seed=seed), BINS)
        memory.offer(_stream(600, is_known=False, seed=seed))
        memory.label(known.time_s, known.group, known.y)
        total += _counts(memory).reshape(BINS.n, -1).sum(axis=1)
        truth += np.bincount(known.y.astype(int), minlength=BINS.n)
    assert total.sum() == pytest.approx(600 * n_seeds)
    assert total[1] == pytest.approx(truth[1], rel=0.1)
    assert total[2] == pytest.approx(truth[2], rel=0.3)


def _sampler(capacity: int, seed: int = 0) -> PrioritySampler:
    return PrioritySampler(capacity=capacity, bins=BINS, seed=seed)


def _counts(memory: SampleMemory) -> np.ndarray:
    assert isinstance(memory.selector, PrioritySampler)
    return memory.selector.counts


def _times(memory: SampleMemory) -> set[float]:
    return set(memory.get().time_s.tolist())
