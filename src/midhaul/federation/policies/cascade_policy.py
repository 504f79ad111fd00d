"""The cascade at one exchange rate: a walk through a few trees for every decision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.errors import DataError
from midhaul.federation.fusion import fuser_from_state
from midhaul.federation.policies.cascade_induction import Lattice
from midhaul.federation.policies.cascade_library import nearest_known
from midhaul.federation.policies.cascade_rows import describe_fused, describe_items
from midhaul.federation.policies.forests import Forest

if TYPE_CHECKING:
    from jaxtyping import Float32, Int64

    from midhaul.federation.fusion.base import Fuser
    from midhaul.federation.policies.base import Situation
    from midhaul.federation.saving import State


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CascadePolicy:
    """The cascade at one exchange rate.

    Attributes:
        providers: names, in the order of the bits.
        lattice: the subsets and the ways between them.
        forests: of each subset.
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

    @property
    def name(self) -> str:
        """Short name."""
        return "cascade"

    def decide(
        self, situation: Situation, rng: np.random.Generator
    ) -> Int64[np.ndarray, " n"]:
        """Ask whom it pays to ask, given the answers so far; nobody where none does.

        Where a provider failed, the others' answers are looked at as if it had not been
        asked, and it is not asked again. Somebody is asked about every item.

        Raises:
            DataError: the situation is of other providers or features.
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

    def state(self) -> State:
        """Everything, for :meth:`from_state`."""
        fuser: Any = self.fuser
        return {
            "policy": self.name,
            "providers": self.providers,
            "masks": self.lattice.masks,
            "onward": self.lattice.onward,
            "prices_usd": self.lattice.prices_usd,
            "forests": [forest.state() for forest in self.forests],
            "tables": self.tables,
            "fuser": fuser.state(),
            "n_features": self.n_features,
        }

    @classmethod
    def from_state(cls, state: State) -> CascadePolicy:
        """What :meth:`state` gave."""
        return cls(
            providers=tuple(state["providers"]),
            lattice=Lattice(
                masks=state["masks"],
                onward=tuple(state["onward"]),
                prices_usd=state["prices_usd"],
            ),
            forests=tuple(Forest.from_state(one) for one in state["forests"]),
            tables=tuple(state["tables"]),
            fuser=fuser_from_state(state["fuser"]),
            n_features=int(state["n_features"]),
        )


def answered_of(situation: Situation) -> Int64[np.ndarray, " n"]:
    """Mask of the providers that were asked about each item and answered."""
    answered = np.zeros(len(situation), np.int64)
    for p, answers in enumerate(situation.recording.answers):
        answered |= (~answers.is_missing).astype(np.int64) << p
    return answered & situation.asked
