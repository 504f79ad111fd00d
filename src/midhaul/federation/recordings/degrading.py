"""Making a provider worse from some item on, to see who notices."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from midhaul.errors import DataError

if TYPE_CHECKING:
    from midhaul.federation.recordings.problem import Recording

Degrading = Literal["swapped", "failing", "unsure"]
"""``swapped``: it answers what it said to another item, so nothing but its being wrong
shows; ``failing``: it does not answer; ``unsure``: its scores are halved."""


def degraded(
    recording: Recording,
    provider: str,
    from_item: int,
    rng: np.random.Generator,
    *,
    share: float = 0.5,
    how: Degrading = "swapped",
) -> Recording:
    """The same recording with one provider worse from an item on.

    A share of the items from then on is hit. DataError where there is no such provider.
    """
    if provider not in recording.providers:
        message = f"no provider {provider}; there are {', '.join(recording.providers)}"
        raise DataError(message)
    p, n = recording.providers.index(provider), len(recording)
    answers = recording.answers[p]
    is_hit = (np.arange(n) >= from_item) & (rng.random(n) < share)
    if how == "swapped":
        source = np.where(is_hit, rng.integers(0, max(1, n), n), np.arange(n))
        worse = answers.take(source)
    elif how == "failing":
        worse = answers.hidden(is_hit)
    else:
        factor = np.where(is_hit, np.float32(0.5), np.float32(1.0))
        worse = replace(answers, scores=answers.scores * factor[answers.items])
    changed = tuple(
        worse if number == p else other
        for number, other in enumerate(recording.answers)
    )
    return replace(recording, answers=changed)
