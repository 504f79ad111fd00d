"""Heads: the family of a model and its decoder, by shapes and values of its outputs.

Each function here knows one form of answer. It settles the keys of the card that read
it, and gives the family by which models of that form are usually fed; empty if the
answer has another form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import DataError
from midhaul.vision.detectors.recognition.answers import (
    Answered,
    cells_of,
    is_softmax,
    is_whole,
    scores_of,
    unit_of,
)
from midhaul.vision.detectors.recognition.labels import note_labels
from midhaul.vision.detectors.recognition.tables import recognise_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midhaul.vision.detectors.recognition.seen import Seen

_SIDES = 4
_SOFTMAX_TYPES = frozenset({"detr", "yolos", "table-transformer"})
_FINAL = "boxes of this form were suppressed in the graph"


def recognise_head(seen: Seen) -> str:
    """The family of a model; DataError if its answer has no form that is known."""
    for recognise in (
        _boxes_labels_scores,
        _rows_and_labels,
        _boxes_and_classes,
        _distributions,
        recognise_table,
    ):
        family = recognise(seen)
        if family:
            return family
    shapes = "; ".join(one.text for one in seen.facts.outputs)
    message = (
        f"{seen.facts.file} answers in a form that midhaul does not know: {shapes}"
    )
    hint = (
        "export it with its boxes decoded, and with NMS if it can, or write a "
        "card with decoder; docs/how-to/use-my-onnx-model.md lists the forms"
    )
    raise DataError(message, hint)


def _boxes_labels_scores(seen: Seen) -> str:
    """An output each for boxes, labels and scores, and perhaps one for their number."""
    boxes = next((one for one in seen.answers if _has_boxes(one)), None)
    if boxes is None:
        return ""
    n = boxes.array.size // _SIDES
    others = [one for one in seen.answers if one is not boxes]
    count = next((one for one in others if "num" in one.name.lower()), None)
    if count is None and n != 1:
        count = next((one for one in others if one.array.size == 1), None)
    flat = [
        one
        for one in others
        if one is not count and one.array.size == n and not _has_boxes(one)
    ]
    if len(flat) != len(("labels", "scores")) or len(seen.answers) > 4:  # noqa: PLR2004
        return ""
    notes = seen.notes
    notes.find("shapes of the outputs", decoder="boxes")
    labels, scores, why = _told_apart(flat)
    if labels is not None and scores is not None:
        names = [boxes.name, labels.name, scores.name]
        names += [count.name] if count is not None else []
        notes.find(why, outputs=names)
    else:
        both = " and ".join(one.name for one in flat)
        notes.ask("outputs", f"boxes, labels, scores: which of {both} are labels")
    notes.assume(_FINAL, nms_iou=1.0)
    return _note_boxes_style(seen, boxes, has_count=count is not None)


def _has_boxes(one: Answered) -> bool:
    return one.array.ndim > 1 and one.array.shape[-1] == _SIDES and not one.is_whole


def _told_apart(
    flat: Sequence[Answered],
) -> tuple[Answered | None, Answered | None, str]:
    """Labels and scores of two outputs, and by what."""
    for first, second in (flat, list(reversed(flat))):
        low = first.name.lower()
        if "class" in low or "label" in low or "score" in second.name.lower():
            return first, second, "names of the outputs"
    for first, second in (flat, list(reversed(flat))):
        if first.is_whole and not second.is_whole:
            return first, second, "types of the outputs"
    if all("PostProcess" in one.name for one in flat):
        return flat[0], flat[1], "the order of TensorFlow Lite's last operator"
    for first, second in (flat, list(reversed(flat))):
        if is_whole(first.array) and not is_whole(second.array):
            return first, second, "values of the outputs"
    return None, None, ""


def _note_boxes_style(seen: Seen, boxes: Answered, *, has_count: bool) -> str:
    """Order and unit of boxes, and the number of the first label, by who makes them."""
    notes, low = seen.notes, boxes.name.lower()
    family, order, first = "", "", 0
    if seen.facts.kind == "tflite" or "detection_boxes" in low:
        family, order = "tensorflow", "yxyx"
        first = 0 if seen.facts.kind == "tflite" else 1
    elif "orig_target_sizes" in notes.values.get("other_inputs", {}):
        family, order = "rt-detr", "xyxy"
    elif notes.values.get("layout") == "chw":
        family, order, first = "torchvision", "xyxy", 1
    elif has_count and ("det" in low or "pred" in low):
        family = "yolo-nas" if "pred" in low else "yolo"
        order = "xyxy"
    if family:
        notes.assume(f"usual for {family}", box_order=order, first_label=first)
    else:
        notes.ask("box_order", "order of the four numbers of a box: xyxy, yxyx, …")
    unit = unit_of(boxes.array)
    if unit:
        notes.find("values of the boxes", box_unit=unit)
    elif family:
        usual = "fraction" if family == "tensorflow" else "px"
        notes.assume(f"usual for {family}", box_unit=usual)
    else:
        notes.ask("box_unit", "px of the input, or fraction; the model found nothing")
    note_labels(seen, None)
    return family or "boxes"


def _rows_and_labels(seen: Seen) -> str:
    """Rows of a box and a score, and labels beside them (MMDeploy)."""
    if len(seen.answers) < len(("rows", "labels")):
        return ""
    rows, labels = seen.answers[:2]
    if rows.array.shape[-1:] != (_SIDES + 1,) or not labels.is_whole:
        return ""
    if labels.array.size != rows.array.size // (_SIDES + 1):
        return ""
    notes = seen.notes
    notes.find(
        "shapes of the outputs",
        decoder="rows",
        columns=["x1", "y1", "x2", "y2", "score"],
        outputs=[rows.name, labels.name],
    )
    unit = unit_of(rows.table[:, :_SIDES])
    if unit:
        notes.find("values of the boxes", box_unit=unit)
    notes.assume(_FINAL, nms_iou=1.0, box_unit="px")
    note_labels(seen, None)
    return "mmdeploy"


def _boxes_and_classes(seen: Seen) -> str:
    """Boxes of all places, and for each a number of every class."""
    boxes = [one for one in seen.answers if _has_boxes(one)]
    if len(boxes) > 1:  # four classes look like boxes
        boxes = [one for one in boxes if "box" in one.name.lower()]
    if not boxes or len(seen.answers) < len(("boxes", "classes")):
        return ""
    n = len(boxes[0].table)
    tables = [
        one
        for one in seen.answers
        if one is not boxes[0] and len(one.shape) == 2 and n in one.shape  # noqa: PLR2004
    ]
    if len(tables) != 1:
        return ""
    (classes,) = tables
    is_by_column = classes.shape[0] != n
    table = classes.table.T if is_by_column else classes.table
    notes = seen.notes
    notes.find(
        "shapes of the outputs", decoder="dense", outputs=[boxes[0].name, classes.name]
    )
    unit = unit_of(boxes[0].table)
    if unit:
        notes.find("values of the boxes", box_unit=unit)
    notes.ask("box_unit", "px of the input, or fraction; all boxes are empty")
    family = _note_scores(seen, table, n, is_by_column=is_by_column)
    _note_order(seen, boxes[0].table, family)
    return family


def _note_scores(seen: Seen, table: np.ndarray, n: int, *, is_by_column: bool) -> str:
    """What makes chances of the classes, and the family that follows from it."""
    notes, said = seen.notes, seen.said.family.replace("-", "_")
    are_queries = bool(said) or "logits" in notes.values.get("outputs", [])
    is_grid = not are_queries and cells_of(n, seen.width, seen.height) is not None
    scores = scores_of(table)
    family = ("paddle" if is_by_column else "yolo-nas") if is_grid else "rt-detr"
    if scores == "chances":
        notes.find("values of the classes", scores="chances")
    elif said:
        scores = "softmax" if seen.said.family in _SOFTMAX_TYPES else "logits"
        notes.find(f"{seen.said.family} in config.json", scores=scores)
    else:
        guess = is_softmax(table)
        if guess is None:
            notes.ask("scores", "what makes chances of logits: logits or softmax")
        else:
            scores = "softmax" if guess else "logits"
            notes.find("what most places answer", scores=scores)
    scores = notes.given.get("scores", notes.values.get("scores", scores))
    if scores == "softmax" or ("detr" in said and not said.startswith("rt_detr")):
        family = "detr"
    if not is_grid:
        notes.assume("each query answers one thing", nms_iou=1.0)
    note_labels(seen, table.shape[1] - (scores == "softmax"))
    return family


def _note_order(seen: Seen, boxes: np.ndarray, family: str) -> None:
    """Corners, or centre and sides: whose second numbers are larger are corners."""
    notes = seen.notes
    ordered = (boxes[:, 2] >= boxes[:, 0]) & (boxes[:, 3] >= boxes[:, 1])
    if family == "detr" or "pred_boxes" in notes.values.get("outputs", [""])[0]:
        notes.assume("usual for DETR", box_order="cxcywh")
    elif np.ptp(boxes) == 0:
        notes.ask("box_order", "order of the four numbers of a box")
    else:
        order = "xyxy" if ordered.all() else "cxcywh"
        notes.find("values of the boxes", box_order=order)


def _distributions(seen: Seen) -> str:
    """Per stride classes and distributions of sides (GFL: NanoDet, PicoDet)."""
    tables = [one.table for one in seen.answers]
    for strides in ((8, 16, 32), (8, 16, 32, 64)):
        if len(tables) != 2 * len(strides):
            continue
        pairs = [
            [t for t in tables if len(t) == -(-seen.width // s) * -(-seen.height // s)]
            for s in strides
        ]
        if any(len(pair) != 2 for pair in pairs):  # noqa: PLR2004
            continue
        chances = [[t for t in pair if scores_of(t) == "chances"] for pair in pairs]
        widths = {t.shape[1] for found in chances for t in found}
        if len(widths) != 1 or any(len(found) != 1 for found in chances):
            continue
        notes = seen.notes
        notes.find("shapes of the outputs", decoder="gfl", strides=list(strides))
        note_labels(seen, widths.pop())
        return "nanodet" if len(strides) == 3 else "picodet"  # noqa: PLR2004
    return ""
