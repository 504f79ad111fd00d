"""What a cascade looks at between two rounds: one row of numbers for each item.

A row is made of the features of the item, a block for each provider that answered, and
a block for the fused answer so far. The fused answer tells most: the score of a stacked
fuser is a posterior probability, and how it differs from what each provider said by
itself is their disagreement.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.federation.policies.answer_features import describe, n_summary
from midhaul.federation.problem import members

if TYPE_CHECKING:
    from jaxtyping import Float32, Int64

    from midhaul.federation.fusion.base import Fuser
    from midhaul.federation.problem import Answers, Recording

_TINY = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Described:
    """Items with what is worth knowing of every provider's answer.

    Attributes:
        features: ``(n, d)`` of the items.
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
        """Rows of some items whose answers so far are those of one subset.

        Args:
            mask: the subset.
            fused: the fused answers to all items, described.
            items: numbers of the items.
        """
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
    """Describe every answer by itself: as it came, and as the fuser takes it alone.

    Args:
        recording: answers that may be missing.
        features: ``(n, d)`` of the items.
        fuser: what fuses them.
    """
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
