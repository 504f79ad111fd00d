"""Learning without labels: the fused answer of all providers is what is right.

Armol's mode without ground truth (Xie et al., INFOCOM 2022) rewards a subset by how
well its fused answer agrees with that of everybody. The calls behind such a reference
are no gift, though training on recorded answers makes them look like one.

1. Every call of a reference is charged to a bill, failed ones included.
2. A reference may be bought for a share of the items only (periodic audits).
3. Boxes and tags below a score are no reference. Theirs keeps every fused box, which is
   harmless for services that return sure boxes only and absurd for detectors that
   return hundreds of weak ones.
4. A reference is kin of what it judges: a subset with most of the weight agrees with
   the ensemble even where both are wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.federation.recordings.problem import Answers

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

    from midhaul.federation.fusion.base import Fuser
    from midhaul.federation.recordings.problem import Recording

SCORE_OF_BOXES = 0.3
"""Score from which a fused box is taken for real, where nothing else is said."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReferenceBill:
    """What references cost."""

    providers: tuple[str, ...]
    n_calls: Int64[np.ndarray, " p"]
    usd: Float64[np.ndarray, " p"]

    def __add__(self, other: ReferenceBill) -> ReferenceBill:
        """Both bills together; providers that only the other knows come last."""
        names = tuple(dict.fromkeys([*self.providers, *other.providers]))
        n_calls, usd = np.zeros(len(names), np.int64), np.zeros(len(names))
        for bill in (self, other):
            places = [names.index(name) for name in bill.providers]
            n_calls[places] += bill.n_calls
            usd[places] += bill.usd
        return ReferenceBill(providers=names, n_calls=n_calls, usd=usd)

    @property
    def total_usd(self) -> float:
        """Price of all calls."""
        return float(self.usd.sum())

    @classmethod
    def of(cls, recording: Recording, asked: Int64[np.ndarray, " n"]) -> ReferenceBill:
        """The bill for asking these subsets about these items."""
        n_calls = np.array(
            [np.count_nonzero(asked >> p & 1) for p in range(recording.n_providers)],
            np.int64,
        )
        return cls(
            providers=recording.providers,
            n_calls=n_calls,
            usd=n_calls * recording.prices_usd,
        )


def with_references(
    recording: Recording, fuser: Fuser, *, min_score: float | None = None
) -> tuple[Recording, ReferenceBill]:
    """Take the fused answer of all providers for the truth; also say what that cost.

    The own truth is not looked at, and a fuser that learned from it would smuggle it
    in. Fused boxes and tags below ``min_score`` (``SCORE_OF_BOXES``, and 0 for tags)
    are left out. The truth is missing where nobody answered.
    """
    everyone = np.full(len(recording), recording.everyone, np.int64)
    fused = fuser.fuse(replace(recording, truth=None), everyone)
    if min_score is None:
        min_score = SCORE_OF_BOXES if recording.task == "boxes" else 0.0
    if recording.task == "labels":
        min_score = 0.0
    truth = as_truth(fused, min_score)
    return replace(recording, truth=truth), ReferenceBill.of(recording, everyone)


def audited(
    recording: Recording,
    fuser: Fuser,
    share: float,
    rng: np.random.Generator,
    *,
    min_score: float | None = None,
) -> tuple[Recording, Int64[np.ndarray, " k"], ReferenceBill]:
    """Buy references for a random share of the items only.

    Returns these items, their numbers in the whole recording, and what they cost.
    """
    chosen = np.flatnonzero(rng.random(len(recording)) < share)
    part, bill = with_references(recording.take(chosen), fuser, min_score=min_score)
    return part, chosen, bill


def as_truth(fused: Answers, min_score: float = 0.0) -> Answers:
    """Fused answers as a truth: sure entries only, all of score 1."""
    keep = np.flatnonzero(fused.scores >= min_score)
    return Answers.of_rows(
        fused.items[keep],
        len(fused),
        fused.labels[keep],
        np.ones(len(keep), np.float32),
        fused.boxes[keep],
        is_missing=fused.is_missing,
    )
