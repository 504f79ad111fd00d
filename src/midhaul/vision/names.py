"""Label sets: reading them, and bringing detections to a data set's own."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import DataError
from midhaul.model import Detections
from midhaul.vision.files import read_text

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

_SAME = (
    ("airplane", "aeroplane"),
    ("couch", "sofa"),
    ("dining table", "diningtable"),
    ("motorcycle", "motorbike"),
    ("potted plant", "pottedplant"),
    ("tv", "tvmonitor"),
)
"""Names that COCO and Pascal VOC give to the same class."""


def names_given(names: Sequence[str], where: str = "data.names") -> tuple[str, ...]:
    """A label set, checked: not empty, no name twice.

    Raises:
        DataError: it is empty, or a name is repeated.
    """
    cleaned = tuple(n.strip() for n in names)
    if not cleaned or not all(cleaned):
        message = f"{where} must hold at least one name and no empty one"
        raise DataError(message, "give one name per class")
    if repeated := [n for n, count in Counter(cleaned).items() if count > 1]:
        message = f"{where}: {', '.join(repeated[:3])} is there more than once"
        raise DataError(message, "give every class a name of its own")
    return cleaned


def names_from_file(file: Path) -> tuple[str, ...]:
    """A label set from a file with one name per line; blank ends do not count.

    Raises:
        DataError: the file cannot be read or holds no label set.
    """
    return names_given(read_text(file).strip().splitlines(), str(file))


def map_labels(
    detections: Detections, names: tuple[str, ...]
) -> tuple[Detections, dict[str, int]]:
    """Detections with a data set's labels, and what it has no label for.

    Labels are matched by name; the names that differ between COCO and Pascal VOC are
    known to be the same.

    Args:
        detections: with the detector's own labels.
        names: the label set of the data set.

    Returns:
        The detections whose label the data set knows, in the same order, and how many
        there were of each other label.
    """
    if detections.names == names:
        return detections, {}
    index = _index(names)
    table = np.array([index.get(n, -1) for n in detections.names], np.int32)
    mapped = table[detections.labels]
    known = mapped >= 0
    unknown = Counter(detections.names[i] for i in detections.labels[~known].tolist())
    kept = Detections(
        boxes=detections.boxes[known],
        scores=detections.scores[known],
        labels=mapped[known],
        names=names,
    )
    return kept, dict(sorted(unknown.items()))


def unknown_labels(names: tuple[str, ...], known: Collection[str]) -> tuple[str, ...]:
    """The names of a data set that stand for none of a detector's labels."""
    index = _index(tuple(known))
    return tuple(n for n in names if n not in index)


def _index(names: tuple[str, ...]) -> dict[str, int]:
    """The place of every name, and of the other name of the same class."""
    index = {n: i for i, n in enumerate(names)}
    for pair in _SAME:
        for name, other in (pair, pair[::-1]):
            if name in index and other not in index:
                index[other] = index[name]
    return index
