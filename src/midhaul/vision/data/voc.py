"""Pascal VOC's format: reader of one XML file per image.

Corners in VOC's files count pixels from 1 and include the last one; here they count
from 0 and exclude it. Many tools do so themselves (``data.voc_origin``), and what
the files suggest is told. Objects marked ``difficult`` are not judged: they are kept as
regions in which a detection counts neither for nor against the detector (VOC lets one
detection off per such object, we let off all of them, as COCO does for crowds).

From which number a file counts its pixels is looked at as well.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from midhaul.errors import DataError
from midhaul.model import Tally
from midhaul.vision.data.dataset import Dataset, Faults
from midhaul.vision.data.files import (
    ImageFiles,
    check_folder,
    list_images,
    read_bytes,
    select_images,
    unread_images,
)
from midhaul.vision.data.names import names_from_file, names_given
from midhaul.vision.data.truth import StatedSizes, TruthBuilder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal

    from midhaul.vision.data.truth import OnSizeMismatch

    _Box = tuple[float, float, float, float]

_PLACES = 20
_FEW = 0.01
"""A box or two at the very edge may be a slip of the hand."""


class Origin:
    """Brings corners to a count from 0 that excludes the last pixel.

    The VOC devkit counts from 1 and includes the last pixel: a box of the whole image
    is 1, 1, width, height. Tools that count from 0 write 0, 0, width, height and leave
    the last one out. A corner at 0 can only be the latter; where boxes touch the left
    or upper edge at 1 and none lies at 0, it looks like the former.
    """

    def __init__(self, first: Literal[0, 1]) -> None:
        self._first = first
        self._n = 0
        self._at_zero: list[str] = []
        self._n_at_one = 0
        self._at_one: list[str] = []

    def box(self, corners: _Box, size: tuple[int, int], where: str) -> _Box:
        """A box by its corners, from xmin, ymin, xmax, ymax as the file has them."""
        x1, y1, x2, y2 = corners
        self._n += 1
        if x1 == 0 or y1 == 0:
            self._at_zero.append(where)
        elif 1 in (x1, y1):
            self._n_at_one += 1
        if 0 not in (x1, y1) and 1 in (x1, y1) and (x2 == size[0] or y2 == size[1]):
            self._at_one.append(where)
        return (x1 - self._first, y1 - self._first, x2, y2)

    @property
    def tallies(self) -> list[Tally]:
        """What speaks for the other count."""
        if self._first == 1 and self._at_zero:
            return [
                Tally(
                    what="boxes begin at pixel 0, which is none where pixels count "
                    "from 1: the files seem to count from 0",
                    n=len(self._at_zero),
                    of=self._n,
                    max_share=_FEW,
                    advice="Set data.voc_origin = 0.",
                    places=tuple(self._at_zero[:_PLACES]),
                )
            ]
        if self._first == 1 and self._n and not self._n_at_one:
            return [
                Tally(
                    what="boxes were taken to count pixels from 1, as the VOC devkit "
                    "does; none lies at the left or upper edge and tells",
                    n=self._n,
                    of=self._n,
                    max_share=1.0,
                    advice="Set data.voc_origin = 0 where their tool counts from 0.",
                )
            ]
        if self._first == 0 and self._at_one and not self._at_zero:
            return [
                Tally(
                    what="boxes begin at pixel 1 and reach the far edge, none begins "
                    "at 0: the files seem to count from 1",
                    n=len(self._at_one),
                    of=self._n,
                    max_share=_FEW,
                    advice="Set data.voc_origin = 1.",
                    places=tuple(self._at_one[:_PLACES]),
                )
            ]
        return []


_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_YES = frozenset({"1", "1.0", "true", "yes", "y", "t"})
_NO = frozenset({"0", "0.0", "false", "no", "n", "f", "none", "unspecified"})


_MAX_UNLABELLED = 0.5
"""Images left out make no number wrong, but where they are most of a folder it is
another one than that of the XML files."""


def read_voc(
    images: Path,
    annotations: Path | None = None,
    *,
    names: Sequence[str] | Path | str | None = None,
    select: Path | None = None,
    on_size_mismatch: OnSizeMismatch = "error",
    origin: Literal[0, 1] = 1,
    faults: Faults | None = None,
) -> Dataset:
    """Read a folder of images and its folder of XML files.

    ``images`` is ``JPEGImages``, or the folder above it; ``annotations`` has XML files
    of the same names, ``Annotations`` beside the images when absent. ``names`` is a
    label set, or a file with one name per line; by default the names that occur,
    sorted. ``select`` is a file with one image per line (``ImageSets/Main/val.txt``).
    The first pixel has the number ``origin``. ``faults`` takes in mistakes of single
    images; without it, all are a DataError with file, place and the way to mend it.
    """
    if (images / "JPEGImages").is_dir():
        images = images / "JPEGImages"
    folder = images.parent / "Annotations" if annotations is None else annotations
    check_folder(folder, "XML files", "data.annotations")
    listed = list_images(images)
    faults = faults or Faults()
    paths, files = _pair(listed, folder, images, select, faults)
    roots: dict[str, Element] = {}
    drawn: dict[str, tuple[int, int]] = {}
    stated = StatedSizes(on_size_mismatch)
    for i, path in paths.items():
        try:
            root = parse_xml(files[i], "annotation", "Pascal VOC's XML files")
            drawn[i] = stated.add(i, path, _stated(root, files[i]), str(files[i]))
            roots[i] = root
        except DataError as error:
            faults.add(error, i)
    known = _names(names, roots)
    builder, corners = TruthBuilder(known), Origin(origin)
    for i, root in roots.items():
        _add_boxes(builder, corners, root, i, drawn[i], files[i], known, faults)
    faults.settle()
    if faults.is_listing:
        for error in stated.each():
            faults.add(error)
    else:
        stated.check()
    good = faults.good(roots)
    if not builder.image_ids & set(good):
        message = f"no boxes in {len(files)} XML files of {folder}"
        raise DataError(message, "set data.annotations to another folder")
    return Dataset(
        name=images.parent.name or images.name,
        names=known,
        image_ids=good,
        truth=stated.fitted(builder.build(good)),
        sizes=stated.sizes,
        source=ImageFiles(paths),
        tallies=(
            *builder.tallies,
            *corners.tallies,
            *_unlabelled(listed, files, select),
            *(unread_images(images, len(listed)) if select is None else ()),
            *stated.tallies,
            *faults.tallies(len(files)),
        ),
    )


def _pair(
    found: dict[str, Path],
    folder: Path,
    images: Path,
    select: Path | None,
    faults: Faults,
) -> tuple[dict[str, Path], dict[str, Path]]:
    """The images to read and the XML file of each."""
    files = {p.stem: p for p in sorted(folder.glob("*.xml"))}
    if not files:
        message = f"no XML file found in {folder}"
        raise DataError(message, "set data.annotations to the folder of the XML files")
    if select is None:
        faults.missing({f: f for f in files if f not in found}, len(files), images)
        return {i: found[i] for i in files if i in found}, files
    chosen = select_images(found, select)
    if bare := [i for i in chosen if i not in files]:
        message = f"no XML file for image {bare[0]} ({len(bare)} in all) in {folder}"
        raise DataError(message, "complete the folder, or shorten data.select")
    return chosen, files


def _unlabelled(
    listed: dict[str, Path], files: dict[str, Path], select: Path | None
) -> list[Tally]:
    """Images that no XML file speaks of, where all were to be read."""
    bare = [path for i, path in listed.items() if i not in files]
    if select is not None or not bare:
        return []
    return [
        Tally(
            what="images have no XML file and were left out",
            n=len(bare),
            of=len(listed),
            max_share=_MAX_UNLABELLED,
            advice="Label them; if their XML files are elsewhere, set "
            "data.annotations, and if they are not meant, name the others in "
            "data.select.",
            places=tuple(map(str, bare[:_PLACES])),
        )
    ]


def parse_xml(file: Path, root_tag: str, what: str) -> Element:
    """The root of an XML file, which has a tag; one that declares entities is refused.

    DataError if the file is something else; ``what`` says what it should hold.
    """

    def refuse(*_: object) -> None:
        message = f"{file} declares a document type, which a label file never needs"
        raise DataError(message, "remove the DOCTYPE")

    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(read_bytes(file), True)  # noqa: FBT003 - expat takes no keyword
    except (expat.ExpatError, LookupError, ValueError) as error:
        message = f"expected XML in {file}, found something else: {error}"
        raise DataError(message, "download or export the file again") from error
    root = builder.close()
    if root.tag != root_tag:
        message = f"expected <{root_tag}> in {file}, found <{root.tag}>"
        raise DataError(message, f"set data.annotations to {what}")
    return root


def _names(
    given: Sequence[str] | Path | str | None, roots: dict[str, Element]
) -> tuple[str, ...]:
    if given is None:
        found = {_text(o, "name", "") for r in roots.values() for o in r.iter("object")}
        return tuple(sorted(found - {""}))
    if isinstance(given, str):
        return names_from_file(Path(given))
    return names_from_file(given) if isinstance(given, Path) else names_given(given)


def _stated(root: Element, file: Path) -> tuple[int, int] | None:
    """Width and height that the XML file says; None where it says none."""
    sides: list[int] = []
    for side in ("width", "height"):
        text = _text(root, f"size/{side}", "0")
        try:
            value = float(text)
            sides.append(int(value))
        except (ValueError, OverflowError) as error:
            message = f"{file}: {side} must be a number of px, found {text!r}"
            raise DataError(message, "correct the size, or leave it out") from error
        if value != sides[-1] or value < 0:
            message = f"{file}: {side} must be a number of px, found {text!r}"
            raise DataError(message, "correct the size, or leave it out")
    return (sides[0], sides[1]) if all(sides) else None


def _add_boxes(
    builder: TruthBuilder,
    corners: Origin,
    root: Element,
    image_id: str,
    size: tuple[int, int],
    file: Path,
    names: tuple[str, ...],
    faults: Faults,
) -> None:
    for number, item in enumerate(root.findall("object"), 1):
        where = f"{file}, object {number}"
        try:
            label = _label(item, names, where)
            x1, y1, x2, y2 = (_corner(item, corner, where) for corner in _CORNERS)
            builder.add(
                image_id,
                corners.box((x1, y1, x2, y2), size, where),
                label=label,
                size=size,
                where=where,
                is_crowd=_flag(item, "difficult", where),
            )
        except DataError as error:
            faults.add(error, image_id)


def _label(item: Element, names: tuple[str, ...], where: str) -> int:
    name = _text(item, "name", "")
    if name not in names:
        message = f"{where}: expected a known name, found {name!r}"
        raise DataError(message, "correct the object, or add it to data.names")
    return names.index(name)


def _flag(item: Element, key: str, where: str) -> bool:
    """Whether a flag is set: 1, true or yes, in any case."""
    text = _text(item, key, "0").casefold()
    if text in _YES or text in _NO:
        return text in _YES
    message = f"{where}: {key} must be 0 or 1, true or false, found {text!r}"
    raise DataError(message, "correct the object")


def _corner(item: Element, corner: str, where: str) -> float:
    text = _text(item, f"bndbox/{corner}", "")
    try:
        return float(text)
    except ValueError as error:
        message = f"{where}: {corner} must be a number, found {text!r}"
        raise DataError(message, "correct or remove this object") from error


def _text(item: Element, path: str, default: str) -> str:
    return (item.findtext(path) or default).strip()
