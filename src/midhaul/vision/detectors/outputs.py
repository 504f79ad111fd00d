"""Decoders and NMS: from a network's outputs to detections in px of the image.

*Decoders* make candidate boxes of raw outputs, one function per family of networks.

Every decoder drops what is below the score threshold before it computes a single box,
so its cost follows the number of candidates and not the size of the grid. Boxes are in
px of the network's input.

*Non-maximum suppression* (NMS): of boxes that overlap and share a label, the best
stays.

What runtimes of models with cards share is :class:`CardDetector`.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Int32, Int64

from midhaul.errors import DataError
from midhaul.model import Detections
from midhaul.vision.detectors.geometry import InputBuffer

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from midhaul.vision.detectors.card import Card
    from midhaul.vision.detectors.geometry import Geometry
    from midhaul.vision.images.image import Pixels

# Candidates that go into the suppression at most, the best ones.
_MAX_CANDIDATES = 1000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidates:
    """Boxes before suppression.

    Attributes:
        boxes: corners x1, y1, x2, y2 in px of the network's input.
        scores: in [0, 1].
        numbers: the network's own numbers of the labels, from 0.
    """

    boxes: Float32[np.ndarray, "n 4"]
    scores: Float32[np.ndarray, " n"]
    numbers: Int32[np.ndarray, " n"]


def decode_fastestdet(outputs: Sequence[np.ndarray], card: Card) -> Candidates:
    """One grid: objectness, box and classes per cell (FastestDet).

    The output is ``(1, 5 + classes, h, w)``. A score is objectness^0.6 times class^0.4;
    the centre is off its cell's corner by tanh, the sides are a sigmoid of the input's.
    """
    (output,) = _take(outputs, card, 1)
    n_labels = len(card.numbered_labels)
    _check_shape(card, output, (1, 5 + n_labels, None, None))
    rows, columns = output.shape[2:]
    grid = output[0].reshape(5 + n_labels, -1)
    # Scores to the power of 2.5, for they cost one product each and sort alike.
    powers = np.maximum(grid[0], 0) ** 1.5 * np.maximum(grid[5:], 0)
    numbers, cells, powers = _pairs(powers, card.score_threshold**2.5)
    scores = powers**0.4
    x, y, w, h = grid[1:5, cells]
    size_px = np.array([card.input_width, card.input_height], np.float32)
    shape = np.array([columns, rows], np.float32)
    corner = np.stack([cells % columns, cells // columns], axis=1)
    centre = (corner + np.tanh(np.stack([x, y], axis=1))) / shape * size_px
    sides = _sigmoid(np.stack([w, h], axis=1)) * size_px
    return _from_centres(centre, sides, scores, numbers)


def decode_yolox(outputs: Sequence[np.ndarray], card: Card) -> Candidates:
    """Anchor-free grids, one row per cell (YOLOX).

    The output is ``(1, cells, 5 + classes)``: centre offset and log sides in strides,
    objectness, classes. A score is objectness times the best class.
    """
    (output,) = _take(outputs, card, 1)
    n_labels = len(card.numbered_labels)
    grid = _grid(card)
    _check_shape(card, output, (1, len(grid.strides), 5 + n_labels))
    rows = np.flatnonzero(output[0, :, 4] >= card.score_threshold)
    found = output[0, rows]
    scores = found[:, 4:5] * found[:, 5:]
    keep, numbers, scores = _pairs(scores, card.score_threshold)
    rows, found = rows[keep], found[keep]
    stride = grid.strides[rows, None]
    centre = (grid.corners[rows] + found[:, :2]) * stride
    sides = np.exp(np.minimum(found[:, 2:4], 20)) * stride
    return _from_centres(centre, sides, scores, numbers)


def decode_gfl(outputs: Sequence[np.ndarray], card: Card) -> Candidates:
    """Classes, and each side of a box as a distribution (GFL: NanoDet, PicoDet).

    Per stride one output ``(cells, classes)`` of probabilities and one of logits,
    ``(cells, 4 * bins)``. The distance from a cell's centre to a side is the mean of
    the softmax over the bins, in strides (Generalized Focal Loss, Li et al. 2020).
    """
    n_labels = len(card.numbered_labels)
    grid = _grid(card)
    flat = [np.reshape(output, (-1, output.shape[-1])) for output in outputs]
    classes = _by_cells(card, flat, n_labels)
    sides = [one for one in flat if not any(one is other for other in classes)]
    sides = _by_cells(card, sides, None)
    chances = np.concatenate(classes)
    logits = np.concatenate(sides)
    rows, numbers, scores = _pairs(chances, card.score_threshold)
    bins = logits.shape[1] // 4
    picked = logits[rows].reshape(-1, 4, bins)
    weights = np.exp(picked - picked.max(axis=2, keepdims=True))
    steps = np.arange(bins, dtype=np.float32)
    distances = weights @ steps / weights.sum(axis=2) * grid.strides[rows, None]
    centre = (grid.corners[rows] + np.float32(0.5)) * grid.strides[rows, None]
    low, high = centre - distances[:, :2], centre + distances[:, 2:]
    boxes = np.concatenate([low, high], axis=1)
    return Candidates(
        boxes=boxes.astype(np.float32), scores=scores, numbers=numbers.astype(np.int32)
    )


def decode_yolo_fastestv2(outputs: Sequence[np.ndarray], card: Card) -> Candidates:
    """Anchors that share their classes (Yolo-FastestV2).

    The output is ``(cells, 4 * anchors + anchors + classes)``, after the sigmoid or
    softmax: boxes, objectness per anchor, classes. Centres reach half a cell beyond
    their own; sides are up to four times the anchor.
    """
    (output,) = _take(outputs, card, 1)
    n_labels, n_anchors = len(card.numbered_labels), len(card.anchors[0]) // 2
    grid = _grid(card)
    output = output.reshape(-1, output.shape[-1])
    _check_shape(card, output, (len(grid.strides), 5 * n_anchors + n_labels))
    objectness = output[:, 4 * n_anchors : 5 * n_anchors]
    rows = np.flatnonzero(objectness.reshape(-1) >= card.score_threshold)
    cells, anchors = np.divmod(rows, n_anchors)
    scores = objectness[cells, anchors, None] * output[cells, 5 * n_anchors :]
    keep, numbers, scores = _pairs(scores, card.score_threshold)
    cells, anchors = cells[keep], anchors[keep]
    per_stride = np.array(card.anchors, np.float32).reshape(len(card.strides), -1, 2)
    level = np.searchsorted(grid.ends, cells, side="right")
    raw = output[:, : 4 * n_anchors].reshape(-1, n_anchors, 4)[cells, anchors]
    centre = raw[:, :2] * 2 - np.float32(0.5) + grid.corners[cells]
    centre *= grid.strides[cells, None]
    sides = (raw[:, 2:] * 2) ** 2 * per_stride[level, anchors]
    return _from_centres(centre, sides, scores, numbers)


def decode_boxes(outputs: Sequence[np.ndarray], card: Card) -> Candidates:
    """Graphs that already end in boxes, labels and scores, in the card's order."""
    boxes, numbers, scores = _take(outputs, card, 3)
    boxes = boxes.reshape(-1, 4).astype(np.float32)
    scores = scores.reshape(-1).astype(np.float32)
    numbers = numbers.reshape(-1)
    if not len(boxes) == len(scores) == len(numbers):
        raise mismatch(
            card,
            "the outputs are boxes, labels and scores",
            f"they hold {len(boxes)}, {len(numbers)} and {len(scores)} entries",
        )
    keep = _best(scores, card.score_threshold)
    boxes = boxes[keep]
    if card.box_order == "yxyx":
        boxes = boxes[:, [1, 0, 3, 2]]
    if card.box_unit == "fraction":
        boxes = boxes * np.array([card.input_width, card.input_height] * 2, np.float32)
    return Candidates(
        boxes=boxes,
        scores=scores[keep],
        numbers=np.rint(numbers[keep]).astype(np.int32),
    )


