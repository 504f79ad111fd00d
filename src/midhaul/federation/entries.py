"""Checks of the entries of one provider's answers, on flat arrays."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.federation.vocabulary import IGNORED, UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jaxtyping import Bool, Float32, Int32, Int64

    from midhaul.federation.finding_rules import Reason
    from midhaul.federation.findings import FindingCounter
    from midhaul.federation.vocabulary import Vocabulary

_SLACK = 1e-3
_TOLERANCE_PX = 1.0
_N_EXAMPLES = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Entries:
    """Entries of one provider, with what their images allow."""

    items: Int64[np.ndarray, " m"]
    labels: Int32[np.ndarray, " m"]
    scores: Float32[np.ndarray, " m"]
    boxes: Float32[np.ndarray, "m 4"] | None
    limits: Float32[np.ndarray, "m 4"] | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ledger:
    """Where the oddities of one provider are filed."""

    tally: FindingCounter
    provider: str
    item_of: Callable[[int], str]

    def file(self, reason: Reason, items: Int64[np.ndarray, " k"]) -> None:
        """Count an oddity once for each of the items."""
        if len(items):
            shown = dict.fromkeys(items[: _N_EXAMPLES * 8].tolist())
            examples = [self.item_of(item) for item in list(shown)[:_N_EXAMPLES]]
            self.tally.add(self.provider, reason, len(items), examples)


def translate(
    entries: Entries,
    names: tuple[str, ...],
    vocabulary: Vocabulary | None,
    ledger: Ledger,
) -> tuple[Entries, Bool[np.ndarray, " m"]]:
    """Labels in the words of the vocabulary, and which of them it has."""
    if vocabulary is None or names == vocabulary.names:
        return entries, np.ones(len(entries.labels), bool)
    labels = vocabulary.table(names, ledger.provider)[entries.labels]
    keep = labels >= 0
    if keep.all():
        return replace(entries, labels=labels), keep
    ledger.file("ignored label", entries.items[labels == IGNORED])
    unknown = Counter(names[i] for i in entries.labels[labels == UNKNOWN].tolist())
    if unknown:
        new = [word for word in unknown if ledger.tally.is_new(word)]
        near = {word: vocabulary.suggestions(word) for word in new}
        ledger.tally.add_unknown(ledger.provider, unknown, near)
    return replace(entries, labels=labels), keep


def mend(
    entries: Entries, keep: Bool[np.ndarray, " m"], ledger: Ledger
) -> tuple[Entries, Bool[np.ndarray, " m"]]:
    """Mended scores and boxes, and which entries are usable."""
    scores = entries.scores
    good = (scores >= 0) & (scores <= 1)
    if not good.all():
        finite = np.isfinite(scores)
        near = finite & (scores >= -_SLACK) & (scores <= 1 + _SLACK)
        ledger.file("score is not finite", entries.items[keep & ~finite])
        ledger.file("score out of range", entries.items[keep & finite & ~near])
        ledger.file("score rounded to the range", entries.items[keep & near & ~good])
        entries = replace(entries, scores=np.clip(scores, 0, 1))
        keep = keep & near
    if entries.boxes is None:
        return entries, keep
    return _mend_boxes(entries, entries.boxes, keep, ledger)


def _mend_boxes(
    entries: Entries,
    boxes: Float32[np.ndarray, "m 4"],
    keep: Bool[np.ndarray, " m"],
    ledger: Ledger,
) -> tuple[Entries, Bool[np.ndarray, " m"]]:
    finite = np.isfinite(boxes).all(axis=1)
    good = finite & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    if not good.all():
        odd = keep & ~good
        inverted = (boxes[:, 2:] < boxes[:, :2]).any(axis=1)
        ledger.file("box is not finite", entries.items[odd & ~finite])
        ledger.file("box ends before it begins", entries.items[odd & finite & inverted])
        ledger.file("box without area", entries.items[odd & finite & ~inverted])
        keep = keep & good
    if entries.limits is None:
        return entries, keep
    limits = np.where(np.isfinite(entries.limits), entries.limits, np.inf)
    on_image = np.clip(boxes, 0, limits)
    moved = (on_image != boxes).any(axis=1) & keep
    if not moved.any():
        return entries, keep
    outside = moved & (on_image[:, 2:] <= on_image[:, :2]).any(axis=1)
    ledger.file("box outside of the image", entries.items[outside])
    far = np.flatnonzero(moved & ~outside)
    far = far[np.abs(on_image[far] - boxes[far]).max(axis=1, initial=0) > _TOLERANCE_PX]
    ledger.file("box clipped to the image", entries.items[far])
    return replace(entries, boxes=on_image), keep & ~outside


def repeated(
    entries: Entries, keep: Bool[np.ndarray, " m"], ledger: Ledger
) -> Bool[np.ndarray, " m"]:
    """Entries that say what another of the same item says with a better score."""
    keys = [entries.labels, entries.items]
    if entries.boxes is not None:
        keys = [*entries.boxes.T, *keys]
    repeated = _behind(keys, entries.scores, keep)
    ledger.file("duplicate", entries.items[repeated])
    return repeated


def weaker(
    entries: Entries, keep: Bool[np.ndarray, " m"], ledger: Ledger
) -> Bool[np.ndarray, " m"]:
    """Entries of an item that has one with a better score."""
    weaker = _behind([entries.items], entries.scores, keep)
    ledger.file("one of several labels", entries.items[weaker])
    return weaker


def _behind(
    keys: Sequence[np.ndarray],
    scores: Float32[np.ndarray, " m"],
    keep: Bool[np.ndarray, " m"],
) -> Bool[np.ndarray, " m"]:
    """Entries with the keys of another one that has a better score, or comes first."""
    behind = np.zeros(len(keep), bool)
    used = np.flatnonzero(keep)
    order = used[np.lexsort((-scores[used], *(key[used] for key in keys)))]
    same = np.ones(max(len(order) - 1, 0), bool)
    for key in keys:
        same &= key[order[1:]] == key[order[:-1]]
    behind[order[1:]] = same
    return behind
