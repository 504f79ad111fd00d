"""Detections of other libraries: supervision's, and lists of COCO's results.

Nothing of theirs is imported; what has the attributes of ``supervision.Detections``
counts as such. A list of COCO's results is what ``json.load`` makes of a results file:
mappings with ``image_id``, ``category_id``, ``bbox`` (x, y, width, height in px) and
``score``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast, runtime_checkable

import numpy as np

from midhaul.errors import DataError, name_some
from midhaul.model import Detections

if TYPE_CHECKING:
    from midhaul.vision.data.dataset import Dataset


@runtime_checkable
class SupervisionDetections(Protocol):
    """What is read of ``supervision.Detections``."""

    xyxy: Any
    confidence: Any
    class_id: Any
    data: Any


CocoResults: TypeAlias = Sequence[Mapping[str, Any]]
"""A list of COCO's results."""

DetectionsLike: TypeAlias = Detections | SupervisionDetections | CocoResults
"""What is taken where detections of one image are."""

Names: TypeAlias = Sequence[str] | Mapping[Any, str]
"""A label by class number or category id."""


def as_detections(found: DetectionsLike, names: Names | None = None) -> Detections:
    """Detections of one image, whichever library they come from.

    Args:
        found: midhaul's own (which are given back as they are), supervision's, or a
            list of COCO's results of one image.
        names: the label of each class number or category id. Where it is absent,
            supervision's own ``class_name`` is taken, else the number is the label.

    Raises:
        DataError: they have no scores or no classes, a class has no name, an entry is
            none, or they are of several images.
    """
    if isinstance(found, Detections):
        return found
    if isinstance(found, SupervisionDetections):
        return _of_supervision(found, names)
    entries = _entries(found)
    if len(images := {_text(entry[0]) for entry in entries}) > 1:
        found_images = name_some("image", sorted(images))
        message = f"expected results of one image, found those of {found_images}"
        raise DataError(message, "give the results of one image at a time")
    return _of_entries(entries, names)


def as_predictions(
    found: Mapping[str, DetectionsLike] | CocoResults,
    dataset: Dataset,
    names: Names | None = None,
) -> dict[str, Detections]:
    """Detections for the images of a data set, by image id.

    That is detections by image id, or a list of COCO's results, in which an image
    without an entry is one on which nothing was found. ``names`` has the label of each
    class number or category id; the data set's own category ids by default. DataError
    if an entry is none, or no entry is of the data set.
    """
    known = names if names is not None else (dataset.categories or None)
    if isinstance(found, Mapping):
        return {image: as_detections(one, known) for image, one in found.items()}
    entries = _entries(found)
    if entries and known is None:
        message = f"{dataset.name} has no category ids that the results could name"
        raise DataError(message, "name them: names={1: 'person', 2: 'bicycle'}")
    by_image: dict[str, list[_Entry]] = {image: [] for image in dataset.image_ids}
    for entry in entries:
        by_image.setdefault(_text(entry[0]), []).append(entry)
    if entries and not any(by_image[image] for image in dataset.image_ids):
        other = sorted(set(by_image) - set(dataset.image_ids))
        message = f"no result is of {dataset.name}, but of {name_some('image', other)}"
        raise DataError(message, "use the results of this data set")
    return {image: _of_entries(one, known) for image, one in by_image.items()}


_Entry: TypeAlias = tuple[object, object, list[float], float]
"""Image, category, corners and score."""

_N_NUMBERS = 4


def _entries(found: object) -> list[_Entry]:
    """The entries of a list of COCO's results; DataError if it is something else."""
    if not isinstance(found, Sequence) or isinstance(found, str | bytes):
        message = (
            "expected Detections, supervision.Detections or a list of COCO's results, "
            f"found a {type(found).__name__}"
        )
        raise DataError(message)
    read: list[_Entry] = []
    for number, one in enumerate(cast("Sequence[Any]", found)):
        try:
            x, y, width, height = (float(value) for value in one["bbox"])
            corners = [x, y, x + width, y + height]
            read.append(
                (one.get("image_id"), one["category_id"], corners, float(one["score"]))
            )
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            message = f"entry {number} is no result of COCO's: {error!r}"
            hint = "category_id, bbox (x, y, width, height) and score are needed"
            raise DataError(message, hint) from error
    return read


def _of_entries(entries: Sequence[_Entry], names: Names | None) -> Detections:
    labels, label_set = _labels([category for _, category, _, _ in entries], names)
    boxes = np.array([box for _, _, box, _ in entries], np.float64)
    return Detections(
        boxes=boxes.reshape(-1, _N_NUMBERS),
        scores=np.array([score for _, _, _, score in entries], np.float64),
        labels=labels,
        names=label_set,
    )


def _of_supervision(found: SupervisionDetections, names: Names | None) -> Detections:
    boxes = np.asarray(found.xyxy, np.float32).reshape(-1, _N_NUMBERS)
    for what, value in (("confidence", found.confidence), ("class_id", found.class_id)):
        if value is None and len(boxes):
            message = f"these detections have no {what}"
            raise DataError(message, f"midhaul needs a {what} for each box")
    numbers = [] if found.class_id is None else np.asarray(found.class_id).tolist()
    said = (found.data or {}).get("class_name")
    if names is None and said is not None:
        names = dict(zip(numbers, (str(name) for name in said), strict=True))
    labels, label_set = _labels(numbers, names)
    scores = [] if found.confidence is None else found.confidence
    return Detections(
        boxes=boxes,
        scores=np.asarray(scores, np.float32),
        labels=labels,
        names=label_set,
    )


def _labels(
    classes: Sequence[object], names: Names | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The label of each box, and the label set; DataError if a class has no name."""
    if names is None:
        known = {_text(one): _text(one) for one in classes}
    elif isinstance(names, Mapping):
        pairs = cast("Mapping[object, str]", names).items()
        known = {_text(key): name for key, name in pairs}
    else:
        known = {str(number): name for number, name in enumerate(names)}
    label_set = tuple(dict.fromkeys(known.values()))
    index = {name: place for place, name in enumerate(label_set)}
    if unknown := sorted({_text(one) for one in classes} - set(known)):
        message = f"{name_some('class', unknown)} of the detections: there is no name"
        raise DataError(message, "give the label of each as names={1: 'person'}")
    found = [index[known[_text(one)]] for one in classes]
    return np.array(found, np.int32), label_set


def _text(value: object) -> str:
    """An id as text: a whole number is one however it is written."""
    is_whole = isinstance(value, float) and value.is_integer()
    return str(int(cast("float", value))) if is_whole else str(value)
