"""Replays detections that other programs wrote: COCO results, YOLO texts and CSV.

``replay:FILE`` is one of

- a list of COCO's results, also ``predictions.json`` of Ultralytics: ``image_id``,
  ``category_id``, ``bbox`` (x, y, width, height in px), ``score``;
- a folder of YOLO's texts with confidences: ``class cx cy width height score``, all
  but the class and the score as shares of the image;
- a CSV file with the columns ``image_id``, ``label``, ``score``, ``x1``, ``y1``,
  ``x2``, ``y2``, in px.

Images are found by their id; a number is the same however many zeros lead it, and a
base name will do where it is clear.
"""

from __future__ import annotations

import csv
import io
import math
import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from midhaul.errors import ConfigError, DataError, choice_hint
from midhaul.model import Detections
from midhaul.vision.data.files import read_bytes, read_json, read_text
from midhaul.vision.data.names import names_from_file
from midhaul.vision.detectors.card import COCO80, coco91
from midhaul.vision.detectors.detector import Stated

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from midhaul.vision.images.image import Pixels

_COLUMNS = ("image_id", "label", "score", "x1", "y1", "x2", "y2")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayRow:
    """One box of a file.

    Attributes:
        image: id or name of its image.
        label: name of its class.
        score: in [0, 1].
        box: corners, in px of the image or as shares of it.
    """

    image: str
    label: str
    score: float
    box: tuple[float, float, float, float]


