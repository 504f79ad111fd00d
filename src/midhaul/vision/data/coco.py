"""COCO's object detection format: reader of a folder of images and one JSON file.

Differences from the format: crowd regions keep their box only (masks are not read),
and an image's id is the text of its number.

The ``file_name`` of an annotation leads somewhere else in files of different tools.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from midhaul.errors import DataError, name_some
from midhaul.model import Tally
from midhaul.vision.data.dataset import Dataset, Faults
from midhaul.vision.data.files import ImageFiles, check_folder, read_json
from midhaul.vision.data.truth import StatedSizes, TruthBuilder

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from midhaul.model import GroundTruth
    from midhaul.vision.data.truth import OnSizeMismatch

_PLACES = 20


class Located:
    """Finds the files of images below a folder.

    A name is relative to the folder. Tools also write the folder again
    (``images/1.jpg``), Windows' separators, or a whole path of another machine: a name
    that leads to nothing is looked for by its end, longest first, and counted.

    Attributes:
        paths: file of every image id.
        missing: ids of the images that are not there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._root = folder.resolve()
        self._ends: list[str] = []
        self._owner: dict[Path, str] = {}
        self._n = 0
        self.paths: dict[str, Path] = {}
        self.missing: dict[str, str] = {}

    def find(self, image_id: str, place: str, file_name: str) -> Path | None:
        """The file of an image, or None; ``place`` is that of its entry.

        DataError if it leads out of the folder, or to the file of another image.
        """
        self._n += 1
        path = self._at(file_name)
        if path is None:
            path = self._at_end(file_name)
            if path is not None:
                self._ends.append(file_name)
        if path is None and self._leads_out(file_name):
            message = f"{place}: file_name leads out of {self._folder}"
            raise DataError(message, "use names relative to the folder of the images")
        if path is None:
            self.missing[image_id] = file_name
            return None
        if path in self._owner:
            message = f"{place}: {file_name} is {path}, which {self._owner[path]} is"
            raise DataError(message, "give every image a file of its own")
        self._owner[path] = place
        self.paths[image_id] = path
        return path

    @property
    def tallies(self) -> list[Tally]:
        """How many names were found by their ends."""
        if not self._ends:
            return []
        return [
            Tally(
                what="file names lead to nothing and were found by their ends in "
                "data.images",
                n=len(self._ends),
                of=self._n,
                max_share=1.0,
                advice="Nothing, where these are the images that were labelled.",
                places=tuple(self._ends[:_PLACES]),
            )
        ]

    def _at(self, file_name: str) -> Path | None:
        """The file of a name below the folder, if there is one."""
        path = self._folder / file_name
        try:
            is_there = path.is_file() and path.resolve().is_relative_to(self._root)
        except (OSError, ValueError):  # a name that no file can have
            return None
        return path if is_there else None

    def _at_end(self, file_name: str) -> Path | None:
        """The file of the longest end of a name that is there."""
        parts = [p for p in file_name.replace("\\", "/").split("/") if p]
        for begin in range(len(parts)):
            end = parts[begin:]
            if ".." not in end and (path := self._at("/".join(end))) is not None:
                return path
        return None

    def _leads_out(self, file_name: str) -> bool:
        try:
            path = (self._folder / file_name).resolve()
        except (OSError, ValueError):
            return False
        return not path.is_relative_to(self._root)


_LISTS = ("images", "annotations", "categories")
_N_CORNERS = 4


_MAX_UNLABELLED = 0.5
"""The file lists such an image on purpose, so it is one without objects; but where most
are, labelling is not finished."""


