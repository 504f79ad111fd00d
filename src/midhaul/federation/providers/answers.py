"""Answers of vendors as detections and tags, checked before anybody trusts them."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.federation.providers.failures import MalformedAnswerError
from midhaul.model import Detections, Tags

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_ENTRIES = 10_000
"""Labels or boxes that one answer may have."""

MAX_WORDS = 100_000
"""Different labels that a provider may use."""

_SCORE_SLACK = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One label of an answer.

    Attributes:
        label: in the vendor's words.
        score: 0 to 1.
        box: x1, y1, x2, y2 in px; None for a tag.
    """

    label: str
    score: float
    box: tuple[float, float, float, float] | None = None


class Words:
    """A label set that grows with the answers; thread-safe.

    A label keeps its index, so the names of an earlier answer are the first of those
    of a later one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._index: dict[str, int] = {}
        self._names: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All labels so far."""
        return self._names

    def indices(self, labels: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
        """The index of each label, and the label set that they point to.

        Raises:
            MalformedAnswerError: there are too many different labels by now.
        """
        with self._lock:
            before = len(self._index)
            for label in labels:
                self._index.setdefault(label, len(self._index))
            if len(self._index) > MAX_WORDS:
                message = f"more than {MAX_WORDS} different labels"
                raise MalformedAnswerError(message)
            if len(self._index) > before:
                self._names = tuple(self._index)
            found = np.array([self._index[label] for label in labels], np.int32)
            return found, self._names


def number(value: Any, what: str) -> float:
    """A finite number.

    Raises:
        MalformedAnswerError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        message = f"{what} is no number: {value!r}"
        raise MalformedAnswerError(message)
    if not math.isfinite(value):
        message = f"{what} is not finite"
        raise MalformedAnswerError(message)
    return float(value)


def entry(
    label: Any, score: Any, box: tuple[float, float, float, float] | None = None
) -> Entry:
    """One label of an answer, checked.

    Raises:
        MalformedAnswerError: the label is no text, or the score not within 0 to 1.
    """
    if not isinstance(label, str) or not label.strip():
        message = f"a label is a text, found {label!r}"
        raise MalformedAnswerError(message)
    value = number(score, f"the score of {label[:50]!r}")
    if not -_SCORE_SLACK <= value <= 1 + _SCORE_SLACK:
        message = f"the score of {label[:50]!r} is {value}, not within 0 to 1"
        raise MalformedAnswerError(message)
    return Entry(label=label.strip(), score=min(1.0, max(0.0, value)), box=box)


def detections_of(
    entries: Sequence[Entry], words: Words, width_px: int, height_px: int
) -> Detections:
    """Boxes, best score first, cut to the image.

    Args:
        entries: each with a box.
        words: label set that grows.
        width_px: of the image.
        height_px: of the image.

    Raises:
        MalformedAnswerError: a box has no corners, ends before it begins, or there
            are too many of them.
    """
    ordered = _ordered(entries)
    boxes = np.zeros((len(ordered), 4), np.float32)
    for row, one in enumerate(ordered):
        if one.box is None:
            message = f"{one.label!r} has no box"
            raise MalformedAnswerError(message)
        x1, y1, x2, y2 = (number(value, "a corner") for value in one.box)
        if x1 > x2 or y1 > y2:
            message = f"the box of {one.label!r} ends before it begins: {one.box}"
            raise MalformedAnswerError(message)
        boxes[row] = (x1, y1, x2, y2)
    boxes[:, 0::2] = boxes[:, 0::2].clip(0, width_px)
    boxes[:, 1::2] = boxes[:, 1::2].clip(0, height_px)
    labels, names = words.indices([one.label for one in ordered])
    scores = np.array([one.score for one in ordered], np.float32)
    return Detections(boxes=boxes, scores=scores, labels=labels, names=names)


def tags_of(entries: Sequence[Entry], words: Words) -> Tags:
    """Labels, best score first; one that comes twice keeps its best score.

    Raises:
        MalformedAnswerError: there are too many of them.
    """
    best: dict[str, Entry] = {}
    for one in _ordered(entries):
        best.setdefault(one.label, one)
    labels, names = words.indices(list(best))
    scores = np.array([one.score for one in best.values()], np.float32)
    return Tags(scores=scores, labels=labels, names=names)


def _ordered(entries: Sequence[Entry]) -> list[Entry]:
    if len(entries) > MAX_ENTRIES:
        message = f"an answer with {len(entries)} labels; {MAX_ENTRIES} are allowed"
        raise MalformedAnswerError(message)
    return sorted(entries, key=lambda one: -one.score)
