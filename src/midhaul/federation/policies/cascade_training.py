"""Training items as they will look when they are new: fused by who has not seen them.

A fuser that was fitted to an item is too sure of its answer to that item. A cascade
that learned from such answers would stop too early. Its items are therefore fused by
fusers fitted to the other folds (Stone 1974, Cross-Validatory Choice; as in stacking,
Wolpert 1992), both for what a row says and for whether the fused answer was right.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.federation.fusion import fit_fuser
from midhaul.federation.policies.cascade_rows import (
    Described,
    describe_fused,
    describe_items,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float32, Int64

    from midhaul.federation.fusion.base import Fuser
    from midhaul.federation.policies.base import Examples
    from midhaul.federation.problem import Answers, Recording

_LEARNED = "stacked"
_FEWEST_ITEMS = 40
"""Below this, folds are too small to fit a fuser to the others."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Looks:
    """Training items in every situation that they can come to.

    Attributes:
        described: every answer by itself.
        fused: fused answers of each subset of a library, described: ``(n, f)``.
        answers: the same answers.
    """

    described: Described
    fused: tuple[Float32[np.ndarray, "n f"], ...]
    answers: tuple[Answers, ...]


def look_at(
    examples: Examples,
    masks: Int64[np.ndarray, " s"],
    n_folds: int,
    rng: np.random.Generator,
) -> Looks:
    """Fuse every subset's answers to every item, by a fuser that is new to the item.

    Args:
        examples: the training items.
        masks: ``(s,)`` the subsets.
        n_folds: folds for fusers that learn; below 2 the fuser is taken as it is.
        rng: of the folds and the fits.
    """
    n = len(examples)
    is_new = examples.fuser.name != _LEARNED or n_folds < 2 or n < _FEWEST_ITEMS  # noqa: PLR2004
    folds = [np.arange(n)]
    if not is_new:
        folds = [np.sort(x) for x in np.array_split(rng.permutation(n), n_folds)]
    parts: list[Looks] = []
    for items in folds:
        fuser = examples.fuser if is_new else _fitted_without(examples, items, rng)
        recording = examples.recording.take(items)
        parts.append(_look(recording, examples.features[items], fuser, masks))
    return parts[0] if len(parts) == 1 else _joined(parts, folds)


def _fitted_without(
    examples: Examples, items: Int64[np.ndarray, " k"], rng: np.random.Generator
) -> Fuser:
    others = np.setdiff1d(np.arange(len(examples)), items)
    fuser: Any = examples.fuser
    iou = {"iou": fuser.iou} if hasattr(fuser, "iou") else {}
    return fit_fuser(fuser.name, examples.recording.take(others), rng=rng, **iou)


def _look(
    recording: Recording,
    features: Float32[np.ndarray, "n d"],
    fuser: Fuser,
    masks: Int64[np.ndarray, " s"],
) -> Looks:
    n = len(recording)
    answers = tuple(
        fuser.fuse(recording, np.full(n, mask, np.int64)) for mask in masks.tolist()
    )
    return Looks(
        described=describe_items(recording, features, fuser),
        fused=tuple(describe_fused(one, recording) for one in answers),
        answers=answers,
    )


def _joined(parts: Sequence[Looks], folds: Sequence[Int64[np.ndarray, " k"]]) -> Looks:
    """The looks of all folds, in the order of the items."""
    back = np.argsort(np.concatenate(folds))
    described = [part.described for part in parts]
    return Looks(
        described=Described(
            features=np.concatenate([one.features for one in described])[back],
            blocks=np.concatenate([one.blocks for one in described], axis=1)[:, back],
            bests=np.concatenate([one.bests for one in described], axis=1)[:, back],
        ),
        fused=tuple(
            np.concatenate(rows)[back]
            for rows in zip(*(part.fused for part in parts), strict=True)
        ),
        answers=tuple(
            _concatenated(several).take(back)
            for several in zip(*(part.answers for part in parts), strict=True)
        ),
    )


def _concatenated(several: Sequence[Answers]) -> Answers:
    """Answers to the items of several recordings, one after another."""
    ends = np.cumsum([0] + [int(one.starts[-1]) for one in several])
    starts = [one.starts[:-1] + end for one, end in zip(several, ends, strict=False)]
    names = ("labels", "scores", "boxes", "is_missing", "is_ignored")
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(one, name) for one in several]) for name in names
    }
    return replace(several[0], starts=np.concatenate([*starts, ends[-1:]]), **joined)
