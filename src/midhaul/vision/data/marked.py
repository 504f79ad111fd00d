"""Readers of LabelMe, CreateML and CVAT, and of a Parquet table of boxes.

All four say which image they mean by its file's name. It is looked for below the folder
of the images: under the very name, then by its end, then by its stem alone where one
image has it; the last two are counted.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from midhaul import documents
from midhaul.errors import DataError
from midhaul.model import Tally
from midhaul.vision.data.dataset import Dataset, Faults
from midhaul.vision.data.files import (
    ImageFiles,
    check_folder,
    list_images,
    read_json,
    unread_images,
)
from midhaul.vision.data.names import names_from_file, names_given
from midhaul.vision.data.truth import StatedSizes, TruthBuilder
from midhaul.vision.data.voc import parse_xml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from midhaul.vision.data.truth import OnSizeMismatch

MarkedKind: TypeAlias = Literal["labelme", "createml", "cvat", "table"]
_Box: TypeAlias = tuple[float, float, float, float]
_COLUMNS = ("image", "label", "x1", "y1", "x2", "y2")
_PLACES = 20
_MAX_BARE = 0.5
"""An image that the annotations do not name is left out; where most are, they are of
other images."""
_MAX_SHAPES = 0.05
"""Marks without an extent are objects that nobody is asked to find."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkedImage:
    """What one image is said to show.

    Attributes:
        name: of its file.
        where: place in the annotations.
        boxes: label and corners in px of each object, with whether it was an outline.
        size: width and height in px that are stated; None where none are.
        n_left_out: marks that have no extent.
    """

    name: str
    where: str
    boxes: tuple[tuple[str, _Box, bool], ...]
    size: tuple[int, int] | None = None
    n_left_out: int = 0


def read_marked(
    kind: MarkedKind,
    images: Path,
    annotations: Path | None,
    *,
    names: Sequence[str] | Path | str | None = None,
    on_size_mismatch: OnSizeMismatch = "error",
    faults: Faults | None = None,
) -> Dataset:
    """Read a folder of images, and who says what they show.

    ``annotations`` is a folder of LabelMe's JSON files, by default that of the images,
    or the file of the others. ``names`` is the label set, by default the labels that
    occur, sorted. ``faults`` takes in mistakes of single images; without it, all are a
    DataError with file, place and the way to mend it.
    """
    faults = faults or Faults()
    if annotations is None and kind != "labelme":
        message = f"a data set of kind {kind} needs its file"
        raise DataError(message, "set data.annotations")
    listed = list_images(images)
    marked = list(_READERS[kind](annotations or images))
    found, tallies = _located(marked, listed, images, faults)
    used = {label for one in marked for label, _, _ in one.boxes}
    if not used:
        message = f"no boxes for the images of {images} in {annotations or images}"
        raise DataError(message, "set data.annotations to others")
    known = _names(names, used)
    index = {name: number for number, name in enumerate(known)}
    stated, builder = StatedSizes(on_size_mismatch), TruthBuilder(known)
    paths: dict[str, Path] = {}
    for image_id, one in found.items():
        try:
            path = listed[image_id]
            size = stated.add(image_id, path, one.size, one.where)
            paths[image_id] = path
            for label, box, _ in one.boxes:
                number = _number_of(label, index, one.where)
                builder.add(image_id, box, label=number, size=size, where=one.where)
        except DataError as error:
            faults.add(error, image_id)
    faults.settle()
    if faults.is_listing:
        for error in stated.each():
            faults.add(error)
    else:
        stated.check()
    good = faults.good(paths)
    if not builder.image_ids & set(good):
        message = f"no boxes for the images of {images} in {annotations or images}"
        raise DataError(message, "set data.annotations to others")
    return Dataset(
        name=images.parent.name or images.name,
        names=known,
        image_ids=good,
        truth=stated.fitted(builder.build(good)),
        sizes=stated.sizes,
        source=ImageFiles(paths),
        tallies=(
            *builder.tallies,
            *tallies,
            *_shape_tallies(marked),
            *unread_images(images, len(listed)),
            *stated.tallies,
            *faults.tallies(len(found)),
        ),
    )


def _names(given: Sequence[str] | Path | str | None, used: set[str]) -> tuple[str, ...]:
    if given is None or (not isinstance(given, str | Path) and not given):
        return names_given(sorted(used), "the labels that occur")
    if isinstance(given, str | Path):
        return names_from_file(Path(given))
    return names_given(given)


