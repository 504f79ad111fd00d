"""Cascade policy at one exchange rate: a walk through a few trees for every decision.

Between two rounds it looks at one row of numbers for each item.

A row is made of the features of the item, a block for each provider that answered, and
a block for the fused answer so far. The fused answer tells most: the score of a stacked
fuser is a posterior probability, and how it differs from what each provider said by
itself is their disagreement.

*Backward induction* over subsets gives what going on is worth at one exchange rate. A
situation is the subset S that answered and what it said. Stopping there is worth the
quality q(S) of the fused answer. Going on to a wider subset T costs its price, and is
worth what comes then:

    V(S) = q(S)                                   if stopping looks best,
           V(T) - m * price(T - S) - w            for the T that looks best otherwise

with m the exchange rate and w what a round of waiting is worth. How things look is the
conditional mean given what is known at S, estimated by a regression on training items;
what is carried back is what comes true. This is the least-squares Monte Carlo of
Longstaff and Schwartz (2001, Valuing American Options by Simulation, section 1), whose
path-wise values keep errors of the regression out of what is carried back.

1. The regression is a forest. Its shape does not depend on m, so another exchange rate
   only fills the leaves anew; Longstaff and Schwartz solve a least-squares problem.
2. What is predicted is the difference to stopping: most answers stay right or wrong
   whoever else is asked, and this part cancels.
3. A training item is decided by the trees that have not seen it. With its own trees the
   decision would look into the future that it is meant to predict.
4. An option has one way to go on; here there is one for each wider subset.

The subsets that a cascade may ever have asked are all of them, or the useful ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from jaxtyping import Float32, Float64, Int64

from midhaul.errors import DataError
from midhaul.federation.fusion import fuser_from_state
from midhaul.federation.fusion.base import Fuser
from midhaul.federation.policies.answer_features import describe, n_summary
from midhaul.federation.policies.base import SavedByKind
from midhaul.federation.policies.cascade.forests import Forest
from midhaul.federation.recordings.problem import members, prices_of, sizes_of
from midhaul.npz_state import SavedFields, from_state

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jaxtyping import Bool

    from midhaul.federation.policies.base import Situation
    from midhaul.federation.policies.cascade.forests import Grown
    from midhaul.federation.recordings.problem import Answers, Recording
    from midhaul.npz_state import State

_RATES = 2.0 ** np.arange(-4, 5, 2)
"""Exchange rates that a subset may be useful at: qualities for everybody's price."""


def all_subsets(n_providers: int) -> Int64[np.ndarray, " s"]:
    """Every subset, the empty one first, by rising size."""
    return by_size(np.arange(1 << n_providers, dtype=np.int64))


def useful_subsets(
    quality_of: Callable[[int], Float64[np.ndarray, " n"]],
    prices_usd: Float64[np.ndarray, " p"],
    n_most: int,
) -> Int64[np.ndarray, " s"]:
    """A library of subsets grown one by one, each reached from another by one call.

    The next one is that which lifts most what the best choice in the library is worth,
    quality less price, averaged over items and exchange rates. This is the greedy rule
    for facility location (Nemhauser, Wolsey and Fisher 1978), over the neighbours of
    what is in the library. The ``n_most`` hold the empty subset and all single
    providers in any case; they are given by rising size.
    """
    n_providers = len(prices_usd)
    total_usd = float(prices_usd.sum())
    rates = _RATES / (total_usd if total_usd > 0 else 1.0)

    def worth_of(mask: int) -> Float64[np.ndarray, "r n"]:
        price = float(prices_of(np.array([mask]), prices_usd)[0])
        return quality_of(mask)[None, :] - rates[:, None] * price

    singles = [1 << p for p in range(n_providers)]
    library = [0, *singles]
    best: Float64[np.ndarray, "r n"] = worth_of(singles[0])
    for mask in singles[1:]:
        best = np.maximum(best, worth_of(mask))
    waiting: dict[int, Float64[np.ndarray, "r n"]] = {}
    newest = singles
    while len(library) < n_most:
        for mask in newest:
            for p in range(n_providers):
                wider = mask | 1 << p
                if wider not in library and wider not in waiting:
                    waiting[wider] = worth_of(wider)
        if not waiting:
            break
        gains = {
            mask: float(np.maximum(worth - best, 0.0).mean())
            for mask, worth in waiting.items()
        }
        chosen = min(gains, key=lambda mask: (-gains[mask], mask))
        best = np.maximum(best, waiting.pop(chosen))
        library.append(chosen)
        newest = [chosen]
    return by_size(np.array(library, np.int64))


def by_size(masks: Int64[np.ndarray, " s"]) -> Int64[np.ndarray, " s"]:
    """Subsets by rising size, then by rising mask."""
    return masks[np.lexsort((masks, sizes_of(masks)))]


