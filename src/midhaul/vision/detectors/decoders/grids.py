"""Decoders of grids: FastestDet, YOLOX, GFL (NanoDet, PicoDet) and Yolo-FastestV2.

Raw outputs, one entry per cell of a grid (and anchor). Boxes are in px of the network's
input.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.vision.detectors.decoders.candidates import (
    Candidates,
    check_shape,
    from_centres,
    mismatch,
    sigmoid,
    strong_pairs,
    take_outputs,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midhaul.vision.detectors.card import Card


def decode_fastestdet(outputs: Sequence[np.ndarray], card: Card) -> Candidates:
    """One grid: objectness, box and classes per cell (FastestDet).

    The output is ``(1, 5 + classes, h, w)``. A score is objectness^0.6 times class^0.4;
    the centre is off its cell's corner by tanh, the sides are a sigmoid of the input's.
    """
    (output,) = take_outputs(outputs, card, 1)
    n_labels = len(card.numbered_labels)
    check_shape(card, output, (1, 5 + n_labels, None, None))
    rows, columns = output.shape[2:]
    grid = output[0].reshape(5 + n_labels, -1)
    # Scores to the power of 2.5, for they cost one product each and sort alike.
    powers = np.maximum(grid[0], 0) ** 1.5 * np.maximum(grid[5:], 0)
    numbers, cells, powers = strong_pairs(powers, card.score_threshold**2.5)
    scores = powers**0.4
    x, y, w, h = grid[1:5, cells]
    size_px = np.array([card.input_width, card.input_height], np.float32)
    shape = np.array([columns, rows], np.float32)
    corner = np.stack([cells % columns, cells // columns], axis=1)
    centre = (corner + np.tanh(np.stack([x, y], axis=1))) / shape * size_px
    sides = sigmoid(np.stack([w, h], axis=1)) * size_px
    return from_centres(centre, sides, scores, numbers)


def decode_yolox(outputs: Sequence[np.ndarray], card: Card) -> Candidates:
    """Anchor-free grids, one row per cell (YOLOX).

    The output is ``(1, cells, 5 + classes)``: centre offset and log sides in strides,
    objectness, classes. A score is objectness times the best class.
    """
    (output,) = take_outputs(outputs, card, 1)
    n_labels = len(card.numbered_labels)
    grid = _grid(card)
    check_shape(card, output, (1, len(grid.strides), 5 + n_labels))
    rows = np.flatnonzero(output[0, :, 4] >= card.score_threshold)
    found = output[0, rows]
    scores = found[:, 4:5] * found[:, 5:]
    keep, numbers, scores = strong_pairs(scores, card.score_threshold)
    rows, found = rows[keep], found[keep]
    stride = grid.strides[rows, None]
    centre = (grid.corners[rows] + found[:, :2]) * stride
    sides = np.exp(np.minimum(found[:, 2:4], 20)) * stride
    return from_centres(centre, sides, scores, numbers)


def decode_gfl(outputs: Sequence[np.ndarray], card: Card) -> Candidates:
    """Classes, and each side of a box as a distribution (GFL: NanoDet, PicoDet).

    Per stride one output ``(cells, classes)`` of probabilities and one of logits,
    ``(cells, 4 * bins)``, or one output with both for all strides (NanoDet-Plus). The
    distance from a cell's centre to a side is the mean of the softmax over the bins, in
    strides (Generalized Focal Loss, Li et al. 2020).
    """
    n_labels = len(card.numbered_labels)
    grid = _grid(card)
    flat = [np.reshape(output, (-1, output.shape[-1])) for output in outputs]
    if len(flat) == 1 and len(flat[0]) == len(grid.strides):
        chances, logits = flat[0][:, :n_labels], flat[0][:, n_labels:]
        if not logits.shape[1] or logits.shape[1] % 4:
            expected = f"a cell has {n_labels} classes and 4 x bins numbers"
            raise mismatch(card, expected, f"it has {flat[0].shape[1]} numbers")
    else:
        classes = _by_cells(card, flat, n_labels)
        sides = [one for one in flat if not any(one is other for other in classes)]
        chances = np.concatenate(classes)
        logits = np.concatenate(_by_cells(card, sides, None))
    rows, numbers, scores = strong_pairs(chances, card.score_threshold)
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
    (output,) = take_outputs(outputs, card, 1)
    n_labels, n_anchors = len(card.numbered_labels), len(card.anchors[0]) // 2
    grid = _grid(card)
    output = output.reshape(-1, output.shape[-1])
    check_shape(card, output, (len(grid.strides), 5 * n_anchors + n_labels))
    objectness = output[:, 4 * n_anchors : 5 * n_anchors]
    rows = np.flatnonzero(objectness.reshape(-1) >= card.score_threshold)
    cells, anchors = np.divmod(rows, n_anchors)
    scores = objectness[cells, anchors, None] * output[cells, 5 * n_anchors :]
    keep, numbers, scores = strong_pairs(scores, card.score_threshold)
    cells, anchors = cells[keep], anchors[keep]
    per_stride = np.array(card.anchors, np.float32).reshape(len(card.strides), -1, 2)
    level = np.searchsorted(grid.ends, cells, side="right")
    raw = output[:, : 4 * n_anchors].reshape(-1, n_anchors, 4)[cells, anchors]
    centre = raw[:, :2] * 2 - np.float32(0.5) + grid.corners[cells]
    centre *= grid.strides[cells, None]
    sides = (raw[:, 2:] * 2) ** 2 * per_stride[level, anchors]
    return from_centres(centre, sides, scores, numbers)


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
