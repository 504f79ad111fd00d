"""Cleaning of bad answers: what is mended, what is left out, and that all is counted.

In this order: words are brought to the label set; scores must be finite and in [0, 1]
(percentages only where the caller says so, they are never guessed); boxes must be
finite, end after they begin, and lie on the image, to which they are clipped; a
repeated entry goes. This works on a whole recording, and quickly on one answer of a
live call.

The entries of one provider's answers are checked on flat arrays.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from midhaul.errors import DataError
from midhaul.federation.recordings.problem import Answers
from midhaul.federation.recordings.vocabulary import IGNORED, UNKNOWN
from midhaul.model import Detections, Tags

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jaxtyping import Bool, Float32, Int32, Int64

    from midhaul.federation.recordings.findings import FindingCounter, Reason
    from midhaul.federation.recordings.problem import Recording
    from midhaul.federation.recordings.vocabulary import Vocabulary

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
class OddityFile:
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
    ledger: OddityFile,
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
    entries: Entries, keep: Bool[np.ndarray, " m"], ledger: OddityFile
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
    ledger: OddityFile,
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
    entries: Entries, keep: Bool[np.ndarray, " m"], ledger: OddityFile
) -> Bool[np.ndarray, " m"]:
    """Entries that say what another of the same item says with a better score."""
    keys = [entries.labels, entries.items]
    if entries.boxes is not None:
        keys = [*entries.boxes.T, *keys]
    repeated = _behind(keys, entries.scores, keep)
    ledger.file("duplicate", entries.items[repeated])
    return repeated


def weaker(
    entries: Entries, keep: Bool[np.ndarray, " m"], ledger: OddityFile
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


TRUTH = "truth"
"""What findings about the truth are filed under."""

_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class CleaningRules:
    """What providers' numbers mean.

    Attributes:
        scores: whether scores are said to lie in [0, 1], or in [0, 100].
        percent_providers: providers whose scores are percentages, where only some are.
    """

    scores: Literal["unit", "percent"] = "unit"
    percent_providers: frozenset[str] = frozenset()

    def factor_of(self, provider: str) -> float:
        """What a provider's scores are to be multiplied with."""
        is_percent = self.scores == "percent" or provider in self.percent_providers
        return 0.01 if is_percent else 1.0


def clean_recording(
    recording: Recording,
    vocabulary: Vocabulary | None = None,
    rules: CleaningRules | None = None,
    *,
    tally: FindingCounter,
) -> Recording:
    """Bring all answers and the truth of a recording into order.

    All words are brought to the vocabulary, the recording's own when None; ``rules``
    say what the providers' numbers mean, ``tally`` counts oddities. Items and providers
    stay. Where the task is ``labels``, an answer without a usable label is missing, and
    of several labels the one with the best score stays.
    """
    rules = rules or CleaningRules()
    names = recording.names if vocabulary is None else vocabulary.names
    answers: list[Answers] = []
    for provider, raw in zip(recording.providers, recording.answers, strict=True):
        factor = rules.factor_of(provider)
        ledger = OddityFile(
            tally=tally, provider=provider, item_of=recording.items.__getitem__
        )
        answers.append(_clean_answers(raw, recording, vocabulary, ledger, factor))
    truth = recording.truth
    if truth is not None:
        ledger = OddityFile(
            tally=tally, provider=TRUTH, item_of=recording.items.__getitem__
        )
        truth = _clean_answers(truth, recording, vocabulary, ledger, 1.0)
    return replace(recording, names=names, answers=tuple(answers), truth=truth)


def clean_answer(
    answer: Detections | Tags,
    vocabulary: Vocabulary,
    rules: CleaningRules | None = None,
    *,
    provider: str,
    item: str,
    tally: FindingCounter,
    size_px: tuple[float, float] | None = None,
) -> Detections | Tags:
    """Bring one answer of a live call into order, in the label set of the vocabulary.

    Nothing is clipped without the size of the image.
    """
    m = len(answer)
    tally.see(provider, entries=m, items=1)
    ledger = OddityFile(tally=tally, provider=provider, item_of=lambda _: item)
    boxes = answer.boxes if isinstance(answer, Detections) else None
    limits = None
    if size_px is not None and boxes is not None:
        limits = np.broadcast_to(np.array([*size_px, *size_px], np.float32), (m, 4))
    factor = (rules or CleaningRules()).factor_of(provider)
    entries = Entries(
        items=np.zeros(m, np.int64),
        labels=answer.labels,
        scores=answer.scores * np.float32(factor),
        boxes=boxes,
        limits=limits,
    )
    entries, keep = translate(entries, answer.names, vocabulary, ledger)
    entries, keep = mend(entries, keep, ledger)
    keep &= ~repeated(entries, keep, ledger)
    if isinstance(answer, Detections):
        assert entries.boxes is not None  # noqa: S101 - it came in with boxes
        return Detections(
            boxes=entries.boxes[keep],
            scores=entries.scores[keep],
            labels=entries.labels[keep],
            names=vocabulary.names,
        )
    return Tags(
        scores=entries.scores[keep], labels=entries.labels[keep], names=vocabulary.names
    )