def continuations(
    masks: Int64[np.ndarray, " s"], number: int, *, is_one_by_one: bool
) -> Int64[np.ndarray, " a"]:
    """Numbers of the subsets of a library that one more round can lead to."""
    here = masks[number]
    is_wider = ((masks & here) == here) & (masks != here)
    if is_one_by_one:
        is_wider &= sizes_of(masks ^ here) == 1
    return np.flatnonzero(is_wider)


def nearest_known(masks: Int64[np.ndarray, " s"], mask: int) -> int:
    """Number of the largest subset in a library that lies within a mask."""
    inside = np.flatnonzero((masks & ~np.int64(mask)) == 0)
    sizes = sizes_of(masks[inside])
    return int(inside[np.argmax(sizes)])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lattice(SavedFields):
    """The subsets of a library with the ways between them.

    Attributes:
        masks: ``(s,)`` by rising size, the empty subset first.
        onward: numbers of the subsets that each can go on to.
    """

    masks: Int64[np.ndarray, " s"]
    onward: tuple[Int64[np.ndarray, " a"], ...]
    prices_usd: Float64[np.ndarray, " p"]

    def prices_from(self, number: int) -> Float64[np.ndarray, " a"]:
        """Price of each way onward."""
        new = self.masks[self.onward[number]] & ~self.masks[number]
        return prices_of(new, self.prices_usd)


def induce(
    lattice: Lattice,
    grown: Sequence[Grown],
    worth: Float64[np.ndarray, "n s"],
    is_whole: Bool[np.ndarray, "n s"],
    rate: float,
    wait: float,
) -> tuple[Float32[np.ndarray, "l a"], ...]:
    """What the leaves of each subset's forest say about going on, beyond stopping.

    ``grown`` are on items whose answers are whole, ``rate`` is quality that one USD has
    to buy, ``wait`` that one more round has to bring. Returns, for each subset, the
    mean gain ``(n_leaves, a)`` of each way onward.
    """
    value = worth.copy()
    tables: list[Float32[np.ndarray, "l a"]] = []
    for number in reversed(range(len(lattice.masks))):
        ways = lattice.onward[number]
        items = np.flatnonzero(is_whole[:, number])
        stop = worth[items, number]
        price = rate * lattice.prices_from(number) + wait
        gains = value[np.ix_(items, ways)] - price - stop[:, None]
        table = grown[number].fill(gains)
        tables.append(table)
        if not len(ways) or not len(items):
            continue
        looks = grown[number].unseen_means(table)
        best = looks.argmax(axis=1)
        rows = np.arange(len(items))
        goes_on = looks[rows, best] > 0 if number else np.ones(len(items), bool)
        value[items, number] += np.where(goes_on, gains[rows, best], 0.0)
    return tuple(reversed(tables))


_TINY = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Described:
    """Items with what is worth knowing of every provider's answer.

    Attributes:
        blocks: ``(M, n, b)`` of each answer by itself.
        bests: ``(M, n, c)`` best score of each label in each answer.
    """

    features: Float32[np.ndarray, "n d"]
    blocks: Float32[np.ndarray, "p n b"]
    bests: Float32[np.ndarray, "p n c"]

    def rows(
        self,
        mask: int,
        fused: Float32[np.ndarray, "n f"],
        items: Int64[np.ndarray, " k"],
    ) -> Float32[np.ndarray, "k e"]:
        """Rows of some items whose answers so far are those of one subset."""
        parts = [self.features[items]]
        if mask:
            best = fused[items, -self.bests.shape[2] :]
            for p in members(mask):
                parts.append(self.blocks[p, items])
                parts.append(_likeness(self.bests[p, items], best)[:, None])
            parts.append(fused[items])
        return np.concatenate(parts, axis=1, dtype=np.float32)


def describe_items(
    recording: Recording, features: Float32[np.ndarray, "n d"], fuser: Fuser
) -> Described:
    """Describe every answer by itself: as it came, and as the fuser takes it alone."""
    n, c = len(recording), len(recording.names)
    n_first = n_summary(recording)
    blocks: list[Float32[np.ndarray, "n b"]] = []
    bests: list[Float32[np.ndarray, "n c"]] = []
    for p, answers in enumerate(recording.answers):
        own = describe(answers, recording)
        if answers.is_missing.all():
            alone = np.zeros((n, len(own[0]) if n else n_first), np.float32)
        else:
            said = fuser.fuse(recording, np.full(n, 1 << p, np.int64))
            alone = describe_fused(said, recording)
        blocks.append(np.concatenate([own[:, :n_first], alone[:, :n_first]], axis=1))
        bests.append(own[:, n_first : n_first + c])
    return Described(
        features=features.astype(np.float32, copy=False),
        blocks=np.stack(blocks),
        bests=np.stack(bests),
    )


