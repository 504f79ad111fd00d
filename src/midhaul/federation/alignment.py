"""Whether answers are about the items and labels that they name: what they say tells.

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

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.vision.matching import iou

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jaxtyping import Float64, Int64

    from midhaul.federation.findings import FindingCounter
    from midhaul.federation.problem import Answers, Recording

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

    Args:
        recording: clean, in one label set.
        tally: where they are counted; nothing is where all fit, or too few tell.
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
    from scipy.optimize import (  # noqa: PLC0415  optional
        linear_sum_assignment,
    )

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
