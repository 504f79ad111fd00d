"""The upper bound: for every item the subset that the truth says is best.

Armol's "Upper Bound" (Xie et al., INFOCOM 2022): per image the highest reward, which is
the quality of the fused answer to that image less a price. It knows the truth of the
items that it decides about, so it is no policy that anybody can run: its decisions are
read from a table by item id, made beforehand from all answers.

1. Their price is a number of calls times 0.1; here it is USD times the multiplier.
2. Of equally good subsets the cheapest is taken; they take the first listed.
3. The mean over items is bounded, not the pooled average precision, which other
   choices may raise further.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from midhaul.federation.policies.worth import (
    best_of,
    candidate_masks,
    finite_multiplier,
)
from midhaul.federation.problem import prices_of

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

    from midhaul.federation.policies.base import Examples, Situation
    from midhaul.federation.saving import State


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TablePolicy:
    """Asks what a table says about each item, all at once.

    Attributes:
        items: ids.
        masks: ``(n,)`` whom to ask about each.
        otherwise: mask for an item that is not in the table.
        name: short name.
    """

    items: tuple[str, ...]
    masks: Int64[np.ndarray, " n"]
    otherwise: int = 0
    name: str = "table"
    _places: dict[str, int] = field(init=False, repr=False)

    kind: ClassVar[str] = "table"

    def __post_init__(self) -> None:
        """Remember where each item stands."""
        places = dict(zip(self.items, self.masks.tolist(), strict=True))
        object.__setattr__(self, "_places", places)

    def decide(
        self, situation: Situation, rng: np.random.Generator
    ) -> Int64[np.ndarray, " n"]:
        """Look every item up."""
        del rng
        masks = [
            self._places.get(item, self.otherwise) for item in situation.recording.items
        ]
        chosen = np.array(masks, np.int64) & situation.recording.everyone
        return chosen & ~situation.asked

    def state(self) -> State:
        """Everything, for :meth:`from_state`."""
        return {
            "policy": self.kind,
            "items": self.items,
            "masks": self.masks,
            "otherwise": self.otherwise,
            "name": self.name,
        }

    @classmethod
    def from_state(cls, state: State) -> TablePolicy:
        """What :meth:`state` gave."""
        return cls(
            items=tuple(state["items"]),
            masks=np.asarray(state["masks"], np.int64),
            otherwise=int(state["otherwise"]),
            name=str(state["name"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OracleFamily:
    """What the truth says is best, for every exchange rate.

    Attributes:
        items: ids of the items it knows.
        masks: ``(s,)`` the subsets that were weighed.
        qualities: ``(n, s)`` of the fused answer of each subset to each item.
        prices_usd: ``(M,)`` of a call.
    """

    items: tuple[str, ...]
    masks: Int64[np.ndarray, " s"]
    qualities: Float64[np.ndarray, "n s"]
    prices_usd: Float64[np.ndarray, " p"]

    @property
    def name(self) -> str:
        """Short name."""
        return "oracle"

    def at(self, multiplier: float) -> TablePolicy:
        """Per item, the subset of the highest quality less multiplier times price."""
        rate = finite_multiplier(multiplier, self.prices_usd)
        costs = prices_of(self.masks, self.prices_usd)
        chosen = best_of(self.qualities, costs, rate)
        return TablePolicy(items=self.items, masks=self.masks[chosen], name=self.name)


def fit_oracle(examples: Examples) -> OracleFamily:
    """Fuse every subset's answers to every item, and hold them against the truth.

    Args:
        examples: the very items that are to be bounded, with their truth.
    """
    from midhaul.federation.quality import subset_qualities  # noqa: PLC0415

    masks = candidate_masks(examples.recording.n_providers)
    return OracleFamily(
        items=examples.recording.items,
        masks=masks,
        qualities=subset_qualities(examples.recording, examples.fuser, masks),
        prices_usd=examples.recording.prices_usd,
    )