def describe_fused(fused: Answers, recording: Recording) -> Float32[np.ndarray, "n f"]:
    """Describe fused answers: the summary, then the best score of each label."""
    n_kept = n_summary(recording) + len(recording.names)
    return describe(fused, recording)[:, :n_kept]


def _likeness(
    one: Float32[np.ndarray, "k c"], other: Float32[np.ndarray, "k c"]
) -> Float32[np.ndarray, " k"]:
    """How alike two answers are by their labels' scores: 1 equal, 0 nothing shared."""
    shared = np.minimum(one, other).sum(axis=1)
    either = np.maximum(one, other).sum(axis=1)
    return ((shared + _TINY) / (either + _TINY)).astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CascadePolicy(SavedByKind):
    """The cascade at one exchange rate.

    Attributes:
        providers: names, in the order of the bits.
        tables: ``(n_leaves, a)`` gain of each way onward, for each subset.
        fuser: what fuses the answers so far, to be looked at.
        n_features: columns of the items' features.
    """

    providers: tuple[str, ...]
    lattice: Lattice
    forests: tuple[Forest, ...]
    tables: tuple[Float32[np.ndarray, "l a"], ...]
    fuser: Fuser
    n_features: int

    flat: ClassVar[tuple[str, ...]] = ("lattice",)
    kind: ClassVar[str] = "cascade"

    def decide(
        self, situation: Situation, rng: np.random.Generator
    ) -> Int64[np.ndarray, " n"]:
        """Ask whom it pays to ask, given the answers so far; nobody where none does.

        Where a provider failed, the others' answers are looked at as if it had not been
        asked, and it is not asked again. Somebody is asked about every item. DataError
        where the situation is of other providers or features.
        """
        del rng
        self._check_fits(situation)
        n = len(situation)
        new = np.zeros(n, np.int64)
        answered = answered_of(situation)
        number = self._numbers(answered)
        if (answered == 0).all():
            described, fused = None, None
        else:
            recording = situation.recording
            described = describe_items(recording, situation.features, self.fuser)
            fused = describe_fused(self.fuser.fuse(recording, answered), recording)
        for s in np.unique(number).tolist():
            items = np.flatnonzero(number == s)
            if described is None or fused is None or self.lattice.masks[s] == 0:
                rows = situation.features[items].astype(np.float32, copy=False)
            else:
                rows = described.rows(int(self.lattice.masks[s]), fused, items)
            new[items] = self._choose(s, rows, situation.asked[items])
        return new

    def _choose(
        self,
        number: int,
        rows: Float32[np.ndarray, "k e"],
        asked: Int64[np.ndarray, " k"],
    ) -> Int64[np.ndarray, " k"]:
        """The providers to ask next about items that stand at one subset."""
        here, ways = self.lattice.masks[number], self.lattice.onward[number]
        if not len(ways):
            return np.zeros(len(rows), np.int64)
        gains = self.forests[number].means(rows, self.tables[number])
        steps = (self.lattice.masks[ways] & ~here)[None, :] & ~asked[:, None]
        is_open = steps == (self.lattice.masks[ways] & ~here)[None, :]
        gains = np.where(is_open, gains, -np.inf)
        best = gains.argmax(axis=1)
        places = np.arange(len(rows))
        least = 0.0 if number else -np.inf
        return np.where(gains[places, best] > least, steps[places, best], 0)

    def _numbers(self, answered: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
        """Number of the subset that each item stands at."""
        kinds, place = np.unique(answered, return_inverse=True)
        known = [nearest_known(self.lattice.masks, mask) for mask in kinds.tolist()]
        return np.array(known, np.int64)[place]

    def _check_fits(self, situation: Situation) -> None:
        found = situation.recording.providers
        if found != self.providers or situation.features.shape[1] != self.n_features:
            message = (
                f"the cascade knows {', '.join(self.providers)} and {self.n_features} "
                f"features, found {', '.join(found)} and {situation.features.shape[1]}"
            )
            raise DataError(message, "learn it on data of the same layout")

    @classmethod
    def from_state(cls, state: State) -> Self:
        """What :meth:`state` gave."""
        fuser = fuser_from_state(state["fuser"])
        return from_state(cls, state, flat=cls.flat, given={"fuser": fuser})


def answered_of(situation: Situation) -> Int64[np.ndarray, " n"]:
    """Mask of the providers that were asked about each item and answered."""
    answered = np.zeros(len(situation), np.int64)
    for p, answers in enumerate(situation.recording.answers):
        answered |= (~answers.is_missing).astype(np.int64) << p
    return answered & situation.asked
