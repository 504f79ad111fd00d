"""YOLO label folders: reader of one text file per image, one line per box.

A line is ``class cx cy width height``, the class a number from 0, the rest shares of
the image's width and height. An image without a label file is one without objects.

Ultralytics' ``data.yaml`` says where the images of a data set are.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from midhaul import documents
from midhaul.errors import DataError
from midhaul.model import Tally
from midhaul.vision.data.dataset import Dataset, Faults
from midhaul.vision.data.files import (
    ImageFiles,
    check_folder,
    list_images,
    read_text,
    select_images,
    unread_images,
)
from midhaul.vision.data.names import names_from_file, names_given
from midhaul.vision.data.truth import StatedSizes, TruthBuilder

if TYPE_CHECKING:
    from collections.abc import Sequence

YAML = frozenset({".yaml", ".yml"})
_SPLITS = ("val", "test", "train")


def yaml_images(file: Path) -> tuple[Path, Path | None]:
    """The folder of images that a ``data.yaml`` names, and a list of them if it does.

    Its ``val`` is taken, else ``test``, else ``train``. Paths are relative to its key
    ``path``, to the file, or to the file without the ``../`` that exports put there.
    DataError if it names none, several, or one that is not there; PrerequisiteError if
    PyYAML is not installed.
    """
    document = _load(file)
    split = next((s for s in _SPLITS if document.get(s)), None)
    if split is None and (file.parent / "images").is_dir():
        return file.parent / "images", None
    if split is None:
        message = f"{file} names no images: it has no {', '.join(_SPLITS)}"
        raise DataError(message, "set data.images to the folder of the images")
    found = document[split]
    if isinstance(found, list) and len(cast("list[Any]", found)) == 1:
        (found,) = cast("list[Any]", found)
    if not isinstance(found, str):
        message = (
            f"{file}: {split} must be one folder or list of images, found {found!r}"
        )
        raise DataError(message, "set data.images to the folder of the images")
    home = file.parent
    bases = [home / str(document.get("path") or ""), home]
    plain = found.removeprefix("../")
    for place in (base / name for base in bases for name in (found, plain)):
        if place.is_dir():
            return place, None
        if place.is_file():
            return _folder_of(place, bases), place
    message = f"{file}: {split} is {found}, and nothing is there"
    hint = f"looked below {home} and its key path; set data.images to the folder"
    raise DataError(message, hint)


def _folder_of(listing: Path, bases: list[Path]) -> Path:
    """The folder that holds all images of a list."""
    for base in (listing.parent, *bases):
        if (base / "images").is_dir():
            return base / "images"
    return listing.parent


def _load(file: Path) -> dict[str, Any]:
    try:
        document = documents.parse_yaml(read_text(file))
    except ValueError as error:
        message = f"expected YAML in {file}, found something else: {error}"
        raise DataError(message, "correct the file, or set data.names") from error
    return cast("dict[str, Any]", document) if isinstance(document, dict) else {}


def names_in(file: Path) -> tuple[str, ...]:
    """The label set that a file holds: under ``names`` in YAML, else one name a line.

    DataError if it holds none; PrerequisiteError if it is a YAML file and PyYAML is not
    installed.
    """
    if file.suffix.lower() not in YAML:
        return names_from_file(file)
    found = _load(file).get("names")
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


_NAME_FILES = ("data.yaml", "data.yml", "dataset.yaml", "classes.txt", "obj.names")
_HEAD_BYTES = 4096
_PLACES = 20
"""Places that a tally keeps."""
_MAX_UNLABELLED = 0.1
"""An image without a label file is one without objects, or one that nobody has labelled
yet. Guides to training advise up to a tenth of such backgrounds; whoever has more can
say so with empty label files, which are not counted."""
_MAX_LOST = 0.05
"""Labels without an image: objects that nobody is asked to find."""
_N_FIELDS = 5
_OUTSIDE = 0.5
"""How far outside of [0, 1] a share may lie: augmentation and rounding carry boxes over
the edge, where they are clipped and counted; numbers in px lie far beyond."""


def read_yolo(
    images: Path,
    labels: Path | None = None,
    *,
    names: Sequence[str] | Path | str | None = None,
    select: Path | None = None,
    faults: Faults | None = None,
) -> Dataset:
    """Read a folder of images and its folder of label files.

    ``images`` is their folder, or the folder above ``images`` and ``labels``, or the
    ``data.yaml`` that names it (its ``val``, else ``test``, else ``train``) and the
    classes, or the folder with that file. ``labels`` is laid out like it; by default it
    is found by replacing the last ``images`` in the path by ``labels``. ``names`` is
    the label set in the order of its numbers, or a file that holds it (a ``data.yaml``,
    or one name per line); by default looked for near the labels. ``select`` is a file
    with one image per line. ``faults`` takes in mistakes of single images; without it,
    all are a DataError with file, place and the way to mend it.
    """
    faults = faults or Faults()
    if names is None and select is None and labels is None:
        images = _listing_in(images)
    if images.suffix.lower() in YAML and images.is_file():
        file, (images, listed) = images, yaml_images(images)
        names, select = names or file, select or listed
    if (images / "images").is_dir():
        images = images / "images"
    paths = select_images(list_images(images), select)
    folder = _labels_beside(images) if labels is None else labels
    check_folder(folder, "label files", "data.annotations")
    known = _names(names, folder)
    stated = StatedSizes()
    sizes: dict[str, tuple[int, int]] = {}
    builder = TruthBuilder(known)
    n_files = 0
    for image_id, path in paths.items():
        label_file = folder / f"{image_id}.txt"
        try:
            sizes[image_id] = stated.add(image_id, path)
            if label_file.is_file():
                n_files += 1
                text = read_text(label_file)
                size = sizes[image_id]
                _add_boxes(builder, text, label_file, image_id, size, known, faults)
        except DataError as error:
            faults.add(error, image_id)
    faults.settle()
    good = faults.good(paths)
    if not builder.image_ids & set(good):
        found = f"{n_files} label files" if n_files else "no label file"
        message = f"no boxes for {len(paths)} images of {images}: {found} in {folder}"
        hint = "label files are named like the images, with .txt; set data.annotations"
        raise DataError(message, hint)
    return Dataset(
        name=images.parent.name or images.name,
        names=known,
        image_ids=good,
        truth=builder.build(good),
        sizes=sizes,
        source=ImageFiles(paths),
        tallies=(
            *builder.tallies,
            *_unpaired(paths, folder, has_all=select is None),
            *(unread_images(images, len(paths)) if select is None else ()),
            *stated.tallies,
            *faults.tallies(len(paths)),
        ),
    )


def _listing_in(folder: Path) -> Path:
    """The ``data.yaml`` in a folder that has no images of its own; else the folder."""
    if (folder / "images").is_dir():
        return folder
    files = (folder / name for name in _NAME_FILES if name.endswith((".yaml", ".yml")))
    return next((file for file in files if file.is_file()), folder)


def _unpaired(paths: dict[str, Path], folder: Path, *, has_all: bool) -> list[Tally]:
    """Images without a label file, and label files without an image."""
    bare = [i for i in paths if not (folder / f"{i}.txt").is_file()]
    found = [
        Tally(
            what="images have no label file and were taken as without objects",
            n=len(bare),
            of=len(paths),
            max_share=_MAX_UNLABELLED,
            advice="Label them, or give images without objects an empty label file; "
            "if labels are elsewhere, set data.annotations.",
            places=tuple(str(paths[i]) for i in bare[:_PLACES]),
        )
    ]
    if has_all:
        files = _label_files(folder)
        lost = [
            f
            for f in files
            if f.relative_to(folder).with_suffix("").as_posix() not in paths
        ]
        found.append(
            Tally(
                what="label files have no image that can be read and were left out",
                n=len(lost),
                of=len(files),
                max_share=_MAX_LOST,
                advice="Complete data.images; convert images of other formats to JPEG "
                "or PNG.",
                places=tuple(map(str, lost[:_PLACES])),
            )
        )
    return [tally for tally in found if tally.n]


def _label_files(folder: Path) -> list[Path]:
    """The label files below a folder; lists of names and of images are none."""
    return [
        file
        for file in sorted(folder.rglob("*.txt"))
        if file.name not in _NAME_FILES and _is_labels(file)
    ]


def _is_labels(file: Path) -> bool:
    """True where a file is empty or begins like a line of labels."""
    with file.open("rb") as stream:
        words = stream.readline(_HEAD_BYTES).split()
    return not words or words[0].isdigit()


def _labels_beside(images: Path) -> Path:
    parts = list(images.parts)
    for i in range(len(parts) - 1, -1, -1):
        if parts[i] == "images":
            parts[i] = "labels"
            return Path(*parts)
    return images.parent / "labels"


def _add_boxes(
    builder: TruthBuilder,
    text: str,
    file: Path,
    image_id: str,
    size: tuple[int, int],
    names: tuple[str, ...],
    faults: Faults,
) -> None:
    width, height = size
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        where = f"{file}, line {number}"
        try:
            label, (cx, cy, w, h) = _parse(line, where, names)
            x1, y1 = (cx - w / 2) * width, (cy - h / 2) * height
            x2, y2 = (cx + w / 2) * width, (cy + h / 2) * height
            builder.add(image_id, (x1, y1, x2, y2), label=label, size=size, where=where)
        except DataError as error:
            faults.add(error, image_id)


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
        hint = "correct the line, or give all names in data.names"
        if label == len(names):
            hint += "; if no line has class 0, the file counts from 1"
        raise DataError(message, hint)
    for place, value in enumerate(values):
        lowest = -_OUTSIDE if place < len(("cx", "cy")) else 0.0
        if not (math.isfinite(value) and lowest <= value <= 1 + _OUTSIDE):
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
        return names_in(Path(given))
    for folder in (labels, labels.parent, labels.parent.parent):
        for name in _NAME_FILES:
            if (folder / name).is_file():
                return names_in(folder / name)
    message = f"no names for the classes: no {', '.join(_NAME_FILES)} near {labels}"
    raise DataError(message, "set data.names to the list of names or to their file")