class ReplayDetector:
    """Looks an image's answer up by its id.

    Boxes are shares of the image where ``is_share``. An image that the file does not
    name is an error, unless ``missing_is_empty`` says that nothing was found there.
    """

    def __init__(
        self,
        name: str,
        rows: list[ReplayRow],
        names: tuple[str, ...],
        *,
        is_share: bool,
        missing_is_empty: bool,
        empty: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.names = names
        self.caveat = "replayed detections: no service time"
        self._is_share = is_share
        self._missing_is_empty = missing_is_empty
        found: dict[str, list[ReplayRow]] = {image: [] for image in empty}
        for row in rows:
            found.setdefault(row.image, []).append(row)
        index = {label: number for number, label in enumerate(names)}
        self._answers = {
            image: _detections(some, names, index) for image, some in found.items()
        }
        self._aliases = _aliases(self._answers)

    def detect(self, pixels: Pixels, *, image_id: str = "") -> Detections:
        """Replay the answer to ``image_id``; see :class:`Detector`.

        DataError if the file does not name the image, or a box lies outside of it.
        """
        height, width = pixels.shape[:2]
        key = next((k for k in _keys(image_id) if k in self._aliases), None)
        found = self._answers[self._aliases[key]] if key is not None else None
        if found is None and self._missing_is_empty:
            found = _detections([], self.names, {})
        if found is None:
            message = f"{self.name} has no detections of image {image_id!r}"
            known = ", ".join(list(self._answers)[:3])
            hint = f"it names {known}; add missing=empty if nothing was found there"
            raise DataError(message, hint)
        boxes = found.boxes
        if self._is_share:
            boxes = boxes * np.array([width, height] * 2)
        elif len(boxes) and (boxes[:, :2].max(axis=0) > [width, height]).any():
            message = (
                f"{self.name}: a box of image {image_id!r} begins outside of the "
                f"{width}x{height} px shown"
            )
            raise DataError(message, "do not resize pictures of replayed detections")
        return Detections(
            boxes=np.clip(boxes, 0, np.array([width, height] * 2)),
            scores=found.scores,
            labels=found.labels,
            names=self.names,
        )


def stated(location: str, options: Mapping[str, str]) -> Stated:
    """Nothing: a file may hold fewer labels than its detector could have answered."""
    del location, options
    return Stated()


def load(
    location: str, options: Mapping[str, str], *, threads: int, seed: int
) -> ReplayDetector:
    """Read a file or a folder.

    ``names`` gives the label of each class number: ``coco80`` from 0 on, ``coco91``
    from 1 on, a COCO JSON file with its categories, or a file with a name a line, from
    0 on. ConfigError if an option is wrong or missing; DataError if a file is missing
    or holds something else.
    """
    del threads, seed
    path = Path(location)
    missing = options.get("missing", "error")
    if missing not in ("error", "empty"):
        message = f"option missing must be error or empty, found {missing!r}"
        raise ConfigError(message, choice_hint(missing, ("error", "empty")))
    empty: tuple[str, ...] = ()
    is_folder = os.path.isdir(path)  # noqa: PTH112  a name that cannot be one is none
    if is_folder:
        known = _names_of(options.get("names"), path)
        rows, empty = _read_texts(path, known)
    elif path.suffix.lower() == ".json":
        known = _names_of(options.get("names"), path)
        rows = list(_read_results(path, known))
    elif path.suffix.lower() == ".csv":
        rows = list(_read_csv(path))
        known = {}
    else:
        message = f"expected a .json or .csv file or a folder of texts at {path}"
        raise DataError(message, "convert other detections to COCO's results")
    labels = tuple(dict.fromkeys([*known.values(), *(row.label for row in rows)]))
    return ReplayDetector(
        path.stem,
        rows,
        labels,
        is_share=is_folder,
        missing_is_empty=missing == "empty",
        empty=empty,
    )


def _names_of(text: str | None, path: Path) -> dict[int, str]:
    if text is None:
        message = f"{path} numbers its classes, and nothing names them"
        raise ConfigError(message, "add names=coco91, names=coco80 or names=FILE")
    if text == "coco80":
        return dict(enumerate(COCO80))
    if text == "coco91":
        return {n: name for n, name in enumerate(coco91(), 1) if name}
    if not text.lower().endswith(".json"):
        return dict(enumerate(names_from_file(Path(text))))
    document: Any = read_json(Path(text))
    try:
        return {int(one["id"]): str(one["name"]) for one in document["categories"]}
    except (TypeError, KeyError, ValueError, OverflowError) as error:
        message = f"{text} has no categories with id and name"
        raise DataError(message, "give COCO's annotations") from error


def _read_results(path: Path, names: Mapping[int, str]) -> Iterator[ReplayRow]:
    entries: object = read_json(path)
    if not isinstance(entries, list):
        message = f"{path} is no list of COCO's results"
        raise DataError(message, "[{image_id, category_id, bbox, score}, …]")
    for number, entry in enumerate(cast("list[Any]", entries)):
        where = f"{path}, entry {number}"
        try:
            x, y, w, h = (float(one) for one in entry["bbox"])
            label, score = int(entry["category_id"]), float(entry["score"])
            image = str(entry["image_id"])
        except (TypeError, KeyError, ValueError, OverflowError) as error:
            message = f"{where} is no result of COCO's: {error!r}"
            raise DataError(message, "image_id, category_id, bbox, score") from error
        yield _row(image, label, names, score, (x, y, x + w, y + h), where)


def _read_texts(
    folder: Path, names: Mapping[int, str]
) -> tuple[list[ReplayRow], tuple[str, ...]]:
    rows: list[ReplayRow] = []
    files = sorted(folder.rglob("*.txt"))
    if not files:
        message = f"{folder} holds no texts of detections"
        raise DataError(message, "one file for each image, named like it")
    images = [f.relative_to(folder).with_suffix("").as_posix() for f in files]
    for image, file in zip(images, files, strict=True):
        for number, line in enumerate(read_text(file).splitlines(), 1):
            if not line.strip():
                continue
            where = f"{file}, line {number}"
            try:
                label, *values = (float(one) for one in line.split())
                cx, cy, w, h, score = values
                place = int(label)
            except (ValueError, OverflowError) as error:
                message = f"{where}: expected class cx cy width height score"
                hint = "write detections with their confidence (save_conf=True)"
                raise DataError(message, hint) from error
            box = (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)
            rows.append(_row(image, place, names, score, box, where))
    return rows, tuple(images)


def _read_csv(path: Path) -> Iterator[ReplayRow]:
    text = io.StringIO(read_bytes(path).decode("utf-8-sig", "replace"), newline="")
    reader = csv.DictReader(text)
    try:
        missing = [one for one in _COLUMNS if one not in (reader.fieldnames or ())]
        if missing:
            message = f"{path} should have the columns {', '.join(_COLUMNS)}"
            raise DataError(message, f"it has no {', '.join(missing)}")
        for number, line in enumerate(reader, 2):
            where = f"{path}, line {number}"
            numbers = [_number(line[key], where) for key in _COLUMNS[2:]]
            x1, y1, x2, y2 = numbers[1:]
            label = str(line["label"])
            box = (x1, y1, x2, y2)
            yield _checked(str(line["image_id"]), label, numbers[0], box, where)
    except csv.Error as error:
        message = f"{path} is no CSV file: {error}"
        raise DataError(message, "one line for each box") from error


def _number(text: str | None, where: str) -> float:
    """A number of a CSV file; DataError if it is none."""
    try:
        return float(text or "")
    except ValueError as error:
        message = f"{where}: expected a number, found {text!r}"
        raise DataError(message, f"columns are {', '.join(_COLUMNS)}") from error


def _row(
    image: str,
    number: int,
    names: Mapping[int, str],
    score: float,
    box: tuple[float, float, float, float],
    where: str,
) -> ReplayRow:
    if number not in names:
        message = f"{where}: class {number} has no name"
        raise DataError(message, "give names that hold every class, by names=")
    return _checked(image, names[number], score, box, where)


def _checked(
    image: str,
    label: str,
    score: float,
    box: tuple[float, float, float, float],
    where: str,
) -> ReplayRow:
    is_box = all(map(math.isfinite, box)) and box[2] >= box[0] and box[3] >= box[1]
    if not is_box or not 0 <= score <= 1:
        message = f"{where}: expected a box and a score in [0, 1], found {box}, {score}"
        raise DataError(message, "correct or remove it")
    return ReplayRow(image=image, label=label, score=score, box=box)


def _detections(
    rows: list[ReplayRow], names: tuple[str, ...], index: Mapping[str, int]
) -> Detections:
    best = sorted(rows, key=lambda row: -row.score)
    return Detections(
        boxes=np.array([row.box for row in best], np.float64).reshape(-1, 4),
        scores=np.array([row.score for row in best], np.float64),
        labels=np.array([index[row.label] for row in best], np.int32),
        names=names,
    )


def _keys(image: str) -> tuple[str, ...]:
    """An id, then its base name, each also without leading zeros."""
    base = PurePosixPath(image.replace("\\", "/")).name
    stems = [image, base, base.rsplit(".", 1)[0]]
    plain = [one.lstrip("0") or "0" for one in stems if one.isdecimal()]
    return tuple(dict.fromkeys([*stems, *plain]))


def _aliases(images: Mapping[str, object]) -> dict[str, str]:
    """The image of each key that is that of one image alone."""
    owners: dict[str, list[str]] = defaultdict(list)
    for image in images:
        for key in _keys(image):
            owners[key].append(image)
    found = {key: some[0] for key, some in owners.items() if len(some) == 1}
    return found | {image: image for image in images}
