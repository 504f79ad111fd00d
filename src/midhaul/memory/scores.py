"""Log scores of predictions: their mean, their tail, and the slow event by itself.

A log score is the logarithm of the share that a model gave to the bin that came. Its
first percentile is what the seed reports as the tail. Such percentiles measure how
smooth a distribution is as much as what it knows (:mod:`midhaul.memory.smoothing`), so
there is a second look: whether a model knows *when* something slow comes, after each
model was recalibrated alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Float64, Int64

LEAST = 1e-9
"""The smallest share that a score sees, so that a share of 0 has a score."""


def log_scores(
    prediction: Float32[np.ndarray, "n k"], bin_of: Int64[np.ndarray, " n"]
) -> Float64[np.ndarray, " n"]:
    """The logarithm of what each prediction gave to the bin that came."""
    given = prediction[np.arange(len(bin_of)), bin_of].astype(np.float64)
    return np.log(np.maximum(given, LEAST))


def log_odds(
    prediction: Float32[np.ndarray, "n k"], first: int
) -> Float64[np.ndarray, " n"]:
    """The log odds that predictions give to a bin from ``first`` on."""
    p = prediction[:, first:].sum(axis=1, dtype=np.float64)
    p = np.clip(p, LEAST, 1 - LEAST)
    return np.log(p / (1 - p))


def recalibrated_loss(
    odds: Float64[np.ndarray, " n"],
    is_event: Bool[np.ndarray, " n"],
    cluster: Int64[np.ndarray, " n"],
    n_folds: int = 5,
) -> Float64[np.ndarray, " n"]:
    """Log loss of an event after Platt's recalibration across clusters.

    A line through the log odds is fitted on the clusters of the other folds (Platt
    1999, two parameters, without his smoothing of targets), so that a model is judged
    by what it tells apart, not by how often it expects the event. Nothing is fitted on
    a cluster that it is applied to.
    """
    numbers, index = np.unique(cluster, return_inverse=True)
    fold = np.random.default_rng(0).permutation(len(numbers))[index] % n_folds
    found = np.empty(len(odds))
    for one in range(n_folds):
        rest, own = fold != one, fold == one
        slope, offset = _platt(odds[rest], is_event[rest])
        found[own] = _loss(slope * odds[own] + offset, is_event[own])
    return found


def _loss(odds: np.ndarray, is_event: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, np.where(is_event, -odds, odds))


_N_STEPS = 50
_CLOSE = 1e-8


def _platt(odds: np.ndarray, is_event: np.ndarray) -> tuple[float, float]:
    """Slope and offset of the likeliest line, by Newton's method."""
    if is_event.all() or not is_event.any():
        return 1.0, 0.0
    scale = odds.std() or 1.0
    x = np.stack([(odds - odds.mean()) / scale, np.ones_like(odds)], axis=1)
    share = is_event.mean()
    at = np.array([0.0, np.log(share / (1 - share))])
    for _ in range(_N_STEPS):
        p = 1 / (1 + np.exp(-np.clip(x @ at, -30, 30)))
        gradient = x.T @ (p - is_event)
        curve = (x * (p * (1 - p))[:, None]).T @ x + 1e-9 * np.eye(2)
        step = np.linalg.solve(curve, gradient)
        at -= np.clip(step, -2, 2)
        if np.abs(step).max() < _CLOSE:
            break
    slope = at[0] / scale
    return float(slope), float(at[1] - slope * odds.mean())
