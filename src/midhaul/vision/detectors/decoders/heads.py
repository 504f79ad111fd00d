"""Decoders of heads that end in boxes: dense, rows, and boxes with labels and scores.

*Dense*: the box and the chance of every class for each place, before suppression
(YOLOv5 to v12, YOLO-NAS, PP-YOLOE), or for each query (DETR, RT-DETR). *Rows*: one
table with a row for each detection (YOLOv10, NMS in the graph). *Boxes*: an output each
for boxes, labels and scores (TensorFlow, torchvision, TensorRT's NMS).

Boxes have the card's order and unit on the way in, and are corners in that unit on the
way out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.vision.detectors.decoders.candidates import (
    Candidates,
    mismatch,
    sigmoid,
    strong_pairs,
    strongest,
    take_outputs,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midhaul.vision.detectors.card import Card

_SIDES = 4


def decode_dense(outputs: Sequence[np.ndarray], card: Card) -> Candidates:
    """A box and a score for every class, for each of many places.

    One output has both, place by row or by column: four numbers of the box, objectness
    where the card says so, classes, then what is not read. Or there are two outputs,
    boxes and classes. A score is the class times the objectness; of a softmax, whose
    last class may be *nothing*, only the best class of a place counts (DETR, Carion et
    al. 2020, section 3.1).
    """
    boxes, objectness, classes = _dense_parts(outputs, card)
    if card.scores == "softmax":
        places, numbers, scores = _best_of_softmax(classes, card)
    elif objectness is not None:
        if card.scores == "logits":
            objectness = sigmoid(objectness)
        likely = np.flatnonzero(objectness >= card.score_threshold)
        chances = classes[likely]
        if card.scores == "logits":
            chances = sigmoid(chances)
        table = objectness[likely, None] * chances
        rows, numbers, scores = strong_pairs(table, card.score_threshold)
        places = likely[rows]
    else:
        places, numbers, scores = _strong_classes(classes, card)
    return Candidates(
        boxes=as_corners(boxes[places], card.box_order),
        scores=scores.astype(np.float32),
        numbers=numbers.astype(np.int32),
    )


def decode_rows(outputs: Sequence[np.ndarray], card: Card) -> Candidates:
    """One row for each detection, its numbers in the order of the card's ``columns``.

    Labels may be an output of their own (MMDeploy). Rows of other images of a batch are
    not read.
    """
    names = card.columns
    rows = take_outputs(outputs, card, 1)[0]
    if rows.shape[-1] != len(names):
        expected = f"a row has {len(names)} numbers"
        raise mismatch(card, expected, f"the output has shape {rows.shape}")
    rows = rows.reshape(-1, len(names)).astype(np.float32)
    if "label" in names:
        numbers = rows[:, names.index("label")]
    else:
        numbers = take_outputs(outputs, card, 2)[1].reshape(-1)
        if len(numbers) != len(rows):
            expected = f"there is a label for each of {len(rows)} rows"
            raise mismatch(card, expected, f"there are {len(numbers)}")
    scores = rows[:, names.index("score")]
    keep = strongest(scores, card.score_threshold)
    if "image" in names:
        keep = keep[np.rint(rows[keep, names.index("image")]) == 0]
    sides = _sides_of(names)
    order = {"x1": "xyxy", "cx": "cxcywh"}[sides[0]]
    order = "xywh" if sides[2] == "w" and order == "xyxy" else order
    boxes = rows[keep][:, [names.index(side) for side in sides]]
    return Candidates(
        boxes=as_corners(boxes, order),
        scores=scores[keep],
        numbers=np.rint(numbers[keep]).astype(np.int32),
    )


def decode_boxes(outputs: Sequence[np.ndarray], card: Card) -> Candidates:
    """Graphs that already end in boxes, labels and scores, in the card's order.

    A fourth output says how many of them there are; what follows is not read.
    """
    boxes, numbers, scores = take_outputs(outputs, card, 3)[:3]
    boxes = boxes.reshape(-1, _SIDES).astype(np.float32)
    scores = scores.reshape(-1).astype(np.float32)
    numbers = numbers.reshape(-1)
    if not len(boxes) == len(scores) == len(numbers):
        raise mismatch(
            card,
            "the outputs are boxes, labels and scores",
            f"they hold {len(boxes)}, {len(numbers)} and {len(scores)} entries",
        )
    if len(card.outputs) > len(("boxes", "labels", "scores")):
        n = int(np.ravel(outputs[3])[0])
        boxes, scores, numbers = boxes[:n], scores[:n], numbers[:n]
    keep = strongest(scores, card.score_threshold)
    return Candidates(
        boxes=as_corners(boxes[keep], card.box_order),
        scores=scores[keep],
        numbers=np.rint(numbers[keep]).astype(np.int32),
    )


def as_corners(boxes: np.ndarray, order: str) -> np.ndarray:
    """Boxes ``(n, 4)`` in an order of a card as x1, y1, x2, y2."""
    boxes = boxes.astype(np.float32)
    if order == "yxyx":
        return boxes[:, [1, 0, 3, 2]]
    if order == "xyxy":
        return boxes
    low, sides = boxes[:, :2], boxes[:, 2:]
    if order == "cxcywh":
        low = low - sides / 2
    return np.concatenate([low, low + sides], axis=1)


def _sides_of(names: Sequence[str]) -> tuple[str, ...]:
    first = ("x1", "y1") if "x1" in names else ("cx", "cy")
    last = ("x2", "y2") if "x2" in names else ("w", "h")
    return (*first, *last)


def _dense_parts(
    outputs: Sequence[np.ndarray], card: Card
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Boxes ``(n, 4)``, objectness ``(n,)`` and classes ``(n, classes)``, as views."""
    n_classes = card.first_label + len(card.numbered_labels)
    first = _flat(outputs[0])
    if len(outputs) > 1:
        boxes, classes = first, _flat(outputs[1])
        if len(classes) != len(boxes) and classes.shape[1] == len(boxes):
            classes = classes.T
        is_softmax = card.scores == "softmax"
        counts = (n_classes, n_classes + 1) if is_softmax else (n_classes,)
        fits = boxes.shape[1] == _SIDES and len(classes) == len(boxes)
        if not fits or classes.shape[1] not in counts:
            raise mismatch(
                card,
                f"the outputs are boxes (n, 4) and classes (n, {n_classes})",
                f"they have shapes {outputs[0].shape} and {outputs[1].shape}",
            )
        return boxes, None, classes
    begin = _SIDES + card.objectness
    width = begin + n_classes + card.extra_values
    if first.shape[1] != width:
        first = first.T
    if first.shape[1] != width:
        raise mismatch(
            card,
            f"a place has {width} numbers for {n_classes} classes",
            f"the output has shape {outputs[0].shape}",
        )
    objectness = first[:, _SIDES] if card.objectness else None
    return first[:, :_SIDES], objectness, first[:, begin : begin + n_classes]


def _flat(output: np.ndarray) -> np.ndarray:
    """An output without its batch axis, in single precision."""
    flat = output.reshape(output.shape[-2:]) if output.ndim > 1 else output[None]
    return flat.astype(np.float32, copy=False)


def _strong_classes(
    classes: np.ndarray, card: Card
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Place, class and score of what reaches the threshold."""
    threshold = card.score_threshold
    is_logit = card.scores == "logits"
    if is_logit:
        threshold = -np.inf if threshold <= 0 else np.log(threshold / (1 - threshold))
    if classes.T.flags.c_contiguous:  # so that nothing is copied
        numbers, places, scores = strong_pairs(classes.T, threshold)
    else:
        places, numbers, scores = strong_pairs(classes, threshold)
    return places, numbers, sigmoid(scores) if is_logit else scores


def _best_of_softmax(
    logits: np.ndarray, card: Card
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    chances = weights / weights.sum(axis=1, keepdims=True)
    chances = chances[:, : card.first_label + len(card.numbered_labels)]
    numbers = chances.argmax(axis=1)
    scores = chances[np.arange(len(chances)), numbers]
    places = strongest(scores, card.score_threshold)
    return places, numbers[places], scores[places]
