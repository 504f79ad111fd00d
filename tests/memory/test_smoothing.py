"""Smoothing and scores: bounds that hold, and a recalibration that sees no test."""

from __future__ import annotations

import numpy as np
import pytest

from midhaul.errors import ConfigError
from midhaul.memory.scores import LEAST, log_odds, log_scores, recalibrated_loss
from midhaul.memory.smoothing import Smoothing


def _sure(
    n: int, wrong: float, k: int = 21, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Predictions that say 0.999 of one bin, some of them of the wrong one."""
    rng = np.random.default_rng(seed)
    came = rng.integers(k, size=n)
    said = np.where(rng.random(n) < wrong, rng.integers(k, size=n), came)
    prediction = np.full((n, k), 0.001 / (k - 1), np.float32)
    prediction[np.arange(n), said] = 0.999
    return prediction, came


def test_scores_are_logarithms_of_what_came() -> None:
    """By hand, and a share of 0 has a score too."""
    prediction = np.array([[0.5, 0.5], [1.0, 0.0]], np.float32)
    found = log_scores(prediction, np.array([0, 1]))
    assert found == pytest.approx([np.log(0.5), np.log(LEAST)])
    assert log_odds(prediction, 1)[0] == pytest.approx(0.0)


def test_no_score_is_below_the_bound() -> None:
    """The share of the uniform distribution bounds every score, whatever comes."""
    prediction, came = _sure(2000, 0.0)
    smoothing = Smoothing.fitted(prediction, came, least=0.02)
    worst = log_scores(smoothing.smoothed(prediction), (came + 1) % 21)
    assert worst.min() >= np.log(0.02 / 21) - 1e-4
    total = smoothing.smoothed(prediction).sum(axis=1)
    assert total == pytest.approx(np.ones(2000), abs=1e-4)


def test_what_is_too_sure_is_smoothed_on_new_predictions_too() -> None:
    """Wrong in one of ten and sure of it: mixing learns how often, and helps later."""
    smoothing = Smoothing.fitted(*_sure(4000, 0.1))
    prediction, came = _sure(4000, 0.1, seed=1)
    raw = log_scores(prediction, came).mean()
    assert log_scores(smoothing.smoothed(prediction), came).mean() > raw + 0.2


def test_what_comes_instead_is_learnt_bin_by_bin() -> None:
    """Who expects one bin is sometimes wrong in the same way, whoever is as sure."""
    rng = np.random.default_rng(2)
    mode = rng.integers(21, size=12_000)
    came = np.where(rng.random(12_000) < 0.1, (7 * mode + 3) % 21, mode)
    prediction = np.full((12_000, 21), 0.001 / 20, np.float32)
    prediction[np.arange(12_000), mode] = 0.999
    past, now = slice(0, 6000), slice(6000, None)
    smoothing = Smoothing.fitted(prediction[past], came[past])
    scores = log_scores(smoothing.smoothed(prediction[now]), came[now])
    assert np.quantile(scores, 0.01) > np.log(0.05)
    assert scores.mean() > 0.9 * np.log(0.9) + 0.1 * np.log(0.1) - 0.1


def test_before_anything_is_known_only_the_least_is_mixed() -> None:
    """Without a past there is the bound alone; a share of 1 would be no prediction."""
    prediction, _ = _sure(10, 0.0)
    found = Smoothing.none(21, 0.02).smoothed(prediction)
    assert found.max() == pytest.approx(0.98 * 0.999 + 0.02 / 21, abs=1e-4)
    with pytest.raises(ConfigError, match="least"):
        Smoothing.fitted(prediction, np.zeros(10, int), least=1.0)


def test_recalibration_forgives_a_shift_and_nothing_else() -> None:
    """Odds that are too high by a constant lose nothing; odds by lot lose all."""
    rng = np.random.default_rng(0)
    odds = rng.normal(-2, 1.5, 20_000)
    came = rng.random(20_000) < 1 / (1 + np.exp(-odds))
    cluster = np.arange(20_000) // 50
    best = np.logaddexp(0, np.where(came, -odds, odds)).mean()
    shifted = recalibrated_loss(2 * odds + 3, came, cluster).mean()
    assert shifted == pytest.approx(best, rel=0.01)
    share = came.mean()
    entropy = -(share * np.log(share) + (1 - share) * np.log(1 - share))
    by_lot = recalibrated_loss(rng.normal(size=20_000), came, cluster).mean()
    assert by_lot == pytest.approx(entropy, rel=0.02)


def test_an_event_that_never_comes_has_no_line_to_fit() -> None:
    """Odds stay as they are."""
    found = recalibrated_loss(np.zeros(100), np.zeros(100, bool), np.arange(100))
    assert found == pytest.approx(np.full(100, np.log(2)))
