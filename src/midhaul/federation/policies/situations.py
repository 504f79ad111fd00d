"""Looking at a part of what is known: some of the items, or some of the providers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Int64

    from midhaul.federation.policies.base import Situation, SubsetPolicy


def part_of(situation: Situation, items: Int64[np.ndarray, " k"]) -> Situation:
    """Some items of a situation, in that order."""
    n = len(situation)
    if len(items) == n and np.array_equal(items, np.arange(n)):
        return situation
    return replace(
        situation,
        recording=situation.recording.take(items),
        features=situation.features[items],
        asked=situation.asked[items],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Among:
    """A policy, asked about more providers than it knows, or in another order.

    Attributes:
        policy: who decides.
        known: names of its providers, in the order of its bits.
    """

    policy: SubsetPolicy
    known: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the policy."""
        return self.policy.name

    def decide(
        self, situation: Situation, rng: np.random.Generator
    ) -> Int64[np.ndarray, " n"]:
        """Let it decide about the providers that it knows.

        Raises:
            DataError: one of them is gone.
        """
        providers = situation.recording.providers
        if providers == self.known:
            return self.policy.decide(situation, rng)
        gone = [name for name in self.known if name not in providers]
        if gone:
            message = f"{gone[0]} is asked by the policy, but no longer there"
            raise DataError(message, "learn the policy anew without it")
        theirs = [providers.index(name) for name in self.known]
        own = list(range(len(self.known)))
        narrow = replace(
            situation,
            recording=situation.recording.only(self.known),
            asked=_moved(situation.asked, theirs, own),
        )
        return _moved(self.policy.decide(narrow, rng), own, theirs)


def _moved(
    masks: Int64[np.ndarray, " n"], sources: Sequence[int], targets: Sequence[int]
) -> Int64[np.ndarray, " n"]:
    """Masks with their bits in other places."""
    found = np.zeros_like(masks)
    for source, target in zip(sources, targets, strict=True):
        found |= (masks >> source & 1) << target
    return found