FAMILIES: dict[str, Callable[[Sequence[np.ndarray], Card], Candidates]] = {
    "boxes": decode_boxes,
    "fastestdet": decode_fastestdet,
    "gfl": decode_gfl,
    "yolo-fastestv2": decode_yolo_fastestv2,
    "yolox": decode_yolox,
}


def _best(scores: np.ndarray, threshold: float) -> np.ndarray:
    """Indices of the best scores that reach the threshold, in their own order."""
    found = np.flatnonzero(scores >= threshold)
    if len(found) > _MAX_CANDIDATES:
        top = np.argpartition(-scores[found], _MAX_CANDIDATES)[:_MAX_CANDIDATES]
        found = found[np.sort(top)]
    return found


def _pairs(
    table: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, column and score of the best entries that reach the threshold."""
    flat = table.reshape(-1)
    keep = _best(flat, threshold)
    rows, columns = np.divmod(keep, table.shape[1])
    return rows, columns, flat[keep]


def _from_centres(
    centre: np.ndarray, sides: np.ndarray, scores: np.ndarray, numbers: np.ndarray
) -> Candidates:
    boxes = np.concatenate([centre - sides / 2, centre + sides / 2], axis=1)
    return Candidates(
        boxes=boxes.astype(np.float32),
        scores=scores.astype(np.float32),
        numbers=numbers.astype(np.int32),
    )


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 0.5 + 0.5 * np.tanh(values / 2)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Grid:
    """Every cell of the grids of all strides, the finest grid first.

    Attributes:
        corners: column and row of each cell, ``(cells, 2)``.
        strides: px per cell of its grid, ``(cells,)``.
        ends: number of cells up to and with each stride.
    """

    corners: np.ndarray
    strides: np.ndarray
    ends: np.ndarray


def _grid(card: Card) -> _Grid:
    return _make_grid(card.input_height, card.input_width, card.strides)


@functools.cache
def _make_grid(height: int, width: int, strides: tuple[int, ...]) -> _Grid:
    corners: list[np.ndarray] = []
    for stride in strides:
        y, x = np.mgrid[: -(-height // stride), : -(-width // stride)]
        corners.append(np.stack([x.reshape(-1), y.reshape(-1)], axis=1))
    cells = [len(one) for one in corners]
    return _Grid(
        corners=np.concatenate(corners).astype(np.float32),
        strides=np.repeat(np.array(strides, np.float32), cells),
        ends=np.cumsum(cells),
    )


def _by_cells(
    card: Card, arrays: list[np.ndarray], columns: int | None
) -> list[np.ndarray]:
    """One array per stride, found by its number of cells (and columns)."""
    found: list[np.ndarray] = []
    all_cells = np.diff(_grid(card).ends, prepend=0)
    for stride, cells in zip(card.strides, all_cells.tolist(), strict=True):
        match = [
            one
            for one in arrays
            if len(one) == cells and columns in (None, one.shape[1])
        ]
        if not match or (columns is None and match[0].shape[1] % 4):
            raise mismatch(
                card,
                f"an output has {cells} cells of {columns or '4 x bins'} numbers "
                f"for stride {stride}",
                f"the outputs are {', '.join(str(one.shape) for one in arrays)}",
            )
        found.append(match[0])
    return found


def _take(outputs: Sequence[np.ndarray], card: Card, n: int) -> Sequence[np.ndarray]:
    if len(outputs) < n:
        raise mismatch(card, f"the model has {n} outputs", f"it has {len(outputs)}")
    return outputs[:n]


def _check_shape(card: Card, output: np.ndarray, shape: tuple[int | None, ...]) -> None:
    is_same = len(shape) == output.ndim and all(
        want in (None, found) for want, found in zip(shape, output.shape, strict=True)
    )
    if not is_same:
        wanted = ", ".join("any" if one is None else str(one) for one in shape)
        raise mismatch(
            card,
            f"the output has shape ({wanted}) for {len(card.numbered_labels)} labels",
            f"it has {output.shape}",
        )


def mismatch(card: Card, expected: str, found: str) -> DataError:
    """The error of a card that does not fit its model."""
    message = (
        f"the card of {card.name} does not fit {card.file}: by decoder "
        f"{card.decoder} {expected}, but {found}"
    )
    return DataError(message, "correct decoder, labels, strides or size in the card")


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


class CardDetector(ABC):
    """A model that is fed and read as its card says; takes one image at a time."""

    def __init__(self, card: Card) -> None:
        self._card = card
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
        return self._decoder(self._run(array), geometry)

    def _try_out(self) -> None:
        """See before the first image comes whether the card fits the model."""
        shape = (self._card.input_height, self._card.input_width, 3)
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
