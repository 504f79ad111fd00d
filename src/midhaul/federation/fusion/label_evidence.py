"""What one provider's label and score alone tell about the true label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

    from midhaul.federation.saving import State

_N_KNOTS = 12
_FEW_RIGHT = 20.0
"""Answers that a shrunken share of right ones is worth before any is counted."""
_FEW_WRONG = 10.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Voice:
    """P(true label | label, score) of one provider.

    Attributes:
        knots: ``(k,)`` rising scores.
        right: ``(c, k)`` log odds that the label is right, by label and score.
        wrong: ``(c, c)`` log probability of what is true when a label is wrong, by
            that label; 0 on the diagonal.
    """

    knots: Float64[np.ndarray, " k"]
    right: Float64[np.ndarray, "c k"]
    wrong: Float64[np.ndarray, "c c"]

    def evidence(
        self, labels: Int64[np.ndarray, " n"], scores: Float64[np.ndarray, " n"]
    ) -> Float64[np.ndarray, "n c"]:
        """Log P(true label) of each label, given one answer an item."""
        low, high, part = _places(self.knots, scores)
        odds = self.right[labels, low] * (1 - part) + self.right[labels, high] * part
        found = self.wrong[labels]
        found -= np.logaddexp(0.0, odds)[:, None]
        found[np.arange(len(labels)), labels] = -np.logaddexp(0.0, -odds)
        return found

    def state(self) -> State:
        """Everything, for :meth:`from_state`."""
        return {"knots": self.knots, "right": self.right, "wrong": self.wrong}

    @classmethod
    def from_state(cls, state: State) -> Voice:
        """What :meth:`state` gave."""
        return cls(
            **{
                name: np.asarray(state[name], np.float64)
                for name in ("knots", "right", "wrong")
            }
        )


def fit_voice(
    labels: Int64[np.ndarray, " n"],
    scores: Float64[np.ndarray, " n"],
    truths: Int64[np.ndarray, " n"],
    log_prior: Float64[np.ndarray, " c"],
) -> Voice:
    """Count and shrink; without any answer, chance.

    Args:
        labels: ``(n,)`` of one provider.
        scores: ``(n,)``.
        truths: ``(n,)`` labels that are true.
        log_prior: ``(c,)`` log share of each label.
    """
    c = len(log_prior)
    knots = np.zeros(1)
    if len(scores):
        knots = np.unique(np.quantile(scores, np.linspace(0, 1, _N_KNOTS)))
    low, high, part = _places(knots, scores)
    total, right = np.zeros((c, len(knots))), np.zeros((c, len(knots)))
    is_right = labels == truths
    for at, weight in ((low, 1 - part), (high, part)):
        np.add.at(total, (labels, at), weight)
        np.add.at(right, (labels, at), weight * is_right)
    accuracy = (right.sum() + 1.0) / (total.sum() + 2.0)
    by_label = _shrunk(right.sum(axis=1), total.sum(axis=1), accuracy)
    by_score = _shrunk(right.sum(axis=0), total.sum(axis=0), accuracy)
    added = _odds(by_label)[:, None] + _odds(by_score) - _odds(accuracy)
    shares = _shrunk(right, total, 1.0 / (1.0 + np.exp(-added)))
    wrong = np.zeros((c, c))
    np.add.at(wrong, (labels[~is_right], truths[~is_right]), 1.0)
    others = np.where(np.eye(c) == 1, 0.0, np.exp(log_prior))
    others /= np.maximum(others.sum(axis=1, keepdims=True), 1e-12)
    wrong = (wrong + _FEW_WRONG * others) / (
        wrong.sum(axis=1, keepdims=True) + _FEW_WRONG
    )
    np.fill_diagonal(wrong, 1.0)
    return Voice(knots=knots, right=_odds(shares), wrong=np.log(wrong))


def _places(
    knots: Float64[np.ndarray, " k"], scores: Float64[np.ndarray, " n"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The knots around each score, and how far it is from the lower to the upper."""
    place = np.interp(scores, knots, np.arange(len(knots), dtype=np.float64))
    low = place.astype(np.int64)
    return low, np.minimum(low + 1, len(knots) - 1), place - low


def _shrunk(right: np.ndarray, total: np.ndarray, to: np.ndarray | float) -> np.ndarray:
    return (right + _FEW_RIGHT * to) / (total + _FEW_RIGHT)


def _odds(share: np.ndarray | float) -> np.ndarray:
    return np.log(share) - np.log1p(-np.asarray(share))
