"""Opening recordings: one front to all layouts, with what is done to them first.

*Alignment*: what answers say tells whether they are about the items and labels that
they name.

Where one list counts from 0 and another from 1, or two lists of labels have another
order, every id is found and nearly every answer is wrong. So answers are held against
the truth in three ways: of their own item, of the items beside it, and label by label.
What fits elsewhere much better than at its own place is out of place.

1. An answer's vote is its best box or label of an item. It fits an item where it lies
   on a true box (intersection over union from 0.5 on), or is a true label.
2. The label that is said for a true thing is that of the best box that lies on it; of
   items with one true label, that of the best label. The exchange of labels under which
   most of them agree is an assignment problem.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from midhaul.errors import DataError
from midhaul.federation.recordings.cleaning import (
    CleaningRules,
    clean_recording,
    match_items,
)
from midhaul.federation.recordings.findings import FindingCounter
from midhaul.federation.recordings.layouts import LAYOUTS, Layout
from midhaul.federation.recordings.parts import match_labels
from midhaul.federation.recordings.vocabulary import Vocabulary, read_vocabulary
from midhaul.vision.judge.matching import iou

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from jaxtyping import Float64, Int64

    from midhaul.federation.recordings.findings import Reason
    from midhaul.federation.recordings.problem import Answers, Recording, Task
    from midhaul.federation.recordings.vocabulary import ShippedTable

_N_ITEMS = 300
"""Items that are looked at, spread over all."""

_N_LEAST = 12
"""Votes that say anything at all."""

_LEAST_FIT, _BETTER = 0.3, 2.0
"""Share that must fit elsewhere, and how many times that of the own place."""

_SIGMAS = 4.0
_IOU = 0.5
_SHOWN = 3


def check_alignment(recording: Recording, *, tally: FindingCounter) -> None:
    """Count answers that fit other items, or other labels, than those they name.

    The recording is clean, in one label set; nothing is counted where too few tell.
    """
    truth = recording.truth
    if truth is None or len(recording) < _N_LEAST:
        return
    order = _in_order(recording.items)
    for provider, answers in zip(recording.providers, recording.answers, strict=True):
        spread = np.linspace(0, len(order) - 1, min(_N_ITEMS, len(order)))
        looked = np.unique(spread.round().astype(np.int64))
        pair = _Pair(answers=answers, truth=truth, is_boxes=recording.task == "boxes")
        if not _check_items(recording, pair, provider, order, looked, tally):
            _check_labels(recording, pair, provider, order[looked], tally)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Pair:
    """A provider's answers beside the truth."""

    answers: Answers
    truth: Answers
    is_boxes: bool

    def fits(self, item: int, other: int) -> bool | None:
        """Whether the vote about an item fits a true one; None without either."""
        said, true = self.answers.of(item), self.truth.of(other)
        if said.stop == said.start or true.stop == true.start:
            return None
        best = said.start + int(np.argmax(self.answers.scores[said]))
        if not self.is_boxes:
            return bool((self.truth.labels[true] == self.answers.labels[best]).any())
        overlaps = self._overlaps(slice(best, best + 1), true)
        return bool(overlaps.max() >= _IOU)

    def votes(self, item: int) -> list[tuple[int, int]]:
        """What is said of true things of an item, and what they are."""
        said, true = self.answers.of(item), self.truth.of(item)
        scores, labels = self.answers.scores[said], self.answers.labels[said]
        trues = self.truth.labels[true]
        if not len(labels) or not len(trues):
            return []
        if not self.is_boxes:
            best = int(labels[np.argmax(scores)])
            return [(best, int(trues[0]))] if len(trues) == 1 else []
        lies_on = self._overlaps(said, true).T >= _IOU
        lies_on &= ~self.truth.is_ignored[true][:, None]
        best_of = np.where(lies_on, scores, -1.0).argmax(axis=1)
        found = np.flatnonzero(lies_on.any(axis=1)).tolist()
        return [(int(labels[best_of[i]]), int(trues[i])) for i in found]

    def _overlaps(self, said: slice, true: slice) -> Float64[np.ndarray, "n m"]:
        return iou(
            self.answers.boxes[said].astype(np.float64),
            self.truth.boxes[true].astype(np.float64),
            self.truth.is_ignored[true],
        )


def _check_items(
    recording: Recording,
    pair: _Pair,
    provider: str,
    order: Int64[np.ndarray, " n"],
    looked: Int64[np.ndarray, " k"],
    tally: FindingCounter,
) -> bool:
    """Whether answers fit the items beside theirs; they are counted then."""
    fits = {shift: _fits(pair, order, looked, shift) for shift in (0, -1, 1)}
    own = _share(fits[0].values())
    for shift in (-1, 1):
        other, n = _share(fits[shift].values()), min(len(fits[0]), len(fits[shift]))
        if _is_better(other, own, n):
            which = [place for place, does_fit in fits[shift].items() if does_fit]
            shown = [
                f"{recording.items[order[place]]} is "
                f"{recording.items[order[place + shift]]}"
                for place in which[:_SHOWN]
            ]
            tally.add(
                provider, "items shifted by one", len(which), shown, of=len(fits[shift])
            )
            return True
    return False


