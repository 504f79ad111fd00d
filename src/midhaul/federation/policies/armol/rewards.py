"""What a learner is rewarded with: the quality of a fused answer, less what it cost.

Xie, Xue, Zhu and Wang, "Cost Effective MLaaS Federation: A Combinatorial Reinforcement
Learning Approach", INFOCOM 2022, and the program that they released:

    r = tanh(v + alpha * n_calls) - 0.15,  alpha = -0.1

with v the AP50 of the fused answer to the single image, -1 where that answer is empty.

1. For tags and labels v is the quality of the answer to the item (Jaccard; right or
   wrong), as nothing else in the formula speaks of boxes.
2. With ``beta_per_usd`` the price stands in the place of the number of calls.
3. Values are kept by item and subset, so that each is fused once however often it is
   visited.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from midhaul.federation.policies.ensemble_labels import with_references
from midhaul.federation.quality import item_quality
from midhaul.federation.recordings.problem import prices_of, sizes_of

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64, Int64

    from midhaul.federation.policies.base import Examples
    from midhaul.federation.policies.ensemble_labels import ReferenceBill

_EMPTY = -1.0
_LARGEST_ARRAY = 1 << 24
"""Pairs of item and subset that are kept as an array; more are kept as a dict."""

Reference = Literal["truth", "ensemble"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardSettings:
    """How a value and a price become a reward.

    Attributes:
        alpha: what a call adds to the value; negative.
        beta_per_usd: what a USD adds to the value, instead of ``alpha`` for a call;
            negative. None counts calls.
        shift: taken off every reward.
        reference: what an answer is held against: the truth, or without people the
            fused answer of all providers.
        is_cost_counted: false leaves the price out, as the released program does
            where it has no truth.
    """

    alpha: float = -0.1
    beta_per_usd: float | None = None
    shift: float = 0.15
    reference: Reference = "truth"
    is_cost_counted: bool = True


class Rewards:
    """Rewards of subsets asked about items, each fused when it is first wanted.

    Providers of ``always`` are asked about every item anyway, such as one whose answer
    is among the features.

    Attributes:
        bill: what the references cost; None where people said what is right.
    """

    bill: ReferenceBill | None

    def __init__(
        self,
        examples: Examples,
        settings: RewardSettings | None = None,
        *,
        always: int = 0,
    ) -> None:
        self._settings = RewardSettings() if settings is None else settings
        self._always = always
        self._fuser = examples.fuser
        self._recording, self.bill = examples.recording, None
        if self._settings.reference == "ensemble":
            self._recording, self.bill = with_references(
                examples.recording, examples.fuser
            )
        n_masks = 1 << self._recording.n_providers
        self._array: Float64[np.ndarray, "n s"] | None = None
        if len(self._recording) * n_masks <= _LARGEST_ARRAY:
            self._array = np.full((len(self._recording), n_masks), np.nan)
        self._kept: dict[tuple[int, int], float] = {}
        self.n_fused = 0

    def __len__(self) -> int:
        """Number of items."""
        return len(self._recording)

    def values(
        self, items: Int64[np.ndarray, " k"], masks: Int64[np.ndarray, " k"]
    ) -> Float64[np.ndarray, " k"]:
        """Quality of the fused answer of each pair; -1 where it is empty.

        Items may come several times.
        """
        masks = masks | self._always
        found = self._look_up(items, masks)
        absent = np.flatnonzero(np.isnan(found))
        if len(absent):
            pairs = np.unique(np.stack([items[absent], masks[absent]]), axis=1)
            self._keep(pairs[0], pairs[1])
            found[absent] = self._look_up(items[absent], masks[absent])
        return found

    def rewards(
        self, items: Int64[np.ndarray, " k"], masks: Int64[np.ndarray, " k"]
    ) -> Float64[np.ndarray, " k"]:
        """Reward of asking each subset about each item."""
        return reward_of(
            self.values(items, masks),
            sizes_of(masks | self._always),
            self.prices_usd(masks),
            self._settings,
        )

    def prices_usd(self, masks: Int64[np.ndarray, " k"]) -> Float64[np.ndarray, " k"]:
        """Price of each subset with whom is asked anyway."""
        return prices_of(masks | self._always, self._recording.prices_usd)

    def _look_up(
        self, items: Int64[np.ndarray, " k"], masks: Int64[np.ndarray, " k"]
    ) -> Float64[np.ndarray, " k"]:
        if self._array is not None:
            return self._array[items, masks]
        pairs = zip(items.tolist(), masks.tolist(), strict=True)
        return np.array([self._kept.get(pair, np.nan) for pair in pairs], np.float64)

    def _keep(
        self, items: Int64[np.ndarray, " k"], masks: Int64[np.ndarray, " k"]
    ) -> None:
        """Fuse distinct pairs, which come sorted by item, and keep their values."""
        self.n_fused += len(items)
        for which in _rounds(items):
            i, s = items[which], masks[which]
            values = self._fused_values(i, s)
            if self._array is not None:
                self._array[i, s] = values
            else:
                pairs = zip(i.tolist(), s.tolist(), strict=True)
                self._kept.update(zip(pairs, values.tolist(), strict=True))

    def _fused_values(
        self, items: Int64[np.ndarray, " k"], masks: Int64[np.ndarray, " k"]
    ) -> Float64[np.ndarray, " k"]:
        part = self._recording.take(items)
        shown = replace(part, truth=None)
        fused = self._fuser.fuse(shown, masks)
        return np.where(fused.counts == 0, _EMPTY, item_quality(part, fused))


def reward_of(
    values: Float64[np.ndarray, " k"],
    n_calls: Int64[np.ndarray, " k"],
    prices_usd: Float64[np.ndarray, " k"],
    settings: RewardSettings,
) -> Float64[np.ndarray, " k"]:
    """The reward formula; values are -1 where an answer is empty."""
    if not settings.is_cost_counted:
        cost = np.zeros(len(values))
    elif settings.beta_per_usd is None:
        cost = settings.alpha * n_calls
    else:
        cost = settings.beta_per_usd * prices_usd
    return np.tanh(values + cost) - settings.shift


def _rounds(items: Int64[np.ndarray, " k"]) -> list[Bool[np.ndarray, " k"]]:
    """Parts of sorted items in which none comes twice."""
    first = np.searchsorted(items, items, side="left")
    occurrence = np.arange(len(items)) - first
    return [occurrence == number for number in range(int(occurrence.max()) + 1)]