def match_items(
    recording: Recording,
    mismatch: Literal["keep", "intersection", "error"] = "keep",
    *,
    tally: FindingCounter,
) -> Recording:
    """Look for items that a provider did not answer, or that nobody judged.

    Where boxes or tags are asked for, nothing found and not answered look the same in
    most layouts: an item counts as not answered there when no provider at all found
    anything, or when the layout says so.

    By ``mismatch``, ``keep`` leaves such answers missing, ``intersection`` leaves their
    items out, and ``error`` is a DataError, as it is when no item remains. ``tally``
    counts them.
    """
    lacking = {
        name: answers.is_missing
        for name, answers in zip(recording.providers, recording.answers, strict=True)
    }
    silent = np.logical_and.reduce([one.counts == 0 for one in recording.answers])
    lacking["everybody"] = silent & ~np.logical_or.reduce(list(lacking.values()))
    if recording.truth is not None:
        lacking[TRUTH] = recording.truth.is_missing
    odd = np.logical_or.reduce(list(lacking.values()))
    for name, where in lacking.items():
        which = np.flatnonzero(where).tolist()
        shown = [recording.items[i] for i in which[:_SHOWN]]
        if which and mismatch == "error":
            message = f"{name} lacks {len(which)} of {len(recording)} items: "
            message += ", ".join(shown)
            raise DataError(message, "keep them missing, or take the intersection")
        if mismatch == "keep":
            tally.add(
                name, "item without an answer", len(which), shown, of=len(recording)
            )
    if mismatch == "keep" or not odd.any():
        return recording
    which = np.flatnonzero(odd).tolist()
    shown = [recording.items[i] for i in which[:_SHOWN]]
    tally.add(
        "items", "item not answered by everybody", len(which), shown, of=len(recording)
    )
    if odd.all():
        message = f"no item of {len(recording)} is answered by everybody"
        raise DataError(message, "compare the ids of items in the files")
    return recording.take(np.flatnonzero(~odd))


def _clean_answers(
    answers: Answers,
    recording: Recording,
    vocabulary: Vocabulary | None,
    ledger: OddityFile,
    factor: float,
) -> Answers:
    items = answers.items
    ledger.tally.see(ledger.provider, entries=len(items), items=len(answers))
    sizes = recording.sizes_px
    is_boxes = recording.task == "boxes"
    scaled = answers.scores if factor == 1.0 else answers.scores * np.float32(factor)
    entries = Entries(
        items=items,
        labels=answers.labels,
        scores=scaled,
        boxes=answers.boxes if is_boxes else None,
        limits=np.tile(sizes, 2)[items] if is_boxes and sizes is not None else None,
    )
    entries, keep = translate(entries, recording.names, vocabulary, ledger)
    entries, keep = mend(entries, keep, ledger)
    if not (is_boxes and ledger.provider == TRUTH):  # people may mark a thing twice
        keep &= ~repeated(entries, keep, ledger)
    missing = answers.is_missing
    if recording.task == "labels":
        keep &= ~weaker(entries, keep, ledger)
        is_empty = np.bincount(items[keep], minlength=len(answers)) == 0
        ledger.file("no label", np.flatnonzero(is_empty & ~missing))
        missing = missing | is_empty
    as_it_was = entries.boxes is None or entries.boxes is answers.boxes
    if keep.all() and as_it_was and entries.scores is answers.scores:
        return replace(answers, labels=entries.labels, is_missing=missing)
    return Answers.of_rows(
        items[keep],
        len(answers),
        entries.labels[keep],
        entries.scores[keep],
        answers.boxes[keep] if entries.boxes is None else entries.boxes[keep],
        is_missing=missing,
        is_ignored=answers.is_ignored[keep],
    )