def _fits(
    pair: _Pair,
    order: Int64[np.ndarray, " n"],
    looked: Int64[np.ndarray, " k"],
    shift: int,
) -> dict[int, bool]:
    """By place in the order, whether an answer fits the item beside its own."""
    found: dict[int, bool] = {}
    for place in looked.tolist():
        if 0 <= place + shift < len(order):
            fits = pair.fits(int(order[place]), int(order[place + shift]))
            if fits is not None:
                found[place] = fits
    return found


def _check_labels(
    recording: Recording,
    pair: _Pair,
    provider: str,
    items: Int64[np.ndarray, " k"],
    tally: FindingCounter,
) -> None:
    """Count what would be right if labels were exchanged, where that is most."""
    votes = [vote for item in items.tolist() for vote in pair.votes(item)]
    counts = Counter(votes)
    right = sum(n for (said, true), n in counts.items() if said == true)
    swaps = {pair: n for pair, n in _assigned(counts).items() if pair[0] != pair[1]}
    n_swapped, n = sum(swaps.values()), len(votes)
    if not n or not _is_better(n_swapped / n, right / n, n):
        return
    names, most = recording.names, Counter(swaps).most_common(_SHOWN)
    steps = Counter[int]()
    for (said, true), count in swaps.items():
        steps[true - said] += count
    step, n_step = steps.most_common(1)[0]
    is_shift = abs(step) == 1 and n_step >= n_swapped * (1 - _LEAST_FIT)
    tally.add(
        provider,
        "labels shifted by one" if is_shift else "labels in another order",
        n_swapped,
        [f"{names[said]!r} for {names[true]!r}" for (said, true), _ in most],
        of=n,
    )


def _assigned(counts: Counter[tuple[int, int]]) -> dict[tuple[int, int], int]:
    """What is said for what, each label for one, so that most votes agree."""
    from scipy.optimize import linear_sum_assignment  # noqa: PLC0415  optional

    labels = sorted({label for pair in counts for label in pair})
    place = {label: i for i, label in enumerate(labels)}
    table = np.zeros((len(labels), len(labels)))
    for (said, true), n in counts.items():
        table[place[said], place[true]] = n
    rows, columns = linear_sum_assignment(table, maximize=True)
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    found = {(labels[i], labels[j]): counts[labels[i], labels[j]] for i, j in pairs}
    return {pair: n for pair, n in found.items() if n}


def _is_better(other: float, own: float, n: int) -> bool:
    """Whether a share is much better than another, and not by chance."""
    spread = math.sqrt(max(own * (1 - own), other * (1 - other)) / max(n, 1))
    return (
        n >= _N_LEAST
        and other >= max(_LEAST_FIT, _BETTER * own)
        and other - own >= _SIGMAS * spread
    )


def _share(fits: Iterable[bool]) -> float:
    values = list(fits)
    return sum(values) / len(values) if values else 0.0


def _in_order(items: tuple[str, ...]) -> Int64[np.ndarray, " n"]:
    """The items by number where all are numbers, else as they come."""
    if all(item.isascii() and item.isdecimal() for item in items):
        bare = [item.lstrip("0") for item in items]
        numbered = sorted(range(len(items)), key=lambda i: (len(bare[i]), bare[i]))
        return np.array(numbered, np.int64)
    return np.arange(len(items))


_MOST_SILENT = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingSource:
    """Where recorded answers are, and how they are to be taken.

    Attributes:
        kind: the layout.
        file: the file (parquet) or folder (all others) of the answers.
        task: what an answer is; every layout but Parquet knows its own.
        truth: the file of the truth, Parquet or COCO's annotations, where the answers
            do not have it.
        split: which part (armol).
        labels: whether a box is what its class says or the provider's word (armol).
        vocabulary: the label set to bring all words to: a table that comes with
            midhaul, a TOML file, or one that is ready; the words as they are when None.
        names: the label set in another spelling or order, or some of its names, see
            ``Vocabulary.renamed``; without a vocabulary, names that words must be
            spelled like.
        rules: what the providers' numbers mean.
        mismatch: what becomes of items that not everybody answered.
        providers: only these, in this order; all when empty.
        prices_usd: price of a call by provider, before the recorded ones.
        price_usd: price of a call of everybody who has no other.
        n_items: only so many items, drawn by hash; all when None.
        seed: which items are drawn.
    """

    kind: Layout
    file: Path
    task: Task = "boxes"
    truth: Path | None = None
    split: str = "test"
    labels: Literal["class", "word"] = "class"
    vocabulary: ShippedTable | Path | Vocabulary | None = None
    names: tuple[str, ...] = ()
    rules: CleaningRules = field(default_factory=CleaningRules)
    mismatch: Literal["keep", "intersection", "error"] = "keep"
    providers: tuple[str, ...] = ()
    prices_usd: Mapping[str, float] = field(default_factory=dict[str, float])
    price_usd: float | None = None
    n_items: int | None = None
    seed: int = 0