def _number_of(label: str, index: dict[str, int], where: str) -> int:
    if label not in index:
        message = f"{where}: label {label!r} is not one of data.names"
        raise DataError(message, "add it to data.names, or correct it")
    return index[label]


def _located(
    marked: list[MarkedImage], listed: dict[str, Path], folder: Path, faults: Faults
) -> tuple[dict[str, MarkedImage], list[Tally]]:
    """The image of every entry, and how many were found by less than their name."""
    names = {path.relative_to(folder).as_posix(): i for i, path in listed.items()}
    stems: dict[str, list[str]] = defaultdict(list)
    for image_id in listed:
        stems[PurePosixPath(image_id).name].append(image_id)
    found: dict[str, MarkedImage] = {}
    missing: dict[str, str] = {}
    loose: list[str] = []
    for one in marked:
        name = one.name.replace("\\", "/")
        image_id, is_exact = names.get(name, name if name in listed else None), True
        if image_id is None:
            is_exact = False
            path = PurePosixPath(name)
            some = {*stems.get(path.stem, ()), *stems.get(path.name, ())}
            image_id = some.pop() if len(some) == 1 else None
        if image_id is None:
            missing[one.where] = one.name
        elif image_id in found:
            message = f"{one.where}: image {one.name} is there twice"
            error = DataError(message, f"see also {found[image_id].where}")
            faults.add(error, image_id)
        else:
            found[image_id] = one
            loose += [] if is_exact else [f"{one.name} is {listed[image_id].name}"]
    faults.missing(missing, len(marked), folder)
    bare = [str(path) for i, path in listed.items() if i not in found]
    counted = (
        ("images were found by their base name or with another suffix", loose, 1.0,
         "Nothing needs to be done if these are the images."),
        ("images are named by no annotation and were left out", bare, _MAX_BARE,
         "Label them, or set data.annotations to those of these images."),
    )  # fmt: skip
    return found, [
        Tally(
            what=what,
            n=len(places),
            of=len(listed) if places is bare else len(marked),
            max_share=most,
            advice=advice,
            places=tuple(places[:_PLACES]),
        )
        for what, places, most, advice in counted
        if places
    ]


def _shape_tallies(marked: list[MarkedImage]) -> list[Tally]:
    """Outlines that became boxes, and marks that cannot."""
    outlines = [
        one.where for one in marked for *_, is_outline in one.boxes if is_outline
    ]
    left_out = [one.where for one in marked for _ in range(one.n_left_out)]
    n = sum(len(one.boxes) for one in marked)
    counted = (
        ("outlines were taken as the boxes around them", outlines, n, 1.0,
         "Nothing needs to be done if boxes are meant."),
        ("marks are points or lines and were left out", left_out, n + len(left_out),
         _MAX_SHAPES, "Mark objects by boxes or outlines."),
    )  # fmt: skip
    return [
        Tally(
            what=what,
            n=len(places),
            of=of,
            max_share=most,
            advice=advice,
            places=tuple(places[:_PLACES]),
        )
        for what, places, of, most, advice in counted
        if places
    ]


def _around(points: Sequence[Any]) -> _Box:
    """The box around points; ValueError or TypeError if they are none."""
    pairs = [(float(x), float(y)) for x, y in points]
    xs, ys = [x for x, _ in pairs], [y for _, y in pairs]
    return min(xs), min(ys), max(xs), max(ys)


def _fits(where: str, error: Exception, what: str) -> DataError:
    message = f"{where} is not as {what} writes it: {error!r}"
    return DataError(message, "export it again, or set data.kind to another")


_WRONG = (TypeError, KeyError, ValueError, AttributeError, OverflowError)


