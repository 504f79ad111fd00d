"""Answers of vendors as detections and tags, checked before anybody trusts them.

A box or label that cannot be read costs itself: the answer is paid, and what else it
says is kept. An answer of which nothing can be read is malformed.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from midhaul import documents
from midhaul.federation.providers.base import MalformedAnswerError, one_line
from midhaul.model import Detections, Prediction, Tags

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_Value = TypeVar("_Value")

MAX_ENTRIES = 10_000
"""Labels or boxes that one answer may have."""

MAX_WORDS = 100_000
"""Different labels that a provider may use."""

_SCORE_SLACK = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerEntry:
    """One label of an answer.

    Attributes:
        label: in the vendor's words.
        score: 0 to 1.
        box: x1, y1, x2, y2 in px; None for a tag.
    """

    label: str
    score: float
    box: tuple[float, float, float, float] | None = None


class AnswerEntries(NamedTuple):
    """The entries of an answer that can be read, and why each other one cannot."""

    read: list[AnswerEntry]
    odd: list[str]

    def above(self, min_score: float) -> AnswerEntries:
        """Those with no lower score."""
        return AnswerEntries(
            [one for one in self.read if one.score >= min_score], self.odd
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReadAnswer:
    """An answer, as far as it can be read.

    Attributes:
        n_dropped: entries that cannot.
        message: why the first of them cannot; empty where all can.
    """

    answer: Detections | Tags
    n_dropped: int = 0
    message: str = ""

    def prediction(self, provider: str, item: str, latency_s: float) -> Prediction:
        """The answer as that of a provider to an item."""
        return Prediction(
            provider=provider,
            item=item,
            status="ok",
            answer=self.answer,
            latency_s=latency_s,
            price_usd=0.0,
            message=self.message,
            n_dropped=self.n_dropped,
        )


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

        Of labels that are too many the index is -1.
        """
        with self._lock:
            before = len(self._index)
            for label in labels:
                if len(self._index) < MAX_WORDS:
                    self._index.setdefault(label, len(self._index))
            if len(self._index) > before:
                self._names = tuple(self._index)
            found = [self._index.get(label, -1) for label in labels]
            return np.array(found, np.int32), self._names


class LastBody:
    """The body of the last answer of a thread, for what an SDK's parser gives up.

    SDKs read all of an answer or nothing; what is paid is read here entry by entry.
    """

    def __init__(self) -> None:
        self._here = threading.local()

    def keep(self, body: bytes) -> None:
        """Remember the body of an answer that this thread has got."""
        self._here.body = body

    def read(self) -> Any:
        """Its JSON, once; MalformedAnswerError where there is none."""
        body: bytes = getattr(self._here, "body", b"")
        self._here.body = b""
        try:
            return documents.parse_json(body)
        except ValueError as error:
            message = f"an answer that is no JSON: {one_line(error)}"
            raise MalformedAnswerError(message) from error


def number(value: Any, what: str) -> float:
    """A finite number, or MalformedAnswerError."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        message = f"{what} is no number: {value!r}"
        raise MalformedAnswerError(message)
    if not math.isfinite(value):
        message = f"{what} is not finite"
        raise MalformedAnswerError(message)
    return float(value)


def entry(
    label: Any, score: Any, box: tuple[float, float, float, float] | None = None
) -> AnswerEntry:
    """One label, a text with a score within 0 to 1, or MalformedAnswerError."""
    if not isinstance(label, str) or not label.strip():
        message = f"a label is a text, found {label!r}"
        raise MalformedAnswerError(message)
    value = number(score, f"the score of {label[:50]!r}")
    if not -_SCORE_SLACK <= value <= 1 + _SCORE_SLACK:
        message = f"the score of {label[:50]!r} is {value}, not within 0 to 1"
        raise MalformedAnswerError(message)
    return AnswerEntry(label=label.strip(), score=min(1.0, max(0.0, value)), box=box)


def entries_of(
    values: Iterable[_Value], read: Callable[[_Value], Iterable[AnswerEntry]]
) -> AnswerEntries:
    """The entries of an answer, of which one that cannot be read costs itself alone.

    MalformedAnswerError where there are too many of them.
    """
    found: list[AnswerEntry] = []
    odd: list[str] = []
    for value in values:
        try:
            found += read(value)
        except MalformedAnswerError as error:
            odd.append(one_line(error))
        if len(found) + len(odd) > MAX_ENTRIES:
            message = f"an answer with more than {MAX_ENTRIES} labels"
            raise MalformedAnswerError(message)
    return AnswerEntries(found, odd)


def detections_of(
    entries: AnswerEntries, words: Words, width_px: int, height_px: int
) -> ReadAnswer:
    """Boxes, best score first, cut to the image.

    MalformedAnswerError where nothing of the answer can be read.
    """
    boxed = entries_of(entries.read, _boxed)
    kept, odd = _named(AnswerEntries(boxed.read, entries.odd + boxed.odd), words)
    ordered = sorted(kept, key=lambda one: -one.score)
    labels, names = words.indices([one.label for one in ordered])
    boxes = np.array([one.box for one in ordered], np.float32).reshape(-1, 4)
    boxes[:, 0::2] = boxes[:, 0::2].clip(0, width_px)
    boxes[:, 1::2] = boxes[:, 1::2].clip(0, height_px)
    scores = np.array([one.score for one in ordered], np.float32)
    found = Detections(boxes=boxes, scores=scores, labels=labels, names=names)
    return ReadAnswer(answer=found, n_dropped=len(odd), message=_why(odd))


def tags_of(entries: AnswerEntries, words: Words) -> ReadAnswer:
    """Labels by falling score, each once.

    MalformedAnswerError where nothing of the answer can be read.
    """
    kept, odd = _named(entries, words)
    best: dict[str, AnswerEntry] = {}
    for one in sorted(kept, key=lambda one: -one.score):
        best.setdefault(one.label, one)
    labels, names = words.indices(list(best))
    scores = np.array([one.score for one in best.values()], np.float32)
    found = Tags(scores=scores, labels=labels, names=names)
    return ReadAnswer(answer=found, n_dropped=len(odd), message=_why(odd))


def _boxed(one: AnswerEntry) -> list[AnswerEntry]:
    if one.box is None:
        message = f"{one.label[:50]!r} has no box"
        raise MalformedAnswerError(message)
    x1, y1, x2, y2 = (number(value, "a corner") for value in one.box)
    if x1 > x2 or y1 > y2:
        message = f"the box of {one.label[:50]!r} ends before it begins: {one.box}"
        raise MalformedAnswerError(message)
    return [one]


def _named(entries: AnswerEntries, words: Words) -> AnswerEntries:
    """The entries whose labels have a place in the label set.

    MalformedAnswerError where there are entries, and nothing of them can be read.
    """
    places, _ = words.indices([one.label for one in entries.read])
    known = [
        one for one, place in zip(entries.read, places.tolist(), strict=True)
        if place >= 0
    ]  # fmt: skip
    n_lost = len(entries.read) - len(known)
    odd = entries.odd + [f"more than {MAX_WORDS} different labels"] * n_lost
    if odd and not known:
        raise MalformedAnswerError(odd[0])
    return AnswerEntries(known, odd)


def _why(odd: list[str]) -> str:
    return f"{len(odd)} left out: {odd[0]}" if odd else ""
