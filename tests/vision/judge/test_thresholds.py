"""Precision, recall and F1, and choosing the threshold for them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.strategies import judged_images
from tests.tiny import detections, four_images, ground_truth

from midhaul.model import Detections, GroundTruth
from midhaul.vision.judge.matching import match
from midhaul.vision.judge.thresholds import (
    averages,
    class_scores,
    count,
    f1_threshold,
    of_weights,
    thesis_f1,
)

Judged = tuple[list[GroundTruth], list[Detections]]


@settings(max_examples=50, deadline=None)
@given(judged_images(), st.sampled_from([0.0, 0.3, 0.5, 0.85]))
def test_filtering_first_changes_nothing(case: Judged, threshold: float) -> None:
    """Counting from a threshold is matching only what reaches it."""
    truths, answers = case
    kept = [a.take(a.scores.astype(np.float64) >= threshold) for a in answers]
    whole = count(match(truths, answers), threshold)
    filtered = count(match(truths, kept), 0.0)
    np.testing.assert_array_equal(whole.n_true, filtered.n_true)
    np.testing.assert_array_equal(whole.n_false, filtered.n_false)


@settings(max_examples=50, deadline=None)
@given(judged_images())
def test_f1_threshold_is_best(case: Judged) -> None:
    """No threshold gives a higher F1 than the one chosen."""
    matches = match(*case)
    if not matches.support.any():
        return
    chosen = averages(matches, f1_threshold(matches)).f1
    tried = [averages(matches, s).f1 for s in [0.0, *np.unique(matches.scores)]]
    assert chosen == pytest.approx(max(tried))


def test_f1_threshold_lies_between() -> None:
    """The threshold stands midway between what counts and what does not."""
    dataset, answers = four_images()
    ids = ["a", "d"]
    matches = match([dataset.truth[i] for i in ids], [answers[i] for i in ids])
    # Falling: 0.95 right, 0.9 right, 0.8 right, 0.6 wrong.
    assert f1_threshold(matches) == pytest.approx(0.7)
    truth = ground_truth([("car", (0, 0, 10, 10), False)])
    wrong = match([truth], [detections([("car", (50, 50, 60, 60), 0.9)])])
    assert f1_threshold(wrong) == 0.5


@settings(max_examples=30, deadline=None)
@given(judged_images(), st.data())
def test_weights_repeat_images(case: Judged, data: st.DataObject) -> None:
    """Every average at whole weights is that of the images repeated."""
    truths, answers = case
    n = len(truths)
    weights = data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    counts = count(match(truths, answers), 0.4)
    chosen = np.repeat(np.arange(n), weights)
    again = count(match([truths[i] for i in chosen], [answers[i] for i in chosen]), 0.4)
    for metric in ("precision", "recall", "f1"):
        for is_macro in (False, True):
            if not len(chosen):
                continue
            row = np.array([weights], np.float64)
            found = of_weights(counts, metric, is_macro=is_macro)(row)
            expected = of_weights(again, metric, is_macro=is_macro)(
                np.ones((1, len(chosen)))
            )
            np.testing.assert_allclose(found, expected)


def test_class_scores_without_evidence() -> None:
    """What there is no evidence for is NaN, not 0."""
    truth = ground_truth([("person", (0, 0, 10, 10), False)])
    answer = detections([("car", (0, 0, 10, 10), 0.9)])
    scores = class_scores(match([truth], [answer]), truth.names, 0.5)
    np.testing.assert_equal(scores.precision, [np.nan, 0, np.nan])
    np.testing.assert_equal(scores.recall, [0, np.nan, np.nan])
    np.testing.assert_equal(scores.f1, [0, 0, np.nan])
    assert scores.threshold == 0.5


def test_bias_of_the_thesis() -> None:
    """False detections of absent classes cost F1, but not in the thesis's average."""
    truths = [ground_truth([("person", (0, 0, 10, 10), False)])] * 2
    right = ("person", (0.0, 0.0, 10.0, 10.0), 0.9)
    noise = [("car", (float(i), 20.0, i + 9.0, 30.0), 0.9) for i in range(8)]
    matches = match(truths, [detections([right, *noise]), detections([right])])
    assert thesis_f1(matches) == 1.0
    assert averages(matches, 0.75).f1 == pytest.approx(4 / (2 + 8 + 2))


def test_bias_of_unweighted_pairs() -> None:
    """One easy box weighs as much as a crowded image in the thesis's average."""
    many = [("person", (10.0 * i, 0.0, 10.0 * i + 9, 9.0), False) for i in range(9)]
    truths = [ground_truth(many), ground_truth([("car", (0, 0, 9, 9), False)])]
    answers = [detections([]), detections([("car", (0, 0, 9, 9), 0.8)])]
    matches = match(truths, answers)
    assert thesis_f1(matches) == 0.5
    assert averages(matches, 0.75).f1 == pytest.approx(2 / 11)
