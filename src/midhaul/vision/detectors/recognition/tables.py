"""Tables: heads of a single output, rows of detections or one place after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.vision.detectors.recognition.answers import (
    cells_of,
    centres_follow,
    is_whole,
    scores_of,
    unit_of,
)
from midhaul.vision.detectors.recognition.labels import note_labels

if TYPE_CHECKING:
    from midhaul.vision.detectors.recognition.answers import Answered, GridCells
    from midhaul.vision.detectors.recognition.seen import Seen

_SIDES = 4
_CORNERS = ("x1", "y1", "x2", "y2")
_SWAPPED = ("y1", "x1", "y2", "x2")
_ROWS = {
    6: (
        (*_CORNERS, "score", "label"),
        ("label", "score", *_CORNERS),
        (*_CORNERS, "label", "score"),
    ),
    7: (
        ("image", *_CORNERS, "label", "score"),
        ("image", *_CORNERS, "score", "label"),
        ("image", "label", "score", *_CORNERS),
    ),
}
"""Orders of a row's numbers that exporters have."""
_MOST_ROWS = 1000
_BINS = 32  # of NanoDet-Plus: eight for each side
_UNREAD_TASKS = ("segment", "pose")
_ANCHORS = 3


def recognise_table(seen: Seen) -> str:
    """The family of a model with one output that matters; empty if it is of none."""
    one, *others = seen.answers
    counts = [other for other in others if other.array.size <= 1]
    if len(counts) < len(others) and seen.said.task != "segment":
        return ""
    if len(one.shape) == 3 and seen.said.task != "segment":  # noqa: PLR2004
        return _grid(seen, one)
    if one.array.ndim < 2 or len(one.shape) > 2:  # noqa: PLR2004
        return ""
    return _rows(seen, one) or _queries(seen, one) or _places(seen, one)


def _grid(seen: Seen, one: Answered) -> str:
    """One map of objectness, box and classes (FastestDet)."""
    n, rows, columns = one.shape
    if (rows * 16, columns * 16) != (seen.height, seen.width) or n <= _SIDES + 1:
        return ""
    seen.notes.find("shape of the output", decoder="fastestdet", outputs=[one.name])
    note_labels(seen, n - _SIDES - 1)
    return "fastestdet"


def _rows(seen: Seen, one: Answered) -> str:
    """One row for each detection."""
    width, n = one.array.shape[-1], len(one.table)
    extra = 0
    if seen.said.task in _UNREAD_TASKS and width > 6:  # noqa: PLR2004
        extra, width = width - 6, 6
    is_grid = _is_of_grid(seen, n) or _is_of_grid(seen, one.array.shape[-1])
    if width not in _ROWS or n > _MOST_ROWS or is_grid:
        return ""
    if _could_be_queries(seen, one):
        return ""
    notes = seen.notes
    notes.find("shape of the output", decoder="rows", outputs=[one.name])
    family, columns, why = _columns(seen, one.table[:, :width])
    if columns:
        columns = [*columns, *([""] * extra)]
        if why == "values of its rows":
            notes.find(why, columns=columns)
        else:
            notes.assume(why, columns=columns)
    else:
        orders = " or ".join(" ".join(order) for order in _ROWS[width])
        notes.ask("columns", f"what the {width} numbers of a row are, e.g. {orders}")
    begin = columns.index("x1") if columns else 0
    boxes = one.table[:, min(begin, width - _SIDES) :][:, :_SIDES]
    unit = unit_of(boxes)
    if unit:
        notes.find("values of the boxes", box_unit=unit)
    notes.assume("boxes of this form were suppressed in the graph", nms_iou=1.0)
    notes.assume("the model found nothing on a picture; px is usual", box_unit="px")
    note_labels(seen, None)
    if family == "efficientdet":
        notes.assume("usual for efficientdet", first_label=1)
    return family


def _columns(seen: Seen, rows: np.ndarray) -> tuple[str, list[str], str]:
    """Family and order of a row's numbers, and by what; no order if it is unclear."""
    width = rows.shape[1]
    name = seen.facts.outputs[0].name.lower()
    if name.startswith("detections") and width == 7:  # noqa: PLR2004
        order = ["image", *_SWAPPED, "score", "label"]
        return "efficientdet", order, "name of the output: EfficientDet of AutoML"
    is_paddle = bool({"im_shape", "scale_factor"} & {i.name for i in seen.facts.inputs})
    live = rows[(np.abs(rows) > 0).any(axis=1)]
    fitting = [order for order in _ROWS[width] if len(live) and _fits(live, order)]
    if len(fitting) == 1:
        order = list(fitting[0])
        return ("paddle" if is_paddle else "yolo"), order, "values of its rows"
    if is_paddle:
        return "paddle", ["label", "score", *_CORNERS], "usual for PaddleDetection"
    if "graph2_flat" in name:
        order = ["image", *_CORNERS, "score", "label"]
        return "yolo-nas", order, "name of the output: YOLO-NAS"
    usual = list(_ROWS[width][0])
    if width == 6 and (not fitting or tuple(usual) in fitting):  # noqa: PLR2004
        return "yolo", usual, "usual for YOLOv10 and for Ultralytics' NMS"
    return "yolo", [], ""


def _fits(rows: np.ndarray, order: tuple[str, ...]) -> bool:
    """Whether rows can be of an order: whole labels, scores in (0, 1], corners."""
    at = {name: rows[:, place] for place, name in enumerate(order)}
    is_score = bool(((at["score"] > 0) & (at["score"] <= 1)).all())
    is_box = bool(((at["x2"] >= at["x1"]) & (at["y2"] >= at["y1"])).all())
    whole = ("label", "image") if "image" in at else ("label",)
    return is_score and is_box and all(is_whole(at[name]) for name in whole)


