"""LinUCB over subsets: try what may be best, learn from what was tried.

Li, Chu, Langford and Schapire, "A contextual-bandit approach to personalized news
article recommendation", WWW 2010, algorithm 1 (disjoint): an arm a has a ridge
regression A = I + sum x x', b = sum r x, and asked is the arm of the highest

    theta' x + alpha * sqrt(x' A^-1 x),   theta = A^-1 b

where x are an item's features and r is the quality of the fused answer. It learns from
the subset it asked alone, so nobody has to be called for the sake of learning.

1. The price of a subset is known, so it is taken off with a multiplier instead of being
   learned. A changed price is followed at once.
2. Arms are subsets. With ``is_shared`` there is one regression for all of them, whose
   features are those of the item for each member, and the pairs of members: the hybrid
   of their algorithm 2 without the disjoint part. It learns from fewer items and cannot
   say everything.
3. With a base the first provider is asked about every item, its answer is the context,
   and the arms are the subsets that contain it.
4. Decisions about a batch are made before any of them is learned from.
5. What was never tried is expected to be right (a prior of 1 instead of 0): rewards are
   near 1, and a bonus of alpha = 0.5 above 0 would leave most subsets untried.
6. ``discount`` below 1 forgets (Russac, Vernade and Cappe, "Weighted linear bandits for
   non-stationary environments", NeurIPS 2019; with one matrix instead of two).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from midhaul.federation.policies.bandit_context import Context
from midhaul.federation.policies.ridge import RidgeBank
from midhaul.federation.policies.situations import part_of
from midhaul.federation.policies.worth import (
    best_of,
    finite_multiplier,
)
from midhaul.federation.problem import prices_of

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

    from midhaul.federation.policies.base import Situation
    from midhaul.federation.problem import Answers
    from midhaul.federation.saving import State


class LinUcb:
    """A bandit that decides and learns; an ``OnlinePolicy``.

    Args:
        context: what an item looks like.
        masks: ``(k,)`` the arms.
        bank: the regressions.
        multiplier: quality that one USD has to buy.
        alpha: width of the bonus; 0 to decide without exploring.

    Attributes:
        n_learned: items that it learned from.
        spent_usd: price of the calls about them.
    """

    kind: ClassVar[str] = "linucb"

    def __init__(
        self,
        context: Context,
        masks: Int64[np.ndarray, " k"],
        bank: RidgeBank,
        multiplier: float,
        alpha: float,
    ) -> None:
        self._context = context
        self._masks = masks
        self._bank = bank
        self._multiplier = multiplier
        self._alpha = alpha
        self.n_learned = 0
        self.spent_usd = 0.0

    @property
    def name(self) -> str:
        """Short name."""
        return self.kind if self._context.base < 0 else f"{self.kind}-first"

    def decide(
        self, situation: Situation, rng: np.random.Generator
    ) -> Int64[np.ndarray, " n"]:
        """Choose the arm of the highest bound less price."""
        del rng
        base = self._context.base
        first = 0 if base < 0 else 1 << base
        new = np.where(situation.asked == 0, np.int64(first), 0)
        open_items = np.flatnonzero(situation.asked == first)
        if len(open_items):
            part = part_of(situation, open_items)
            contexts = self._context.of(part.recording, part.features)
            chosen = self.choose(contexts, situation.recording.prices_usd)
            new[open_items] = self._masks[chosen] & ~first
        return new & situation.recording.everyone

    def choose(
        self,
        contexts: Float64[np.ndarray, "n d"],
        prices_usd: Float64[np.ndarray, " p"],
    ) -> Int64[np.ndarray, " n"]:
        """Numbers of the arms of the highest bound less price."""
        rate = finite_multiplier(self._multiplier, prices_usd)
        bounds = self._bank.bounds(contexts, self._alpha)
        return best_of(bounds, prices_of(self._masks, prices_usd), rate)

    def learn(
        self,
        situation: Situation,
        fused: Answers,
        quality: Float64[np.ndarray, " n"],
    ) -> None:
        """Learn from the items whose quality is known."""
        del fused
        arms = np.searchsorted(self._masks, situation.asked)
        arms = np.minimum(arms, len(self._masks) - 1)
        known = np.isfinite(quality) & (self._masks[arms] == situation.asked)
        rows = np.flatnonzero(known)
        if not len(rows):
            return
        part = part_of(situation, rows)
        contexts = self._context.of(part.recording, part.features)
        prices = part.recording.prices_of(part.asked)
        self.take_in(contexts, arms[rows], quality[rows], float(prices.sum()))

    def take_in(
        self,
        contexts: Float64[np.ndarray, "n d"],
        arms: Int64[np.ndarray, " n"],
        quality: Float64[np.ndarray, " n"],
        spent_usd: float,
    ) -> None:
        """Learn how good some arms were.

        Args:
            contexts: ``(n, d)`` of the items.
            arms: ``(n,)`` number of the arm that was asked.
            quality: ``(n,)`` of the fused answers.
            spent_usd: price of all these calls.
        """
        self._bank.update(contexts, arms, quality)
        self.n_learned += len(arms)
        self.spent_usd += spent_usd

    def greedy(self) -> LinUcb:
        """The same without exploring; it shares nothing with this one."""
        return LinUcb.from_state({**self.state(), "alpha": 0.0})

    def state(self) -> State:
        """Everything, for :meth:`from_state`."""
        return {
            "policy": self.kind,
            "context": self._context.state(),
            "masks": self._masks,
            "bank": self._bank.state(),
            "multiplier": self._multiplier,
            "alpha": self._alpha,
            "n_learned": self.n_learned,
            "spent_usd": self.spent_usd,
        }

    @classmethod
    def from_state(cls, state: State) -> LinUcb:
        """What :meth:`state` gave."""
        policy = cls(
            Context.from_state(state["context"]),
            np.asarray(state["masks"], np.int64),
            RidgeBank.from_state(state["bank"]),
            float(state["multiplier"]),
            float(state["alpha"]),
        )
        policy.n_learned = int(state["n_learned"])
        policy.spent_usd = float(state["spent_usd"])
        return policy