@dataclass(frozen=True, slots=True)
class _Item:
    """One object of a list of the file, read key by key."""

    place: str
    values: dict[str, Any]

    def get(self, key: str) -> Any:
        if key not in self.values:
            message = f"{self.place} lacks the key {key!r}"
            raise DataError(message, "check that the file is in COCO's format")
        return self.values[key]

    def key(self, key: str) -> str:
        value = self.get(key)
        if isinstance(value, bool) or not isinstance(value, int | str):
            message = f"{self.place}: {key} must be a whole number, found {value!r}"
            raise DataError(message, "check that the file is in COCO's format")
        return str(value)

    def text(self, key: str) -> str:
        value = self.get(key)
        if not isinstance(value, str) or not value:
            message = f"{self.place}: {key} must be text, found {value!r}"
            raise DataError(message, "check that the file is in COCO's format")
        return value

    def number(self, key: str) -> float:
        return _number(self.get(key), f"{self.place}: {key}")

    def length(self, key: str) -> int:
        value = self.number(key)
        if not value.is_integer() or value <= 0:
            message = f"{self.place}: {key} must be a number of px, found {value:g}"
            raise DataError(message, "check that the file is in COCO's format")
        return int(value)

    def flag(self, key: str) -> bool:
        value = self.values.get(key, 0)
        if value not in (0, 1):  # a set would not take lists
            message = f"{self.place}: {key} must be 0 or 1, found {value!r}"
            raise DataError(message, "check that the file is in COCO's format")
        return bool(value)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Annotations:
    """What a file of COCO's annotations says, without the images themselves.

    Attributes:
        names: the label set, in the order of the category ids.
        label_of: index into ``names`` of every category id.
        truth: the human boxes of every image id; labels are indices into ``names``.
        sizes: width and height in px of every image id.
        places: where each image id stands in the file, for messages, and its file name.
        tallies: what was mended, assumed or left out.
    """

    names: tuple[str, ...]
    label_of: Mapping[str, int]
    truth: Mapping[str, GroundTruth]
    sizes: Mapping[str, tuple[int, int]]
    places: Mapping[str, tuple[str, str]]
    tallies: tuple[Tally, ...]


def read_coco(
    images: Path,
    annotations: Path,
    *,
    on_size_mismatch: OnSizeMismatch = "error",
    faults: Faults | None = None,
) -> Dataset:
    """Read a data set in COCO's format.

    ``file_name`` is relative to the folder of the images. ``faults`` takes in mistakes
    of single images; without it, all are a DataError with file, place and the way to
    mend it.
    """
    faults = faults or Faults()
    check_folder(images, "images", "data.images")
    found = read_annotations(annotations, faults)
    located = Located(images)
    stated = StatedSizes(on_size_mismatch)
    for image_id, place in found.places.items():
        try:
            if (path := located.find(image_id, *place)) is not None:
                stated.add(image_id, path, found.sizes[image_id], place[0])
        except DataError as error:
            faults.add(error, image_id)
    faults.missing(located.missing, len(found.places), images)
    faults.settle()
    if faults.is_listing:
        for error in stated.each():
            faults.add(error)
    else:
        stated.check()
    good = [i for i in faults.good(located.paths) if i in found.truth]
    if not any(len(found.truth[i]) for i in good):
        message = f"{annotations}: no image without a mistake has a box"
        raise DataError(message, "midhaul check lists every mistake with its place")
    return Dataset(
        name=annotations.stem,
        names=found.names,
        image_ids=tuple(good),
        truth=stated.fitted({i: found.truth[i] for i in good}),
        sizes=stated.sizes,
        source=ImageFiles(located.paths),
        tallies=(
            *found.tallies,
            *located.tallies,
            *stated.tallies,
            *faults.tallies(len(found.places)),
        ),
        categories={key: found.names[i] for key, i in found.label_of.items()},
    )


