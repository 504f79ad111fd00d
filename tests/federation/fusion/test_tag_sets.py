"""Sets of tags: their chances, the best one to give, and the model that learns them."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import check_grad

from midhaul.federation.fusion.stacked_tags import (
    MAX_TAGS,
    Likelihood,
    TagAnswers,
    best_sizes,
    fit_stacked_tags,
    set_chances,
)
from midhaul.federation.quality import item_quality
from midhaul.federation.recordings.problem import Answers, Recording

utilities_of = st.lists(st.floats(-40, 40), min_size=1, max_size=7)
weights_of = st.lists(st.floats(-5, 5), min_size=2, max_size=6)


def worlds(
    utilities: np.ndarray, log_weights: np.ndarray
) -> list[tuple[np.ndarray, float]]:
    """Every set of tags with its log weight."""
    found = []
    for world in itertools.product([False, True], repeat=len(utilities)):
        is_true = np.array(world)
        if is_true.sum() < len(log_weights):
            log_weight = utilities[is_true].sum() + log_weights[is_true.sum()]
            found.append((is_true, float(log_weight)))
    return found


@settings(max_examples=60, deadline=None)
@given(utilities_of, weights_of)
def test_chances_are_those_of_all_sets(
    utilities: list[float], weights: list[float]
) -> None:
    """Z, tags and sizes are those that come of counting every set."""
    row, log_weights = np.array(utilities), np.array(weights)
    log_z, tags, sizes = set_chances(row[None], log_weights)
    sets = worlds(row, log_weights)
    logs = np.array([log_weight for _, log_weight in sets])
    assert log_z[0] == pytest.approx(np.logaddexp.reduce(logs), abs=1e-9)
    chances = np.exp(logs - np.logaddexp.reduce(logs))
    which = np.array([is_true for is_true, _ in sets])
    assert tags[0] == pytest.approx(chances @ which, abs=1e-9)
    wanted = np.bincount(which.sum(axis=1), chances, len(log_weights))
    assert sizes[0] == pytest.approx(wanted, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(utilities_of, weights_of)
def test_no_set_has_a_greater_expected_jaccard_index(
    utilities: list[float], weights: list[float]
) -> None:
    """Over all sets that could be given, and all that could be true."""
    row, log_weights = np.sort(np.array(utilities))[::-1].copy(), np.array(weights)
    size = int(best_sizes(row[None], log_weights)[0])
    sets = worlds(row, log_weights)
    logs = np.array([log_weight for _, log_weight in sets])
    chances = np.exp(logs - np.logaddexp.reduce(logs))

    def expected(chosen: np.ndarray) -> float:
        total = 0.0
        for (is_true, _), chance in zip(sets, chances.tolist(), strict=True):
            either = (is_true | chosen).sum()
            total += chance * ((is_true & chosen).sum() / either if either else 1.0)
        return total

    every = itertools.product([False, True], repeat=len(row))
    most = max(expected(np.array(chosen)) for chosen in every)
    assert expected(np.arange(len(row)) < size) == pytest.approx(most, abs=1e-9)


def test_independent_tags() -> None:
    """Without weights of sizes, a tag's chance is that of its own odds."""
    utilities = np.random.default_rng(0).normal(0, 3, (50, 12))
    _, tags, _ = set_chances(utilities, np.zeros(13))
    assert tags == pytest.approx(1 / (1 + np.exp(-utilities)), abs=1e-12)


def test_many_likely_tags() -> None:
    """Hundreds of tags that are all but sure neither overflow nor exceed the limit."""
    utilities = np.full((3, 300), 30.0)
    log_z, tags, sizes = set_chances(utilities, np.zeros(25))
    assert np.isfinite(log_z).all()
    assert np.isfinite(sizes).all()
    assert tags.sum(axis=1) == pytest.approx(24.0)
    assert best_sizes(utilities, np.zeros(25)).tolist() == [MAX_TAGS] * 3


