"""LinUCB over subsets, a bandit: try what may be best, learn from what was tried.

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

*Ridge regressions* learn item by item, and know what they do not know.

The *context* is what a bandit sees of an item: its features, perhaps a first provider's
answer.

It is *learned* from recorded answers, by its own decisions.

What it did not ask is hidden from it: of each training item it is told the quality of
the fused answer of the subset that it chose, and is charged for that. So it shows what
a bandit would know after so many items, not what could be known.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Float64

from midhaul.federation.policies.answer_features import describe
from midhaul.federation.policies.base import (
    best_of,
    candidate_masks,
    finite_multiplier,
    part_of,
)
from midhaul.federation.recordings.problem import members, prices_of
from midhaul.npz_state import SavedFields

if TYPE_CHECKING:
    from jaxtyping import Float32, Int64

    from midhaul.federation.policies.base import Examples, Situation
    from midhaul.federation.recordings.problem import Answers, Recording
    from midhaul.npz_state import State

_SHARED, _DISJOINT = "shared", "disjoint"


class RidgeBank:
    """Predicts a number for each of k arms, by a regression for each or one for all.

    Args:
        weights: ``(k, d, f)`` from an item's numbers to the features of an arm, of one
            regression for all; None where each arm has its own.
        gram: ``(r, f, f)`` sums of outer products, with the ridge.
        moment: ``(r, f)`` sums of features times what was learned.
        prior: ``(r, f)`` moment before anything was learned: what is not known is
            expected to be 1.
        discount: by which all sums shrink with each item.
    """

    def __init__(
        self,
        weights: Float64[np.ndarray, "k d f"] | None,
        gram: Float64[np.ndarray, "r f f"],
        moment: Float64[np.ndarray, "r f"],
        prior: Float64[np.ndarray, "r f"],
        discount: float,
    ) -> None:
        self._weights = weights
        self._gram = gram
        self._moment = moment
        self._prior = prior
        self._discount = discount
        self._inverse = np.linalg.inv(gram)

    @classmethod
    def disjoint(cls, n_arms: int, d: int, discount: float = 1.0) -> RidgeBank:
        """One regression on d numbers for each arm; the first is a constant."""
        gram = np.tile(np.eye(d), (n_arms, 1, 1))
        prior = np.zeros((n_arms, d))
        prior[:, 0] = 1.0
        return cls(None, gram, prior.copy(), prior, discount)

    @classmethod
    def shared(
        cls,
        masks: Int64[np.ndarray, " k"],
        n_providers: int,
        d: int,
        discount: float = 1.0,
    ) -> RidgeBank:
        """One regression: d numbers for each member of an arm, 1 for each pair of them.

        The first of the d numbers is a constant; the arms have one in common.
        """
        n_pairs = n_providers * (n_providers - 1) // 2
        width = n_providers * d + n_pairs + 1
        weights = np.zeros((len(masks), d, width))
        pairs = itertools.combinations(range(n_providers), 2)
        place = {pair: n_providers * d + k for k, pair in enumerate(pairs)}
        weights[:, 0, -1] = 1.0
        for arm, mask in enumerate(masks.tolist()):
            chosen = members(mask)
            for p in chosen:
                weights[arm, :, p * d : (p + 1) * d] = np.eye(d)
            for pair in itertools.combinations(chosen, 2):
                weights[arm, 0, place[pair]] = 1.0
        prior = np.zeros((1, width))
        prior[0, -1] = 1.0
        return cls(weights, np.eye(width)[None], prior.copy(), prior, discount)

    def bounds(
        self, contexts: Float64[np.ndarray, "n d"], alpha: float
    ) -> Float64[np.ndarray, "n k"]:
        """Prediction and alpha times its width, for each item and arm."""
        theta = np.einsum("rfg,rg->rf", self._inverse, self._moment)
        if self._weights is None:
            means = contexts @ theta.T
            if alpha == 0:
                return means
            squares = np.stack(
                [((contexts @ inverse) * contexts).sum(1) for inverse in self._inverse],
                axis=1,
            )
        else:
            means = contexts @ (self._weights @ theta[0]).T
            if alpha == 0:
                return means
            squares = np.stack(
                [
                    ((features @ self._inverse[0]) * features).sum(1)
                    for features in (contexts @ weight for weight in self._weights)
                ],
                axis=1,
            )
        return means + alpha * np.sqrt(np.maximum(squares, 0.0))

    def update(
        self,
        contexts: Float64[np.ndarray, "n d"],
        arms: Int64[np.ndarray, " n"],
        values: Float64[np.ndarray, " n"],
    ) -> None:
        """Learn values of some arms."""
        changed = np.unique(arms) if self._weights is None else np.zeros(1, np.int64)
        if self._discount < 1:
            kept = self._discount ** len(arms)
            self._gram *= kept
            self._gram += (1 - kept) * np.eye(self._gram.shape[1])
            self._moment = kept * self._moment + (1 - kept) * self._prior
            changed = np.arange(len(self._gram))
        for arm in np.unique(arms).tolist():
            rows = arms == arm
            features, place = contexts[rows], arm
            if self._weights is not None:
                features, place = features @ self._weights[arm], 0
            self._gram[place] += features.T @ features
            self._moment[place] += features.T @ values[rows]
        self._inverse[changed] = np.linalg.inv(self._gram[changed])

    def state(self) -> State:
        """Everything, for :meth:`from_state`."""
        return {
            "kind": _DISJOINT if self._weights is None else _SHARED,
            "weights": np.zeros(0) if self._weights is None else self._weights,
            "gram": self._gram.copy(),
            "moment": self._moment.copy(),
            "prior": self._prior,
            "discount": self._discount,
        }

    @classmethod
    def from_state(cls, state: State) -> RidgeBank:
        """What :meth:`state` gave."""
        weights = np.asarray(state["weights"], np.float64)
        return cls(
            weights if state["kind"] == _SHARED else None,
            np.array(state["gram"], np.float64),
            np.array(state["moment"], np.float64),
            np.asarray(state["prior"], np.float64),
            float(state["discount"]),
        )


_WIDEST = 8.0
"""Deviations from the mean beyond which a number says no more."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Context(SavedFields):
    """How items become numbers of mean 0 and deviation 1, with a constant first.

    Attributes:
        base: provider whose answer is described as well; -1 for nobody.
        center: ``(d,)`` mean on the training items.
        scale: ``(d,)`` deviation; 1 where a number never changes.
    """

    base: int
    center: Float64[np.ndarray, " d"]
    scale: Float64[np.ndarray, " d"]

    def of(
        self, recording: Recording, features: Float32[np.ndarray, "n f"]
    ) -> Float64[np.ndarray, "n d1"]:
        """``(n, 1 + d)`` of the items; of the answers only the base's is looked at."""
        raw = _raw(recording, features, self.base)
        scaled = ((raw - self.center) / self.scale).clip(-_WIDEST, _WIDEST)
        return np.concatenate([np.ones((len(raw), 1)), scaled], axis=1)


