"""The truth of people in a file of its own: Parquet, or COCO's annotations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import DataError
from midhaul.federation.problem import Answers
from midhaul.federation.readers.columns import Columns
from midhaul.federation.readers.parts import Truth

if TYPE_CHECKING:
    from pathlib import Path

    from midhaul.federation.problem import Task
    from midhaul.federation.readers.parts import WordList

META = b"midhaul.recording"
"""Key of a file's metadata for what rows cannot say, such as the order of names."""

CORNERS = ("x1", "y1", "x2", "y2")
"""Columns of a box."""

_FLAGS = ("difficult", "is_ignored", "is_missing")


def read_truth(file: Path, *, task: Task, words: WordList) -> Truth:
    """Read a truth.

    Args:
        file: Parquet with columns ``item`` (or ``image_id``) and ``label``; ``x1 y1 x2
            y2`` in px for boxes; ``width``, ``height``, ``difficult`` (or
            ``is_ignored``) where known. A row without a label stands for an item that
            nothing is on, and with ``is_missing`` for one that nobody judged. Or COCO's
            annotations, whose name ends in ``.json``.
        task: what an answer is.
        words: the label set, which grows by the words of the truth.

    Raises:
        DataError: the file or a column is missing.
    """
    if file.suffix == ".json":
        return _read_coco(file, task, words)
    has_truth = Columns(file, ()).meta(META).get("has_truth") is not False
    corners = CORNERS if task == "boxes" and has_truth else ()
    columns = Columns(
        file, ("row", "item", "image_id", "label", "width", "height", *_FLAGS, *corners)
    )
    columns.require("label", *corners)
    items = columns.codes(*columns.keys())
    labels = columns.codes("label")
    if (items.codes < 0).any():
        message = f"{file}: an item is null"
        raise DataError(message, "every row of a truth needs its item")
    n = len(items.texts)
    if not has_truth:
        return Truth(items=items.texts, sizes_px=_sizes(columns, items.codes, n))
    missing = np.zeros(n, bool)
    missing[items.codes[columns.flags("is_missing")]] = True
    said = np.flatnonzero(labels.codes >= 0)
    boxes = None
    if corners:
        boxes = np.stack([columns.numbers(name)[said] for name in corners], axis=1)
        boxes = boxes.astype(np.float32)
    ignored = columns.flags("difficult") | columns.flags("is_ignored")
    return Truth(
        items=items.texts,
        answers=Answers.of_rows(
            items.codes[said],
            n,
            words.numbers(labels.texts)[labels.codes[said]],
            np.ones(len(said), np.float32),
            boxes,
            is_missing=missing,
            is_ignored=ignored[said],
        ),
        sizes_px=_sizes(columns, items.codes, n),
    )


def _sizes(columns: Columns, codes: np.ndarray, n: int) -> np.ndarray | None:
    if not (columns.has("width") and columns.has("height")):
        return None
    sizes = np.full((n, 2), np.nan, np.float32)
    sizes[codes, 0] = columns.numbers("width")
    sizes[codes, 1] = columns.numbers("height")
    return sizes


def _read_coco(file: Path, task: Task, words: WordList) -> Truth:
    """Boxes of COCO's annotations; as tags, the labels that are on an image."""
    from midhaul.vision.coco import read_annotations  # noqa: PLC0415 - needs Pillow

    if task == "labels":
        message = f"{file} has any number of labels for an image, not one"
        raise DataError(message, "set the task to boxes or tags")
    found = read_annotations(file)
    words.fix(found.names)
    table = words.numbers(found.names)
    items = tuple(found.truth)
    truths = list(found.truth.values())
    of_item = np.repeat(np.arange(len(items)), [len(truth) for truth in truths])
    labels = table[np.concatenate([truth.labels for truth in truths])]
    boxes = np.concatenate([truth.boxes for truth in truths])
    ignored = np.concatenate([truth.is_crowd for truth in truths])
    if task == "tags":
        first = np.unique(of_item * len(table) + labels, return_index=True)[1]
        of_item, labels, boxes = of_item[first], labels[first], None
        ignored = np.zeros(len(first), bool)
    return Truth(
        items=items,
        answers=Answers.of_rows(
            of_item,
            len(items),
            labels,
            np.ones(len(labels), np.float32),
            boxes,
            is_ignored=ignored,
        ),
        sizes_px=np.array([found.sizes[item] for item in items], np.float32),
        files=tuple(found.places[item][1] for item in items),
        tallies=found.tallies,
    )