def blind_to_cats(n: int, seed: int) -> Recording:
    """Pictures of one thing each, and a provider that has no word for cats."""
    true = np.random.default_rng(seed).integers(0, 3, n)
    seen = np.flatnonzero(true != 2)
    score = np.full(len(seen), 0.9, np.float32)
    return Recording(
        task="tags",
        items=tuple(f"{seed}-{i}" for i in range(n)),
        names=("car", "dog", "cat"),
        providers=("blind",),
        prices_usd=np.ones(1),
        answers=(Answers.of_rows(seen, n, true[seen].astype(np.int32), score),),
        truth=Answers.of_rows(np.arange(n), n, true, np.ones(n, np.float32)),
    )


def test_silence_tells() -> None:
    """What a provider never names is what is there when it names nothing."""
    fuser = fit_stacked_tags(blind_to_cats(300, 1), np.random.default_rng(0))
    test = blind_to_cats(200, 2)
    asked = np.ones(200, np.int64)
    assert item_quality(test, fuser.fuse(test, asked)).mean() == 1.0
    chances = fuser.chances(test, asked)
    assert chances.sum(axis=1) == pytest.approx(1.0, abs=0.05)


def test_one_tag_tells_of_another() -> None:
    """A tag that comes with another is given where only the other was named."""
    both = blind_to_cats(400, 3)
    tagged = both.truth
    assert tagged is not None
    riders = np.flatnonzero(tagged.labels == 0)
    rows = np.concatenate([np.arange(400), riders])
    labels = np.concatenate([tagged.labels, np.full(len(riders), 3)])
    with_riders = replace(
        both,
        names=("car", "dog", "cat", "driver"),
        truth=Answers.of_rows(rows, 400, labels, np.ones(len(rows), np.float32)),
    )
    train, test = (
        with_riders.take(np.arange(250)),
        with_riders.take(np.arange(250, 400)),
    )
    fuser = fit_stacked_tags(train, np.random.default_rng(0))
    fused = fuser.fuse(test, np.ones(len(test), np.int64))
    assert item_quality(test, fused).mean() == 1.0


def test_gradient() -> None:
    """The gradient of the likelihood is the one that differences give."""
    recording = blind_to_cats(40, 4)
    truth = recording.truth
    assert truth is not None
    is_true = np.zeros((40, 3), bool)
    is_true[truth.items, truth.labels] = True
    said = TagAnswers.of(recording, np.ones(40, np.int64), [0], 1)
    problem = Likelihood(said, is_true, np.zeros(3), 1.0)
    rng = np.random.default_rng(0)
    at = problem.start() + 0.1 * rng.normal(size=len(problem.start()))
    slope = problem.loss(at)[1]
    error = check_grad(
        lambda x: problem.loss(x)[0], lambda x: problem.loss(x)[1], at, epsilon=1e-2
    )
    assert error < 0.02 * np.linalg.norm(slope)


def test_items_with_very_many_tags() -> None:
    """An item with more tags than are counted is left out, not fatal."""
    n, c = 30, 40
    rng = np.random.default_rng(0)
    is_true = rng.random((n, c)) < 0.1
    is_true[0] = True
    items, labels = np.nonzero(is_true)
    answers = Answers.of_rows(
        items, n, labels.astype(np.int32), np.full(len(items), 0.8, np.float32)
    )
    recording = Recording(
        task="tags",
        items=tuple(f"item {i}" for i in range(n)),
        names=tuple(f"tag {j}" for j in range(c)),
        providers=("one", "two"),
        prices_usd=np.ones(2),
        answers=(answers, answers),
        truth=answers,
    )
    fuser = fit_stacked_tags(recording, rng)
    fused = fuser.fuse(recording, np.full(n, 0b11))
    assert fused.counts.max() <= MAX_TAGS
    assert item_quality(recording, fused)[1:].mean() > 0.8