def read_annotations(annotations: Path, faults: Faults | None = None) -> Annotations:
    """Read the annotations alone, which need no images.

    ``faults`` takes in mistakes of single images; without it, all are a DataError.
    """
    asked, faults = faults, faults or Faults()
    document = _load(annotations)
    names, label_of = _categories(document["categories"], annotations)
    places: dict[str, tuple[str, str]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    known: set[str] = set()
    for item in document["images"]:
        try:
            image_id = _own_id(item, known, "image")
            sizes[image_id] = (item.length("width"), item.length("height"))
            places[image_id] = (item.place, item.text("file_name"))
        except DataError as error:
            faults.add(error)

    builder = TruthBuilder(names)
    _add_boxes(builder, document["annotations"], label_of, sizes, known, faults)
    if asked is None or not places or not builder.n_boxes:
        faults.settle()
    if not places or not builder.n_boxes:
        what = "boxes" if places else "images"
        message = f"{annotations} holds no {what}: nothing can be judged"
        raise DataError(message, "set data.annotations to another file")
    sound = {i: places[i] for i in faults.good(places)}
    return Annotations(
        names=names,
        label_of=label_of,
        truth=builder.build(places),
        sizes=sizes,
        places=places,
        tallies=(*builder.tallies, *_without_boxes(builder.image_ids, sound)),
    )


def _without_boxes(
    boxed: Collection[str], places: Mapping[str, tuple[str, str]]
) -> list[Tally]:
    """Images that the file lists and of which no box speaks."""
    bare = [file_name for i, (_, file_name) in places.items() if i not in boxed]
    if not bare:
        return []
    return [
        Tally(
            what="images have no boxes and were taken as without objects",
            n=len(bare),
            of=len(places),
            max_share=_MAX_UNLABELLED,
            advice="Export images that nobody has labelled yet without their entry "
            "in images.",
            places=tuple(bare[:_PLACES]),
        )
    ]


def _load(path: Path) -> dict[str, list[_Item]]:
    """The three lists of the file."""
    document = read_json(path)
    if not isinstance(document, dict):
        message = f"expected COCO ground truth in {path}, found a JSON list"
        hint = "a list is how COCO stores detections; set data.annotations to the truth"
        raise DataError(message, hint)
    table = cast("dict[str, Any]", document)
    missing = [k for k in _LISTS if not isinstance(table.get(k), list)]
    if missing:
        found = ", ".join(sorted(table)[:8]) or "no keys"
        lacks = f"no list {', '.join(missing)} (found {found})"
        message = f"{path} is not in COCO's format: {lacks}"
        raise DataError(message, "expected images, annotations and categories")
    return {k: _items(table[k], f"{path}: {k}") for k in _LISTS}


def _items(values: list[Any], place: str) -> list[_Item]:
    items: list[_Item] = []
    for i, value in enumerate(values):
        if not isinstance(value, dict):
            message = f"{place}[{i}] must be an object, found {value!r}"
            raise DataError(message, "check that the file is in COCO's format")
        items.append(_Item(f"{place}[{i}]", cast("dict[str, Any]", value)))
    return items


def _categories(
    items: list[_Item], path: Path
) -> tuple[tuple[str, ...], dict[str, int]]:
    """Names in the order of their ids, and the index of each id."""
    names: dict[str, str] = {}
    for item in items:
        category = item.key("id")
        if category in names:
            message = f"{item.place}: category id {category} is there twice"
            raise DataError(message, "give every category an id of its own")
        names[category] = item.text("name")
    if not names:
        message = f"{path} has no categories"
        raise DataError(message, "set data.annotations to a file with categories")
    ordered = sorted(names, key=lambda k: (not k.isdigit(), k.zfill(20)))
    labels = tuple(names[k] for k in ordered)
    if repeated := sorted({n for n in labels if labels.count(n) > 1}):
        message = f"{path}: {name_some('category name', repeated)} used more than once"
        raise DataError(message, "give every category a name of its own")
    return labels, {k: i for i, k in enumerate(ordered)}


def _add_boxes(
    builder: TruthBuilder,
    items: list[_Item],
    label_of: dict[str, int],
    sizes: dict[str, tuple[int, int]],
    known: set[str],
    faults: Faults,
) -> None:
    seen: set[str] = set()
    for item in items:
        image_id = ""
        try:
            image_id = item.key("image_id")
            _own_id(item, seen, "annotation")
            label = _label(item, image_id, known, label_of)
            x, y, width, height = _box(item)
            if image_id in sizes:  # else the mistake of the image is said already
                builder.add(
                    image_id,
                    (x, y, x + width, y + height),
                    label=label,
                    size=sizes[image_id],
                    where=item.place,
                    is_crowd=item.flag("iscrowd"),
                    area_px=item.number("area") if "area" in item.values else None,
                )
        except DataError as error:
            faults.add(error, *([image_id] if image_id in known else []))


def _own_id(item: _Item, taken: set[str], what: str) -> str:
    """The id of an item, which no other of its list may have."""
    own = item.key("id")
    if own in taken:
        message = f"{item.place}: {what} id {own} is there twice"
        raise DataError(message, f"give every {what} an id of its own")
    taken.add(own)
    return own


def _label(
    item: _Item, image_id: str, known: Collection[str], label_of: Mapping[str, int]
) -> int:
    """The label of an annotation, whose image and category must be there."""
    if image_id not in known:
        message = f"{item.place}: image id {image_id} is not among the images"
        raise DataError(message, "add the image, or remove the annotation")
    category = item.key("category_id")
    if category not in label_of:
        message = f"{item.place}: category id {category} is not in categories"
        raise DataError(message, "add the category, or remove the annotation")
    return label_of[category]


def _box(item: _Item) -> list[float]:
    box = item.get("bbox")
    if not isinstance(box, list) or len(cast("list[Any]", box)) != _N_CORNERS:
        message = f"{item.place}: bbox must be [x, y, width, height], found {box!r}"
        raise DataError(message, "check that the file is in COCO's format")
    return [_number(v, f"{item.place}: bbox") for v in cast("list[Any]", box)]


def _number(value: object, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        message = f"{place} must hold numbers, found {value!r}"
        raise DataError(message, "check that the file is in COCO's format")
    return float(value)
