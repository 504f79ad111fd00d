"""Boxes on an image, found or marked; and one provider's answer to an item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float32, Int32

from midhaul.model.display import MOST_ROWS, Display, Shown, counted, listed


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Detections(Shown):
    """What a detector found on one image, as a struct of arrays.

    Attributes:
        boxes: ``(n, 4)`` corners x1, y1, x2, y2 in px of the image it was given,
            origin at the top left, x2 and y2 exclusive; in the precision of where
            they come from, single or double.
        scores: ``(n,)`` in [0, 1].
        labels: ``(n,)`` indices into ``names``.
        names: the label set, in the detector's own order.

    Raises:
        ValueError: the arrays disagree in length, or a label has no name.
    """

    boxes: Float[np.ndarray, "n 4"]
    scores: Float[np.ndarray, " n"]
    labels: Int32[np.ndarray, " n"]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        """Check the shapes against each other."""
        _check_boxes(self.boxes, self.labels, self.names)
        if self.scores.shape != self.labels.shape:
            message = f"{len(self.labels)} labels but scores {self.scores.shape}"
            raise ValueError(message)

    def __len__(self) -> int:
        """Number of boxes."""
        return len(self.labels)

    @classmethod
    def empty(cls, names: Sequence[str]) -> Detections:
        """No box at all."""
        return cls(
            boxes=np.zeros((0, 4), np.float32),
            scores=np.zeros(0, np.float32),
            labels=np.zeros(0, np.int32),
            names=tuple(names),
        )

    def take(
        self, which: Bool[np.ndarray, " n"] | Int32[np.ndarray, " m"]
    ) -> Detections:
        """The boxes that a mask or an index picks, in that order."""
        return Detections(
            boxes=self.boxes[which],
            scores=self.scores[which],
            labels=self.labels[which],
            names=self.names,
        )

    def scaled(self, x: float, y: float) -> Detections:
        """The same boxes on an image ``x`` times as wide and ``y`` times as high."""
        return Detections(
            boxes=self.boxes * np.array([x, y, x, y], self.boxes.dtype),
            scores=self.scores,
            labels=self.labels,
            names=self.names,
        )

    def _display(self) -> Display:
        """How many of which label, and the best boxes."""
        best = np.argsort(-self.scores, kind="stable")[:MOST_ROWS].tolist()
        return Display(
            text=_box_text(self.labels, self.names),
            columns=("label", "score", "x1", "y1", "x2", "y2"),
            rows=[
                (self.names[self.labels[i]], float(self.scores[i]), *self.boxes[i])
                for i in best
            ],
            n_rows=len(self),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class GroundTruth(Shown):
    """Human boxes of one image.

    Attributes:
        boxes: ``(n, 4)`` corners x1, y1, x2, y2 in px; in the precision of where they
            come from, single or double.
        labels: ``(n,)`` indices into ``names``.
        is_crowd: ``(n,)`` true where a box marks a group that is not judged.
        areas_px: ``(n,)`` area that decides small, medium or large (COCO: of the mask).
        names: the label set of the data set.

    Raises:
        ValueError: the arrays disagree in length, or a label has no name.
    """

    boxes: Float[np.ndarray, "n 4"]
    labels: Int32[np.ndarray, " n"]
    is_crowd: Bool[np.ndarray, " n"]
    areas_px: Float[np.ndarray, " n"]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        """Check the shapes against each other."""
        _check_boxes(self.boxes, self.labels, self.names)
        if not len(self.labels) == len(self.is_crowd) == len(self.areas_px):
            message = "labels, is_crowd and areas_px must have one entry per box"
            raise ValueError(message)

    def __len__(self) -> int:
        """Number of boxes."""
        return len(self.labels)

    def _display(self) -> Display:
        """How many of which label, and the first boxes."""
        return Display(
            text=_box_text(self.labels, self.names),
            columns=("label", "x1", "y1", "x2", "y2", "group"),
            rows=[
                (self.names[label], *box, is_crowd)
                for label, box, is_crowd in zip(
                    self.labels[:MOST_ROWS],
                    self.boxes[:MOST_ROWS],
                    self.is_crowd[:MOST_ROWS],
                    strict=True,
                )
            ],
            n_rows=len(self),
        )


def _box_text(labels: Int32[np.ndarray, " n"], names: tuple[str, ...]) -> str:
    """``3 boxes: 2 car, 1 person``, the most frequent labels first."""
    counts = np.bincount(labels, minlength=len(names))
    order = np.argsort(-counts, kind="stable")
    known = [f"{counts[i]:,} {names[i]}" for i in order[: int((counts > 0).sum())]]
    boxes = counted(len(labels), "box", "boxes")
    return f"{boxes}: {listed(known)}" if known else f"{boxes} of {len(names)} labels"


def _check_boxes(boxes: np.ndarray, labels: np.ndarray, names: tuple[str, ...]) -> None:
    if boxes.shape != (len(labels), 4):
        message = f"boxes must have shape ({len(labels)}, 4), found {boxes.shape}"
        raise ValueError(message)
    if len(labels) and not (labels.min() >= 0 and labels.max() < len(names)):
        message = f"labels must lie in 0..{len(names) - 1}, found {labels.max()}"
        raise ValueError(message)


PredictionStatus = Literal[
    "ok",
    "timeout",
    "throttled",
    "unavailable",
    "unreachable",
    "refused",
    "denied",
    "malformed",
    "not_sent",
]
"""How a call went.

