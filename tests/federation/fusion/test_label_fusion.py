"""Votes, and stacked labels and tags: promises, and what they gain."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.federation.random_recordings import (
    random_recording,
    recordings,
    reordered,
    reordered_masks,
    tiny_boxes,
    tiny_labels,
    tiny_tags,
)

from midhaul.errors import DataError
from midhaul.federation.fusion.base import draw_rows
from midhaul.federation.fusion.stacked_labels import StackedLabels, fit_stacked_labels
from midhaul.federation.fusion.stacked_tags import StackedTags, fit_stacked_tags
from midhaul.federation.fusion.votes import VoteFuser
from midhaul.federation.quality import item_quality, subset_qualities
from midhaul.federation.recordings.problem import Answers, all_masks
from midhaul.npz_state import read_state, write_state

if TYPE_CHECKING:
    from pathlib import Path

    from midhaul.federation.fusion import SavedFuser
    from midhaul.federation.recordings.problem import Recording, Task

KINDS = ("vote labels", "vote tags", "stacked labels", "stacked tags")
each = pytest.mark.parametrize("kind", KINDS)


@functools.cache
def made(kind: str) -> tuple[SavedFuser, Recording]:
    """A fuser, and items that it was not fitted to."""
    fuser, task = kind.split()
    chosen: Task = "labels" if task == "labels" else "tags"
    rng = np.random.default_rng(5)
    both = random_recording(chosen, rng, n_items=700, n_names=5, missing=0.1)
    train, test = both.take(np.arange(400)), both.take(np.arange(400, 700))
    if fuser == "vote":
        return VoteFuser(), test
    fit = fit_stacked_labels if chosen == "labels" else fit_stacked_tags
    return fit(train, rng), test


def same(one: Answers, other: Answers) -> bool:
    """Whether two answers are equal to the last bit."""
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("starts", "labels", "scores", "is_missing")
    )


def random_masks(n: int, n_providers: int, seed: int = 0) -> np.ndarray:
    """Any subsets, the empty one too."""
    return np.random.default_rng(seed).integers(0, 1 << n_providers, n)


@each
def test_never_looks_at_others(kind: str) -> None:
    """Answers of providers that were not asked, and the truth, change nothing."""
    fuser, test = made(kind)
    asked = random_masks(len(test), 3)
    assert same(fuser.fuse(test, asked), fuser.fuse(test.shown(asked), asked))


@each
def test_items_are_independent(kind: str) -> None:
    """An item has the same answer alone, among few and among many."""
    fuser, test = made(kind)
    asked = random_masks(len(test), 3)
    whole = fuser.fuse(test, asked)
    for items in ([7], [250, 3, 90], list(range(64, 128))):
        which = np.array(items)
        assert same(whole.take(which), fuser.fuse(test.take(which), asked[which]))


@each
def test_missing_where_nobody_answered(kind: str) -> None:
    """It is missing where nobody who was asked answered, and only there."""
    fuser, test = made(kind)
    asked = random_masks(len(test), 3)
    given_by = [
        ~a.is_missing & (asked >> p & 1 == 1) for p, a in enumerate(test.answers)
    ]
    fused = fuser.fuse(test, asked)
    assert np.array_equal(fused.is_missing, ~np.any(given_by, axis=0))
    assert 0 < fused.is_missing.sum() < len(test)
    assert np.all((fused.scores >= 0) & (fused.scores <= 1))
    if test.task == "labels":
        assert np.array_equal(fused.counts, (~fused.is_missing).astype(np.int64))
    assert len(fuser.fuse(test.take(np.zeros(0, np.int64)), np.zeros(0, np.int64))) == 0


@each
def test_order_of_providers(kind: str) -> None:
    """The order in which a recording has its providers makes no difference."""
    fuser, test = made(kind)
    asked, order = random_masks(len(test), 3), [2, 0, 1]
    one = fuser.fuse(test, asked)
    other = fuser.fuse(reordered(test, order), reordered_masks(asked, order))
    assert np.array_equal(one.starts, other.starts)
    assert np.mean(one.labels == other.labels) > 0.99  # sums of floats may tie
    assert np.allclose(np.sort(one.scores), np.sort(other.scores), atol=1e-5)


@each
def test_saved(kind: str, tmp_path: Path) -> None:
    """It is the same after it was written down and read."""
    fuser, test = made(kind)
    write_state(tmp_path / "fuser.npz", fuser.state())
    again = type(fuser).from_state(read_state(tmp_path / "fuser.npz"))  # type: ignore[attr-defined]
    asked = random_masks(len(test), 3)
    assert same(fuser.fuse(test, asked), again.fuse(test, asked))
    assert fuser.state()["fuser"] == kind.split(maxsplit=1)[0].replace(
        "stacked", f"stacked-{test.task}"
    )


@each
def test_some_of_the_providers(kind: str) -> None:
    """A recording of some of the providers is fused as if only they were asked."""
    fuser, test = made(kind)
    fewer = test.only(["provider-2", "provider-0"])
    one = fuser.fuse(fewer, np.full(len(test), 0b11))
    assert one.labels.size
    other = fuser.fuse(test, np.full(len(test), 0b101))
    assert np.array_equal(one.starts, other.starts)
    assert np.allclose(np.sort(one.scores), np.sort(other.scores), atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(recording=recordings("labels"), seed=st.integers(0, 99))
def test_vote_on_labels(recording: Recording, seed: int) -> None:
    """A vote has the label of the greatest sum of scores, counted one by one."""
    asked = random_masks(len(recording), recording.n_providers, seed)
    fused = VoteFuser().fuse(recording, asked)
    for i in range(len(recording)):
        sums: dict[int, float] = {}
        for p, answers in enumerate(recording.answers):
            for k in range(answers.starts[i], answers.starts[i + 1]):
                if asked[i] >> p & 1:
                    label = int(answers.labels[k])
                    sums[label] = sums.get(label, 0.0) + float(answers.scores[k])
        wanted = sorted(sums, key=lambda label: (-sums[label], label))[:1]
        assert fused.labels[fused.of(i)].tolist() == wanted


def test_vote_on_tiny_recordings() -> None:
    """Rules of a vote, worked out by hand."""
    everybody = np.full(3, 0b11)
    labels = VoteFuser().fuse(tiny_labels(), everybody)
    assert labels.labels.tolist() == [0, 1, 0]
    assert labels.scores.tolist() == pytest.approx([0.85, 0.45, 0.35])
    tags = VoteFuser().fuse(tiny_tags(), everybody)
    # Cat .9 + .8, dog .7 of 1.7; cat .3 and dog .9 of 1.2; dog .6 of .6.
    assert [tags.labels[tags.of(i)].tolist() for i in range(3)] == [[0], [1], [1]]
    assert tags.scores.tolist() == pytest.approx([0.85, 0.45, 0.3])


def test_vote_not_on_boxes() -> None:
    """A vote on boxes is misuse."""
    with pytest.raises(DataError, match="boxes"):
        VoteFuser().fuse(tiny_boxes(), np.full(3, 3))


@pytest.mark.parametrize("kind", KINDS[2:])
def test_better_than_votes_and_singles(kind: str) -> None:
    """On new items no subset is worse than a vote or its best member, but noise."""
    fuser, test = made(kind)
    masks = all_masks(3)
    mine = subset_qualities(test, fuser, masks).mean(axis=0)
    vote = subset_qualities(test, VoteFuser(), masks).mean(axis=0)
    alone = [item_quality(test, answers).mean() for answers in test.answers]
    assert mine.mean() > vote.mean() + 0.01
    for mask, quality in zip(masks.tolist(), mine.tolist(), strict=True):
        best = max(q for p, q in enumerate(alone) if mask >> p & 1)
        assert quality > best - 0.02
    assert np.all(mine > vote - 0.02)


def test_scores_are_chances() -> None:
    """The mean score is the share that is right, for every subset."""
    fuser, test = made("stacked labels")
    for mask in all_masks(3).tolist():
        fused = fuser.fuse(test, np.full(len(test), mask))
        right = item_quality(test, fused)[~fused.is_missing]
        assert abs(fused.scores.mean() - right.mean()) < 4 * 0.5 / np.sqrt(len(right))


@pytest.mark.parametrize("kind", KINDS[2:])
def test_copies_do_not_count_twice(kind: str) -> None:
    """A provider that repeats another makes the answer no surer."""
    task: Task = "labels" if kind.endswith("labels") else "tags"
    both = random_recording(
        task, np.random.default_rng(1), n_items=900, n_providers=2, n_names=3
    )
    echoed = replace(
        both,
        providers=("first", "echo", "again"),
        prices_usd=np.ones(3),
        answers=(both.answers[0],) * 3,
    )
    fit = fit_stacked_labels if task == "labels" else fit_stacked_tags
    fuser = fit(echoed, np.random.default_rng(2))
    n = len(echoed)
    one = fuser.chances(echoed, np.full(n, 0b001))
    all_three = fuser.chances(echoed, np.full(n, 0b111))
    assert np.abs(one - all_three).mean() < 0.04


@pytest.mark.parametrize("fit", [fit_stacked_labels, fit_stacked_tags])
def test_bad_input(fit: object) -> None:
    """Too few items, other labels and unknown providers are told in words."""
    task: Task = "labels" if fit is fit_stacked_labels else "tags"
    recording = random_recording(task, np.random.default_rng(0), n_items=30)
    chosen = fit_stacked_labels if task == "labels" else fit_stacked_tags
    rng = np.random.default_rng(0)
    for bad in (recording.take(np.arange(5)), replace(recording, truth=None)):
        with pytest.raises(DataError, match="items that have a truth"):
            chosen(bad, rng)
    fuser: StackedLabels | StackedTags = chosen(recording, rng)
    asked = np.ones(30, np.int64)
    with pytest.raises(DataError, match="other labels"):
        fuser.fuse(replace(recording, names=("a", "b", "c", "d")), asked)
    with pytest.raises(DataError, match="not fitted to provider x"):
        fuser.fuse(replace(recording, providers=("x", "y", "z")), asked)


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 9),
    n_providers=st.integers(1, 6),
    n_draws=st.integers(1, 9),
    n_most=st.integers(0, 90),
)
def test_rows_to_learn_from(
    n: int, n_providers: int, n_draws: int, n_most: int
) -> None:
    """Every item once with everybody, no subset empty, all subsets where they are few.

    Where rows are too many, some of every kind are left out, not all with few asked.
    """
    known = np.arange(n) * 2
    rng = np.random.default_rng(0)
    rows, masks = draw_rows(known, n_providers, n_draws, 10**6, rng)
    n_subsets = (1 << n_providers) - 1
    assert len(rows) == n * min(n_draws, n_subsets)
    assert sorted(rows[:n].tolist()) == known.tolist()
    assert (masks[:n] == n_subsets).all()
    assert ((masks > 0) & (masks <= n_subsets)).all()
    if n_draws >= n_subsets:
        pairs = set(zip(rows.tolist(), masks.tolist(), strict=True))
        assert len(pairs) == len(rows)
    few, _ = draw_rows(known, n_providers, n_draws, n_most, rng)
    assert len(few) == min(len(rows), max(n_most, 1))


def test_too_many_rows_keep_small_subsets() -> None:
    """Learning from a quarter of the rows still sees providers alone."""
    known, rng = np.arange(1000), np.random.default_rng(0)
    _, masks = draw_rows(known, 4, 8, 2000, rng)
    assert np.mean(masks == 0b1111) < 0.5
    assert np.mean(np.bitwise_count(masks) == 1) > 0.1
