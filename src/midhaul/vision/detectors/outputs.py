"""Decoders by name, and NMS: from a network's outputs to px of the image.

*Decoders* make candidate boxes of raw outputs, one function per family of networks.

*Non-maximum suppression* (NMS): of boxes that overlap and share a label, the best
stays.

What runtimes of models with cards share is :class:`CardDetector`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Int32, Int64

from midhaul.errors import DataError
from midhaul.model import Detections
from midhaul.vision.detectors.decoders.candidates import Candidates, mismatch
from midhaul.vision.detectors.decoders.grids import (
    decode_fastestdet,
    decode_gfl,
    decode_yolo_fastestv2,
    decode_yolox,
)
from midhaul.vision.detectors.decoders.heads import (
    decode_boxes,
    decode_dense,
    decode_rows,
)
from midhaul.vision.detectors.geometry import InputBuffer, input_size

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from midhaul.model import Tally
    from midhaul.vision.detectors.card import Card
    from midhaul.vision.detectors.geometry import Geometry
    from midhaul.vision.images.image import Pixels

FAMILIES: dict[str, Callable[[Sequence[np.ndarray], Card], Candidates]] = {
    "boxes": decode_boxes,
    "dense": decode_dense,
    "fastestdet": decode_fastestdet,
    "gfl": decode_gfl,
    "rows": decode_rows,
    "yolo-fastestv2": decode_yolo_fastestv2,
    "yolox": decode_yolox,
}
"""The decoder of each name."""

# Boxes compared at once: small enough for the cache, large enough to spare the loop.
_CHUNK = 128


def suppress(
    boxes: Float32[np.ndarray, "n 4"],
    scores: Float32[np.ndarray, " n"],
    labels: Int32[np.ndarray, " n"],
    *,
    iou: float,
    limit: int,
) -> Int64[np.ndarray, " m"]:
    """Greedy suppression within each label.

    Boxes are visited from the best score down (the first of equals first); one that
    overlaps a kept box of its label by more than ``iou`` goes. Chunks of sorted boxes
    are compared as a matrix, and the visit ends as soon as ``limit`` boxes are kept, so
    the time grows with what is kept, not with the square of what is given. It gives
    indices of the kept boxes, best score first. Scores are any finite numbers.
    """
    order = np.argsort(-scores, kind="stable")
    if iou >= 1:
        return order[:limit]
    sorted_boxes = _Boxes(boxes[order], labels[order])
    kept = order[:0]
    for begin in range(0, len(order), _CHUNK):
        chunk = np.arange(begin, min(begin + _CHUNK, len(order)))
        if len(kept):
            beaten = sorted_boxes.overlap(chunk, kept, iou).any(axis=1)
            chunk = chunk[~beaten]
        clash = sorted_boxes.overlap(chunk, chunk, iou)
        alive = np.ones(len(chunk), bool)
        for row in np.flatnonzero(np.triu(clash, 1).any(axis=1)):
            if alive[row]:
                alive[row + 1 :] &= ~clash[row, row + 1 :]
        kept = np.concatenate([kept, chunk[alive]])
        if len(kept) >= limit:
            break
    return order[kept[:limit]]


class _Boxes:
    """Boxes as columns, so that comparing many with many runs over flat memory."""

    def __init__(self, boxes: np.ndarray, labels: np.ndarray) -> None:
        self._columns = np.ascontiguousarray(boxes.T)
        self._areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        self._labels = labels

    def overlap(self, a: np.ndarray, b: np.ndarray, iou: float) -> np.ndarray:
        """Whether boxes ``a`` (rows) and ``b`` (columns) share a label and overlap."""
        ax1, ay1, ax2, ay2 = self._columns[:, a, None]
        bx1, by1, bx2, by2 = self._columns[:, b]
        width = np.minimum(ax2, bx2) - np.maximum(ax1, bx1)
        height = np.minimum(ay2, by2) - np.maximum(ay1, by1)
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        union = self._areas[a, None] + self._areas[b] - shared
        return (shared > iou * union) & (self._labels[a, None] == self._labels[b])


class OutputDecoder:
    """Turns the outputs of one model into detections."""

    def __init__(self, card: Card) -> None:
        self._card = card
        self._decode = FAMILIES[card.decoder]
        self._names = card.names
        used = [bool(name) for name in card.numbered_labels]
        # Index into names by number; -1 where a number is not in use.
        self._index = np.where(used, np.cumsum(used) - 1, -1).astype(np.int32)

    @property
    def names(self) -> tuple[str, ...]:
        """The label set."""
        return self._names

    def __call__(self, outputs: Sequence[np.ndarray], geometry: Geometry) -> Detections:
        """Decode, suppress, and carry the boxes back to the image.

        DataError if the outputs do not fit the card.
        """
        card = self._card
        found = self._decode(outputs, card)
        numbers = found.numbers - card.first_label
        inside = (numbers >= 0) & (numbers < len(self._index))
        if not inside.all() and card.first_label == 0:
            raise mismatch(
                card,
                f"labels has {len(self._index)} numbers",
                f"the model answers number {found.numbers.max()}",
            )
        labels = np.where(inside, self._index[np.where(inside, numbers, 0)], -1)
        used = labels >= 0
        boxes, scores = found.boxes[used], found.scores[used]
        if card.box_unit == "fraction":
            boxes = boxes * np.array(input_size(card, geometry) * 2, np.float32)
        labels = labels[used].astype(np.int32)
        keep = suppress(
            boxes, scores, labels, iou=card.nms_iou, limit=card.max_detections
        )
        return Detections(
            boxes=geometry.to_image(boxes[keep]),
            scores=np.clip(scores[keep], 0, 1),
            labels=labels[keep],
            names=self._names,
        )


def first_image(outputs: Sequence[np.ndarray], card: Card) -> Sequence[np.ndarray]:
    """The outputs of the first image of a batch, with a batch axis of one."""
    if card.batch == 1 or "image" in card.columns:
        return outputs
    return [out[:1] if out.ndim and len(out) == card.batch else out for out in outputs]


class CardDetector(ABC):
    """A model that is fed and read as its card says; takes one image at a time.

    ``file`` is what the model is read from, and ``tallies`` what of the card was
    assumed.
    """

    def __init__(self, file: Path, card: Card, tallies: tuple[Tally, ...] = ()) -> None:
        self._card = card
        self.tallies = tallies
        files = (file, file.with_suffix(".bin")) if file.suffix == ".xml" else (file,)
        self.size_bytes = sum(one.stat().st_size for one in files if one.is_file())
        self._buffer = InputBuffer(card)
        self._decoder = OutputDecoder(card)
        self.name = card.name
        self.names = self._decoder.names
        self.caveat = card.caveat

    @abstractmethod
    def _run(self, array: np.ndarray) -> Sequence[np.ndarray]:
        """The outputs of the model for its input."""

    def detect(self, pixels: Pixels, *, image_id: str = "") -> Detections:  # noqa: ARG002
        """Find boxes on one image; see :class:`Detector`."""
        array, geometry = self._buffer.fill(pixels)
        outputs = first_image(self._run(array), self._card)
        return self._decoder(outputs, geometry)

    def _try_out(self) -> None:
        """See before the first image comes whether the card fits the model."""
        shape = (self._card.input_height or 64, self._card.input_width or 64, 3)
        self.detect(np.zeros(shape, np.uint8))

    def _check_outputs(self, known: Collection[str], file: Path) -> list[str]:
        """The outputs that the card names, or all; DataError if the file lacks one."""
        missing = [name for name in self._card.outputs if name not in known]
        if missing:
            message = (
                f"the card of {self._card.name} names output {missing[0]}, but {file} "
                f"has {', '.join(known)}"
            )
            raise DataError(message, "correct outputs in the card")
        return list(self._card.outputs or known)
