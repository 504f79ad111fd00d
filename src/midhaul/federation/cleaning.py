"""Bad answers: what is mended, what is left out, and that all of it is counted.

In this order: words are brought to the label set; scores must be finite and in [0, 1]
(percentages only where the caller says so, they are never guessed); boxes must be
finite, end after they begin, and lie on the image, to which they are clipped; a
repeated entry goes. This works on a whole recording, and quickly on one answer of a
live call.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from midhaul.errors import DataError
from midhaul.federation.entries import (
    Entries,
    Ledger,
    mend,
    repeated,
    translate,
    weaker,
)
from midhaul.federation.problem import Answers
from midhaul.model import Detections, Tags

if TYPE_CHECKING:
    from midhaul.federation.findings import FindingCounter
    from midhaul.federation.problem import Recording
    from midhaul.federation.vocabulary import Vocabulary

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

    Args:
        recording: as it was read.
        vocabulary: the label set to bring all words to; the recording's own when None.
        rules: what the providers' numbers mean.
        tally: where oddities are counted.

    Returns:
        The same items and providers. Where the task is ``labels``, an answer without a
        usable label is missing, and of several labels the one with the best score
        stays.
    """
    rules = rules or CleaningRules()
    names = recording.names if vocabulary is None else vocabulary.names
    answers: list[Answers] = []
    for provider, raw in zip(recording.providers, recording.answers, strict=True):
        factor = rules.factor_of(provider)
        ledger = Ledger(
            tally=tally, provider=provider, item_of=recording.items.__getitem__
        )
        answers.append(_clean_answers(raw, recording, vocabulary, ledger, factor))
    truth = recording.truth
    if truth is not None:
        ledger = Ledger(
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
    """Bring one answer of a live call into order.

    Args:
        answer: as the provider gave it, in its own words.
        vocabulary: the label set to bring its words to.
        rules: what the provider's numbers mean.
        provider: whose answer it is.
        item: id of the item, for examples.
        tally: where oddities are counted.
        size_px: width and height of the image; nothing is clipped without it.

    Returns:
        The same kind of answer in the label set of the vocabulary.
    """
    m = len(answer)
    tally.see(provider, entries=m, items=1)
    ledger = Ledger(tally=tally, provider=provider, item_of=lambda _: item)
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

    Args:
        recording: as it was read.
        mismatch: ``keep`` leaves such answers missing, ``intersection`` leaves their
            items out, ``error`` stops.
        tally: where they are counted.

    Raises:
        DataError: there are some and they are an error, or no item remains.
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
        "items",
        "item not answered by everybody",
        len(which),
        shown,
        of=len(recording),
    )
    if odd.all():
        message = f"no item of {len(recording)} is answered by everybody"
        raise DataError(message, "compare the ids of items in the files")
    return recording.take(np.flatnonzero(~odd))


def _clean_answers(
    answers: Answers,
    recording: Recording,
    vocabulary: Vocabulary | None,
    ledger: Ledger,
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