``throttled`` is HTTP 429, ``unavailable`` HTTP 5xx or a connection that was lost behind
the request, ``unreachable`` one that never came about (refused, no such name, no TLS,
no route), ``denied`` HTTP 401, 403, 404 and the like, which are about who asks and
where, ``refused`` another HTTP 4xx, which is about the image, ``malformed`` an answer
that cannot be read, ``not_sent`` a call that was never made (no budget, an open
circuit breaker).
"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Tags(Shown):
    """Labels of one item without boxes, each with a score.

    Attributes:
        scores: ``(n,)`` in [0, 1].
        labels: ``(n,)`` indices into ``names``.
        names: the label set.

    Raises:
        ValueError: the arrays disagree in length, or a label has no name.
    """

    scores: Float32[np.ndarray, " n"]
    labels: Int32[np.ndarray, " n"]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        """Check the shapes against each other."""
        if self.scores.shape != self.labels.shape:
            message = f"{len(self.labels)} labels but scores {self.scores.shape}"
            raise ValueError(message)
        if len(self.labels) and not 0 <= self.labels.min() <= self.labels.max() < len(
            self.names
        ):
            message = f"labels must lie in 0..{len(self.names) - 1}"
            raise ValueError(message)

    def __len__(self) -> int:
        """Number of labels."""
        return len(self.labels)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Prediction(Shown):
    """One provider's answer to one item, or its failure.

    Attributes:
        provider: name of the provider.
        item: id of the item.
        status: how the call went.
        answer: boxes or tags; None unless the status is ``ok``.
        latency_s: from the send to the decoded answer or the failure.
        price_usd: what the call was charged; 0 where it is not.
        message: what went wrong, in a sentence; empty when nothing did.
        retry_after_s: when the provider asks not to be called earlier; 0 otherwise.
        is_sent: false where nothing has reached the provider, so that it cannot bill.
        n_dropped: boxes or labels of the answer that cannot be read and are not there.
    """

    provider: str
    item: str
    status: PredictionStatus
    answer: Detections | Tags | None
    latency_s: float
    price_usd: float
    message: str = ""
    retry_after_s: float = 0.0
    is_sent: bool = True
    n_dropped: int = 0

    def __post_init__(self) -> None:
        """An answer goes with the status ok, and only with it."""
        if (self.status == "ok") != (self.answer is not None):
            message = f"a prediction that is {self.status} has answer {self.answer}"
            raise ValueError(message)

    @property
    def is_ok(self) -> bool:
        """True when there is an answer."""
        return self.status == "ok"

    @property
    def has_reached(self) -> bool:
        """True where the provider may have heard of the call, and may bill it."""
        return self.is_sent and self.status not in ("unreachable", "not_sent")