def context_of(
    recording: Recording, features: Float32[np.ndarray, "n f"], base: int
) -> Context:
    """Learn means and deviations, also of what a base (not -1) answers."""
    raw = _raw(recording, features, base)
    if not len(raw):
        raw = np.zeros((1, raw.shape[1]))
    scale = raw.std(axis=0)
    return Context(
        base=base, center=raw.mean(axis=0), scale=np.where(scale > 0, scale, 1.0)
    )


def _raw(
    recording: Recording, features: Float32[np.ndarray, "n f"], base: int
) -> Float64[np.ndarray, "n d"]:
    known = features.astype(np.float64)
    if base < 0:
        return known
    answer = describe(recording.answers[base], recording).astype(np.float64)
    return np.concatenate([known, answer], axis=1)


class LinUcb:
    """A bandit that decides and learns; an ``OnlinePolicy``.

    The ``bank`` has the regressions of the arms, ``masks``; ``alpha`` is the width of
    the bonus, 0 to decide without exploring.
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
        self, situation: Situation, fused: Answers, quality: Float64[np.ndarray, " n"]
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
        """Learn how good some arms were."""
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


_MAX_ARMS = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class LinUcbSettings:
    """How it explores and learns.

    Attributes:
        alpha: width of the bonus for what is uncertain, in standard deviations.
        discount: by how much an item less counts with each new one.
        is_shared: one regression for all subsets instead of one each.
        base: name of the provider that is asked first about every item; nobody when
            empty, the cheapest one for ``cheapest``.
        batch: items that are decided before the next are learned from.
        n_passes: passes over the training items.
    """

    alpha: float = 0.5
    discount: float = 1.0
    is_shared: bool = False
    base: str = ""
    batch: int = 32
    n_passes: int = 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinUcbFamily:
    """A bandit for every exchange rate, each learned by its own decisions.

    Attributes:
        contexts: ``(n, d)`` of each.
        masks: ``(k,)`` the arms.
        qualities: ``(n, k)`` what each arm would give.
        order: ``(t,)`` numbers of the items in the order of learning.
    """

    settings: LinUcbSettings
    recording: Recording
    contexts: Float64[np.ndarray, "n d"]
    context: Context
    masks: Int64[np.ndarray, " k"]
    qualities: Float64[np.ndarray, "n k"]
    order: Int64[np.ndarray, " t"]

    @property
    def name(self) -> str:
        """Short name."""
        return LinUcb.kind if self.context.base < 0 else f"{LinUcb.kind}-first"

    def at(self, multiplier: float) -> LinUcb:
        """Learn at this multiplier, then decide without exploring."""
        return self.learned(multiplier).greedy()

    def learned(self, multiplier: float) -> LinUcb:
        """The bandit after all training items, still exploring."""
        policy = self.fresh(multiplier)
        prices = self.recording.prices_usd
        for start in range(0, len(self.order), self.settings.batch):
            rows = self.order[start : start + self.settings.batch]
            contexts = self.contexts[rows]
            arms = policy.choose(contexts, prices)
            spent = float(prices_of(self.masks[arms], prices).sum())
            policy.take_in(contexts, arms, self.qualities[rows, arms], spent)
        return policy

    def fresh(self, multiplier: float) -> LinUcb:
        """A bandit that has learned nothing."""
        settings, d = self.settings, self.contexts.shape[1]
        n_providers = self.recording.n_providers
        bank = (
            RidgeBank.shared(self.masks, n_providers, d, settings.discount)
            if settings.is_shared
            else RidgeBank.disjoint(len(self.masks), d, settings.discount)
        )
        return LinUcb(self.context, self.masks, bank, multiplier, settings.alpha)


def fit_linucb(
    examples: Examples, settings: LinUcbSettings | None, rng: np.random.Generator
) -> LinUcbFamily:
    """Prepare learning; each policy of the family learns when it is asked for.

    Only the quality of what was asked is learned from; ``rng`` draws the order of
    items. DataError where there is no provider of the name of the base.
    """
    from midhaul.federation.quality import subset_qualities  # noqa: PLC0415

    settings = LinUcbSettings() if settings is None else settings
    recording = examples.recording
    base = -1
    if settings.base == "cheapest":
        base = int(recording.prices_usd.argmin())
    elif settings.base:
        recording.only([settings.base])
        base = recording.providers.index(settings.base)
    masks = candidate_masks(recording.n_providers, _MAX_ARMS)
    if base >= 0:
        masks = np.unique(masks | 1 << base)
    context = context_of(recording, examples.features, base)
    n = len(recording)
    orders = [rng.permutation(n) for _ in range(settings.n_passes)]
    return LinUcbFamily(
        settings=settings,
        recording=recording,
        contexts=context.of(recording, examples.features),
        context=context,
        masks=masks,
        qualities=subset_qualities(recording, examples.fuser, masks),
        order=np.concatenate(orders) if orders else np.zeros(0, np.int64),
    )
