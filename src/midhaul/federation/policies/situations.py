"""Looking at a part of what is known: some of the items, or some of the providers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Int64

    from midhaul.federation.policies.base import Situation, SubsetPolicy


def part_of(situation: Situation, items: Int64[np.ndarray, " k"]) -> Situation:
    """Some items of a situation, in that order."""
    if len(items) == len(situation):
        return situation
    return replace(
        situation,
        recording=situation.recording.take(items),
        features=situation.features[items],
        asked=situation.asked[items],
    )


def decide_among(
    policy: SubsetPolicy,
    known: tuple[str, ...],
    situation: Situation,
    rng: np.random.Generator,
) -> Int64[np.ndarray, " n"]:
    """Let a policy decide about the providers that it was learned with.

    Args:
        policy: who decides.
        known: names of its providers, in the order of its bits.
        situation: with these providers, perhaps in another order, and perhaps others.
        rng: the policy's chance.

    Raises:
        DataError: a provider that the policy knows is gone.
    """
    providers = situation.recording.providers
    if providers == known:
        return policy.decide(situation, rng)
    gone = [name for name in known if name not in providers]
    if gone:
        message = f"{gone[0]} is asked by the policy, but no longer there"
        raise DataError(message, "learn the policy anew without it")
    theirs = [providers.index(name) for name in known]
    own = list(range(len(known)))
    narrow = replace(
        situation,
        recording=situation.recording.only(known),
        asked=_moved(situation.asked, theirs, own),
    )
    return _moved(policy.decide(narrow, rng), own, theirs)


def _moved(
    masks: Int64[np.ndarray, " n"], sources: Sequence[int], targets: Sequence[int]
) -> Int64[np.ndarray, " n"]:
    """Masks with their bits in other places."""
    found = np.zeros_like(masks)
    for source, target in zip(sources, targets, strict=True):
        found |= (masks >> source & 1) << target
    return found