def open_recording(
    source: RecordingSource, tally: FindingCounter | None = None
) -> Recording:
    """Read recorded answers, bring them into order, and take the part that is wanted.

    Args:
        source: where and how.
        tally: where everything odd is counted; ``tally.report()`` tells it.

    Returns:
        A clean recording: words in one label set, scores in [0, 1], boxes on their
        images, the items and providers that were asked for.

    Raises:
        DataError: something is missing, cannot be read, or does not fit.
    """
    tally = tally if tally is not None else FindingCounter()
    n_outside = _n_outside(tally)
    with np.errstate(over="ignore"):  # what is too large is infinite, and cleaned so
        recording = _read(source, tally)
    if source.mismatch == "error" and (n_outside := _n_outside(tally) - n_outside):
        message = f"{n_outside} answers in {source.file} are about items without truth"
        raise DataError(message, "compare the ids of items, or take the intersection")
    if source.providers:
        tally.forget(set(recording.providers) - set(source.providers))
        recording = recording.only(source.providers)
    _check_prices(recording, source)
    recording = match_items(recording, source.mismatch, tally=tally)
    vocabulary = _vocabulary(source)
    if vocabulary is None and not _has_fixed_labels(source):
        recording = match_labels(recording, tally=tally)
    recording = clean_recording(recording, vocabulary, source.rules, tally=tally)
    _look_for_nothing(recording, tally)
    check_alignment(recording, tally=tally)
    if source.n_items is None:
        return recording
    return draw_items(recording, source.n_items, source.seed)


def draw_items(recording: Recording, n_items: int, seed: int = 0) -> Recording:
    """Some items of a recording, in its order.

    Whether an item is drawn depends on the hash of its id and the seed alone: with more
    items of the same recording, those drawn before are drawn again.
    """
    if n_items >= len(recording):
        return recording
    # salted, or those drawn would all be in the first part of a split by hash
    ranks = [_hash(f"drawn {seed}:{item}") for item in recording.items]
    drawn = np.argsort(np.array(ranks, np.uint64), kind="stable")[:n_items]
    return recording.take(np.sort(drawn))


def _has_fixed_labels(source: RecordingSource) -> bool:
    """Whether labels are numbers of a list, which no spelling can change."""
    return source.kind == "coco" or (
        source.kind == "armol" and source.labels == "class"
    )


def _look_for_nothing(recording: Recording, tally: FindingCounter) -> None:
    """Count items that somebody answered with nothing, where that is most of them."""
    if recording.truth is None or recording.task == "labels":
        return
    has_some = np.bincount(
        recording.truth.items[~recording.truth.is_ignored], minlength=len(recording)
    )
    for name, answers in zip(recording.providers, recording.answers, strict=True):
        asked = (has_some > 0) & ~answers.is_missing
        silent = np.flatnonzero(asked & (answers.counts == 0)).tolist()
        if len(silent) > _MOST_SILENT * asked.sum():
            shown = [recording.items[i] for i in silent[:_SHOWN]]
            reason: Reason = "item answered with nothing"
            tally.add(name, reason, len(silent), shown, of=int(asked.sum()))


def _n_outside(tally: FindingCounter) -> int:
    counts = tally.counts.items()
    return sum(n for (_, reason), n in counts if reason == "item not in the truth")


def _check_prices(recording: Recording, source: RecordingSource) -> None:
    unpriced = np.flatnonzero(np.isnan(recording.prices_usd)).tolist()
    if unpriced:
        names = ", ".join(recording.providers[p] for p in unpriced)
        message = f"{names} have no price in {source.file}"
        raise DataError(message, "give their price of a call in USD")


def _read(source: RecordingSource, tally: FindingCounter) -> Recording:
    price_usd = source.price_usd
    if price_usd is None and source.providers:
        price_usd = math.nan  # those that are left out need no price
    if source.kind == "coco" and source.truth is None:
        message = f"COCO's results in {source.file} mean nothing without annotations"
        raise DataError(message, "give the file of the annotations as the truth")
    return LAYOUTS.called(
        source.kind,
        source.file,
        task=source.task,
        truth_file=source.truth,
        split=source.split,
        labels=source.labels,
        prices_usd=source.prices_usd,
        price_usd=price_usd,
        tally=tally,
    )


def _vocabulary(source: RecordingSource) -> Vocabulary | None:
    said = source.vocabulary
    if said is None:
        return Vocabulary(source.names) if source.names else None
    vocabulary = said if isinstance(said, Vocabulary) else read_vocabulary(said)
    return vocabulary.renamed(source.names) if source.names else vocabulary


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