def _labelme(folder: Path) -> Iterator[MarkedImage]:
    """A JSON file for each image, with shapes of points in px."""
    check_folder(folder, "LabelMe's JSON files", "data.annotations")
    files = sorted(folder.rglob("*.json"))
    for file in files:
        document: Any = read_json(file)
        boxes: list[tuple[str, _Box, bool]] = []
        n_left_out = 0
        try:
            for shape in document["shapes"]:
                kind = shape.get("shape_type", "polygon")
                points = shape["points"]
                if kind == "circle":
                    (x, y), (a, b) = points
                    radius = math.dist((x, y), (a, b))
                    points = [(x - radius, y - radius), (x + radius, y + radius)]
                if kind not in ("rectangle", "polygon", "circle", "rotation"):
                    n_left_out += 1
                    continue
                is_outline = kind != "rectangle"
                boxes.append((str(shape["label"]), _around(points), is_outline))
            sides = document.get("imageWidth"), document.get("imageHeight")
            size = (int(sides[0]), int(sides[1])) if all(sides) else None
            name = str(document.get("imagePath") or file.name)
        except _WRONG as error:
            raise _fits(str(file), error, "LabelMe") from error
        yield MarkedImage(
            name=PurePosixPath(name.replace("\\", "/")).name,
            where=str(file),
            boxes=tuple(boxes),
            size=size,
            n_left_out=n_left_out,
        )


def _createml(file: Path) -> Iterator[MarkedImage]:
    """One JSON list, with centres and sides in px."""
    entries: Any = read_json(file)
    if not isinstance(entries, list):
        message = f"{file} is not as CreateML writes it: no list of images"
        raise DataError(message, "export it again, or set data.kind to another")
    for number, entry in enumerate(cast("list[Any]", entries)):
        where = f"{file}, entry {number}"
        boxes: list[tuple[str, _Box, bool]] = []
        try:
            for one in entry["annotations"]:
                at = one["coordinates"]
                x, y, w, h = (float(at[key]) for key in ("x", "y", "width", "height"))
                box = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
                boxes.append((str(one["label"]), box, False))
            name = str(entry.get("image") or entry["imagefilename"])
        except _WRONG as error:
            raise _fits(where, error, "CreateML") from error
        yield MarkedImage(name=name, where=where, boxes=tuple(boxes))


def _cvat(file: Path) -> Iterator[MarkedImage]:
    """One XML file *CVAT for images*, with boxes and outlines in px."""
    for number, image in enumerate(parse_xml(file, "annotations", "CVAT's XML file")):
        if image.tag != "image":
            continue
        where = f"{file}, image {image.get('name', number)}"
        boxes: list[tuple[str, _Box, bool]] = []
        n_left_out = 0
        try:
            for mark in image:
                label = str(mark.attrib.get("label", ""))
                if mark.tag == "box":
                    sides = ("xtl", "ytl", "xbr", "ybr")
                    x1, y1, x2, y2 = (float(mark.attrib[key]) for key in sides)
                    boxes.append((label, (x1, y1, x2, y2), False))
                elif mark.tag == "polygon":
                    pairs = [p.split(",") for p in mark.attrib["points"].split(";")]
                    boxes.append((label, _around(pairs), True))
                elif label:
                    n_left_out += 1
            size = (int(image.attrib["width"]), int(image.attrib["height"]))
            name = image.attrib["name"]
        except _WRONG as error:
            raise _fits(where, error, "CVAT") from error
        yield MarkedImage(
            name=name,
            where=where,
            boxes=tuple(boxes),
            size=size,
            n_left_out=n_left_out,
        )


def _table(file: Path) -> Iterator[MarkedImage]:
    """A Parquet file with a row for each box, corners in px."""
    with documents.expected(f"expected a table of boxes in {file}:"):
        table = documents.read_parquet(file)
    missing = [name for name in _COLUMNS if name not in table.column_names]
    if missing:
        message = f"{file} should have the columns {', '.join(_COLUMNS)}"
        raise DataError(message, f"it has no {', '.join(missing)}")
    by_image: dict[str, list[tuple[str, _Box, bool]]] = {}
    columns = [table[name].to_pylist() for name in _COLUMNS]
    for number, (image, label, *corners) in enumerate(zip(*columns, strict=True)):
        try:
            x1, y1, x2, y2 = (float(one) for one in corners)
        except _WRONG as error:
            where = f"{file}, row {number}"
            raise _fits(where, error, "a table of boxes") from error
        boxes = by_image.setdefault(str(image), [])
        boxes.append((str(label), (x1, y1, x2, y2), False))
    for image, boxes in by_image.items():
        yield MarkedImage(name=image, where=f"{file}, {image}", boxes=tuple(boxes))


_READERS: dict[MarkedKind, Callable[[Path], Iterator[MarkedImage]]] = {
    "labelme": _labelme,
    "createml": _createml,
    "cvat": _cvat,
    "table": _table,
}
