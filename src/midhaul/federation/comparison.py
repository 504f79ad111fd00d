"""Judging policies over several splits: statistics of items, paired where they can be.

Every split tests another half of the items. A metric is the mean over splits, as a
function of how often each item counts, so that its bootstrap interval is over items and
the items that two policies share cancel out of their difference.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.federation.quality import item_quality, set_quality
from midhaul.stats import mean_statistic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float64, Int64

    from midhaul.federation.fusion.base import Fuser
    from midhaul.federation.preparing import TestPart
    from midhaul.federation.problem import Answers
    from midhaul.federation.quality import QualityOfSet
    from midhaul.model.samples import Statistic

_DIGITS = 14


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome:
    """What one policy at one budget did to the test items of one split.

    Attributes:
        items: ``(k,)`` numbers of the items in the whole recording.
        asked: ``(k,)`` mask of all providers asked.
        first: ``(k,)`` mask of those asked in the first round.
        n_rounds: ``(k,)`` rounds of calls, one after another.
        cost_usd: ``(k,)`` price of the calls.
        fused: the answers given.
        quality: of all answers together.
        item_quality: ``(k,)`` of each answer alone.
    """

    items: Int64[np.ndarray, " k"]
    asked: Int64[np.ndarray, " k"]
    first: Int64[np.ndarray, " k"]
    n_rounds: Int64[np.ndarray, " k"]
    cost_usd: Float64[np.ndarray, " k"]
    fused: Answers
    quality: QualityOfSet
    item_quality: Float64[np.ndarray, " k"]


def judge(
    part: TestPart,
    fuser: Fuser,
    asked: Int64[np.ndarray, " k"],
    first: Int64[np.ndarray, " k"],
    n_rounds: Int64[np.ndarray, " k"],
) -> Outcome:
    """Fuse what was asked, and hold it against the truth.

    Args:
        part: the test items; scores calibrated as the fuser expects them.
        fuser: what fuses the answers.
        asked: ``(k,)`` mask of all providers asked.
        first: ``(k,)`` mask of those asked in the first round.
        n_rounds: ``(k,)`` rounds of calls.
    """
    fused = fuser.fuse(part.recording.shown(asked), asked)
    return Outcome(
        items=part.items,
        asked=asked,
        first=first,
        n_rounds=n_rounds,
        cost_usd=part.recording.prices_of(asked),
        fused=fused,
        quality=set_quality(part.recording, fused),
        item_quality=item_quality(part.recording, fused),
    )


def over_splits(
    parts: Sequence[tuple[Int64[np.ndarray, " k"], Statistic]],
) -> Statistic:
    """The mean of one statistic over splits, as a function of all items' weights.

    Args:
        parts: the items of each split's test part, and the statistic of these.
    """

    def statistic(weights: Float64[np.ndarray, "b n"]) -> Float64[np.ndarray, " b"]:
        values = [part(weights[:, items]) for items, part in parts]
        # Equal prices of all items must not differ by how they are added up.
        return np.round(np.mean(values, axis=0), _DIGITS)

    return statistic


def quality_over(outcomes: Sequence[Outcome]) -> Statistic:
    """The headline quality of a policy, over all splits."""
    return over_splits([(one.items, one.quality.statistic) for one in outcomes])


def mean_over(
    outcomes: Sequence[Outcome], values: Sequence[Float64[np.ndarray, " k"]]
) -> Statistic:
    """The mean of numbers of the items, over all splits.

    Args:
        outcomes: of each split.
        values: ``(k,)`` of each split.
    """
    pairs = zip(outcomes, values, strict=True)
    return over_splits([(one.items, mean_statistic(v)) for one, v in pairs])


def cost_to_match(
    points: Sequence[tuple[float, float]], quality: float
) -> float | None:
    """The lowest price at which a policy's curve reaches a quality.

    Args:
        points: price and quality at several budgets, in any order. Between two
            neighbours by price lies a mixture: every item is drawn to one or the other.
            A quality that is NaN is no point.
        quality: what has to be reached; nothing reaches NaN.

    Returns:
        The price; None where no point reaches it.
    """
    ordered = sorted(point for point in points if not math.isnan(point[1]))
    for number, (cost, reached) in enumerate(ordered):
        if not reached >= quality:
            continue
        if number == 0:
            return cost
        below_cost, below = ordered[number - 1]
        share = (quality - below) / (reached - below)
        return below_cost + share * (cost - below_cost)
    return None
