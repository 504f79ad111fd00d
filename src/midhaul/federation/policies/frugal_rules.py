"""The best threshold and add-on for some training items of one base, exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64, Int64

NEVER = -1.0
"""A threshold that every score reaches: the add-on is never asked."""

ALWAYS = 2.0
"""A threshold that no score reaches."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RuleGroup:
    """Training items of one base that share a rule, by falling score.

    Attributes:
        labels: rules that this group stands for.
        weight: of its value: 1, or less where it rests on items of other labels too.
        scores: ``(k + 1,)`` threshold that keeps the first i items, for each i.
        is_cut: ``(k + 1,)`` whether a threshold can separate them.
        alone: ``(k + 1,)`` quality of the base alone, summed over the first i.
        paired: ``(a, k + 1)`` quality with each add-on, over all but the first i.
    """

    labels: Int64[np.ndarray, " l"]
    weight: float
    scores: Float64[np.ndarray, " k1"]
    is_cut: Bool[np.ndarray, " k1"]
    alone: Float64[np.ndarray, " k1"]
    paired: Float64[np.ndarray, "a k1"]

    def best(self, fees: Float64[np.ndarray, " a"]) -> tuple[float, int, float]:
        """Threshold, add-on and value of the best rule at these prices."""
        n_left = np.arange(len(self.alone))[::-1]
        value = self.alone + self.paired - fees[:, None] * n_left
        value[:, ~self.is_cut] = -np.inf
        # Of equally good rules the one that asks least: the last cut.
        top = value.max(axis=1)
        add_on = int(top.argmax())
        row = value[add_on]
        nearly = row >= row.max() - 1e-12 * max(1.0, abs(float(row.max())))
        cut = len(row) - 1 - int(nearly[::-1].argmax())
        return float(self.scores[cut]), add_on, float(row[cut])


def rule_group(
    labels: Int64[np.ndarray, " l"],
    weight: float,
    scores: Float64[np.ndarray, " k"],
    alone: Float64[np.ndarray, " k"],
    paired: Float64[np.ndarray, "k a"],
) -> RuleGroup:
    """Sort items by score and sum qualities from both ends, once for all prices.

    Args:
        labels: rules that these items stand for.
        weight: of their value.
        scores: ``(k,)`` of the base.
        alone: ``(k,)`` quality of the base alone.
        paired: ``(k, a)`` quality with each add-on.
    """
    order = np.argsort(-scores, kind="stable")
    falling = scores[order]
    zero = np.zeros((paired.shape[1], 1))
    before = np.concatenate([zero, np.cumsum(paired[order].T, axis=1)], axis=1)
    is_cut = np.ones(len(scores) + 1, bool)
    is_cut[1:-1] = falling[1:] < falling[:-1]
    thresholds = np.concatenate([[ALWAYS], falling])
    thresholds[-1] = NEVER if len(scores) else thresholds[-1]
    return RuleGroup(
        labels=labels,
        weight=weight,
        scores=thresholds,
        is_cut=is_cut,
        alone=np.concatenate([[0.0], np.cumsum(alone[order])]),
        paired=before[:, -1:] - before,
    )