def _could_be_queries(seen: Seen, one: Answered) -> bool:
    """Whether it could be boxes and chances of two or three classes as well."""
    n = seen.n_names
    width = one.array.shape[-1]
    if n is None or width != _SIDES + n or seen.said.family not in ("rt_detr", ""):
        return False
    return unit_of(one.table) == "fraction"


def _queries(seen: Seen, one: Answered) -> str:
    """A box and chances for each of a few hundred queries (RT-DETR of Ultralytics)."""
    n, width = one.table.shape
    n_names = seen.n_names
    if n > _MOST_ROWS or _is_of_grid(seen, n) or width <= _SIDES + 1:
        return ""
    if unit_of(one.table[:, :_SIDES]) != "fraction":
        return ""
    if n_names is not None and width != _SIDES + n_names:
        return ""
    notes = seen.notes
    notes.find("shape of the output", decoder="dense", outputs=[one.name])
    notes.find("values of the boxes", box_unit="fraction")
    notes.find("values of the classes", scores=scores_of(one.table[:, _SIDES:]))
    notes.assume("usual for rt-detr", box_order="cxcywh", nms_iou=1.0)
    note_labels(seen, width - _SIDES)
    return "rt-detr"


def _is_of_grid(seen: Seen, n: int) -> bool:
    return cells_of(n, seen.width, seen.height) is not None


def _places(seen: Seen, one: Answered) -> str:
    """Boxes and classes for every place of grids."""
    table = one.table
    by_row = cells_of(len(table), seen.width, seen.height)
    by_column = cells_of(table.shape[1], seen.width, seen.height)
    if by_column is not None and (by_row is None or table.shape[1] > len(table)):
        return _note_places(seen, one, table.T, by_column, is_by_column=True)
    if by_row is None:
        return ""
    return (
        _fastestv2(seen, one, table, by_row)
        or _nanodet_plus(seen, one, table, by_row)
        or _note_places(seen, one, table, by_row, is_by_column=False)
    )


def _fastestv2(seen: Seen, one: Answered, table: np.ndarray, cells: GridCells) -> str:
    """Three anchors that share their classes, strides of 16 and 32."""
    n_classes = table.shape[1] - _ANCHORS * (_SIDES + 1)
    if cells.strides != (16, 32) or cells.anchors != 1:
        return ""
    if n_classes != (seen.n_names or 80):
        return ""
    notes = seen.notes
    notes.find(
        "shape of the output",
        decoder="yolo-fastestv2",
        strides=list(cells.strides),
        outputs=[one.name],
    )
    what = "widths and heights of three anchors for each stride, from its configuration"
    notes.ask("anchors", what)
    note_labels(seen, n_classes)
    return "yolo-fastestv2"


def _nanodet_plus(
    seen: Seen, one: Answered, table: np.ndarray, cells: GridCells
) -> str:
    """Classes and distributions of all strides in one table."""
    n_classes = table.shape[1] - _BINS
    if cells.strides != (8, 16, 32, 64) or n_classes != (seen.n_names or 80):
        return ""
    notes = seen.notes
    notes.find(
        "shape of the output",
        decoder="gfl",
        strides=list(cells.strides),
        outputs=[one.name],
    )
    note_labels(seen, n_classes)
    return "nanodet-plus"


def _note_places(
    seen: Seen,
    one: Answered,
    table: np.ndarray,
    cells: GridCells,
    *,
    is_by_column: bool,
) -> str:
    notes = seen.notes
    n_behind = table.shape[1] - _SIDES
    objectness = _has_objectness(seen, n_behind, cells, is_by_column=is_by_column)
    if objectness is None:
        notes.ask(
            "objectness", "whether the fifth number of a place scales its classes"
        )
        objectness = False
    extra = 0
    if seen.said.task in _UNREAD_TASKS and seen.n_names is not None:
        extra = max(0, n_behind - objectness - seen.n_names)
        notes.find(f"task {seen.said.task}", extra_values=extra)
    n_classes = n_behind - objectness - extra
    follows = centres_follow(table[:, :2], cells.strides, seen.width, seen.height)
    note_labels(seen, n_classes)
    is_raw = cells.anchors == 1 and not is_by_column and objectness and not follows
    if is_raw and np.abs(table[:, :2]).max(initial=0) > 0:
        notes.find(
            "centres do not follow the grid: offsets of cells",
            decoder="yolox",
            strides=list(cells.strides),
            outputs=[one.name],
        )
        return "yolox"
    notes.find(
        "shape of the output",
        decoder="dense",
        objectness=objectness,
        outputs=[one.name],
    )
    unit = follows or unit_of(table[:, :_SIDES])
    if unit:
        notes.find("values of the boxes", box_unit=unit)
    notes.assume("usual for yolo", box_unit="px", box_order="cxcywh")
    classes = table[:, _SIDES : _SIDES + objectness + n_classes]
    notes.find("values of the classes", scores=scores_of(classes))
    return "yolo"


def _has_objectness(
    seen: Seen, n_behind: int, cells: GridCells, *, is_by_column: bool
) -> bool | None:
    """Whether a number of a place scales its classes; None if that is unclear."""
    if "objectness" in seen.notes.given:
        return bool(seen.notes.given["objectness"])
    n_names = seen.n_names
    if n_names is not None and seen.said.task not in _UNREAD_TASKS:
        return n_behind == n_names + 1
    if cells.anchors == _ANCHORS:
        return True
    if is_by_column:
        return False
    return {80: False, 81: True}.get(n_behind)
