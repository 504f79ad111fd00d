"""Reader of YOLO label folders: one text file per image, one line per box.

A line is ``class cx cy width height``, the class a number from 0, the rest shares of
the image's width and height. An image without a label file is one without objects.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from midhaul.errors import DataError, require
from midhaul.vision.data import Dataset
from midhaul.vision.files import (
    ImageFiles,
    check_folder,
    image_size,
    list_images,
    read_text,
)
from midhaul.vision.names import names_from_file, names_given
from midhaul.vision.selection import select_images
from midhaul.vision.truth import TruthBuilder

if TYPE_CHECKING:
    from collections.abc import Sequence

_NAME_FILES = ("data.yaml", "data.yml", "dataset.yaml", "classes.txt", "obj.names")
_N_FIELDS = 5
_TOLERANCE = 1e-3
"""How far outside of [0, 1] rounding may carry a coordinate."""


def read_yolo(
    images: Path,
    labels: Path | None = None,
    *,
    names: Sequence[str] | Path | str | None = None,
    select: Path | None = None,
) -> Dataset:
    """Read a folder of images and its folder of label files.

    Args:
        images: folder of the images, or the folder above ``images`` and ``labels``.
        labels: folder of the label files, laid out like that of the images; found by
            replacing the last ``images`` in the path by ``labels`` when absent.
        names: label set in the order of its numbers, or a file that holds it (a
            ``data.yaml``, or one name per line); by default looked for near the labels.
        select: file with one image per line; all images when absent.

    Raises:
        DataError: with file, place and the way to mend it.
        PrerequisiteError: the names are in a YAML file and PyYAML is not installed.
    """
    if (images / "images").is_dir():
        images = images / "images"
    paths = select_images(list_images(images), select)
    folder = _labels_beside(images) if labels is None else labels
    check_folder(folder, "label files", "data.annotations")
    known = _names(names, folder)
    sizes = {i: image_size(path) for i, path in paths.items()}
    builder = TruthBuilder(known)
    n_files = 0
    for image_id in paths:
        file = folder / f"{image_id}.txt"
        if file.is_file():
            n_files += 1
            _add_boxes(builder, file, image_id, sizes[image_id], known)
    if not builder.n_boxes:
        found = f"{n_files} label files" if n_files else "no label file"
        message = f"no boxes for {len(paths)} images of {images}: {found} in {folder}"
        hint = "label files are named like the images, with .txt; set data.annotations"
        raise DataError(message, hint)
    unlabelled = len(paths) - n_files
    note = f"{unlabelled} images without a label file taken as without objects"
    return Dataset(
        name=images.parent.name or images.name,
        names=known,
        image_ids=tuple(paths),
        truth=builder.build(paths),
        sizes=sizes,
        source=ImageFiles(paths),
        notes=(*builder.notes, *([note] if unlabelled else [])),
    )


def _labels_beside(images: Path) -> Path:
    parts = list(images.parts)
    for i in range(len(parts) - 1, -1, -1):
        if parts[i] == "images":
            parts[i] = "labels"
            return Path(*parts)
    return images.parent / "labels"


def _add_boxes(
    builder: TruthBuilder,
    file: Path,
    image_id: str,
    size: tuple[int, int],
    names: tuple[str, ...],
) -> None:
    width, height = size
    for number, line in enumerate(read_text(file).splitlines(), 1):
        if not line.strip():
            continue
        where = f"{file}, line {number}"
        label, (cx, cy, w, h) = _parse(line, where, names)
        x1, y1 = (cx - w / 2) * width, (cy - h / 2) * height
        x2, y2 = (cx + w / 2) * width, (cy + h / 2) * height
        builder.add(image_id, (x1, y1, x2, y2), label=label, size=size, where=where)


def _parse(line: str, where: str, names: tuple[str, ...]) -> tuple[int, list[float]]:
    fields = line.split()
    if len(fields) != _N_FIELDS:
        message = (
            f"{where}: expected class cx cy width height, found {len(fields)} fields"
        )
        hint = "more fields are polygons or scores: export detection labels instead"
        raise DataError(message, hint)
    try:
        label, values = int(fields[0]), [float(f) for f in fields[1:]]
    except ValueError as error:
        message = f"{where}: expected a class number and four shares, found {line!r}"
        raise DataError(message, "correct or remove this line") from error
    if not 0 <= label < len(names):
        message = (
            f"{where}: class {label} is not one of the {len(names)} names (from 0)"
        )
        raise DataError(message, "correct the line, or give all names in data.names")
    for value in values:
        if not (math.isfinite(value) and -_TOLERANCE <= value <= 1 + _TOLERANCE):
            message = (
                f"{where}: expected shares of the image in [0, 1], found {value:g}"
            )
            hint = "divide px by the image's width and height"
            raise DataError(message, hint)
    return label, values


def _names(given: Sequence[str] | Path | str | None, labels: Path) -> tuple[str, ...]:
    if given is not None and not isinstance(given, (str, Path)):
        return names_given(given)
    if given is not None:
        return _names_in(Path(given))
    for folder in (labels, labels.parent, labels.parent.parent):
        for name in _NAME_FILES:
            if (folder / name).is_file():
                return _names_in(folder / name)
    message = f"no names for the classes: no {', '.join(_NAME_FILES)} near {labels}"
    raise DataError(message, "set data.names to the list of names or to their file")


def _names_in(file: Path) -> tuple[str, ...]:
    if file.suffix.lower() not in {".yaml", ".yml"}:
        return names_from_file(file)
    yaml = require("yaml", "detect")
    try:
        document = yaml.safe_load(read_text(file))
    except yaml.YAMLError as error:
        message = f"expected YAML in {file}, found something else: {error}"
        raise DataError(message, "correct the file, or set data.names") from error
    found: Any = (
        cast("dict[str, Any]", document).get("names")
        if isinstance(document, dict)
        else None
    )
    if isinstance(found, dict):
        numbered = cast("dict[Any, Any]", found)
        if set(numbered) != set(range(len(numbered))):
            message = f"{file}: names must be numbered from 0 without a gap"
            raise DataError(message, "number every class")
        found = [numbered[i] for i in range(len(numbered))]
    if not isinstance(found, list):
        message = f"{file} has no list under the key names"
        raise DataError(message, "add it, or set data.names")
    return names_given([str(n) for n in cast("list[Any]", found)], str(file))
