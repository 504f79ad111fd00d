"""Image files of a data set: all with their sizes, or those that a list names."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from PIL import Image

from midhaul import documents
from midhaul.errors import DataError, name_some
from midhaul.model import Tally
from midhaul.vision.images.codecs import PILLOW_ERRORS
from midhaul.vision.images.orientation import orientation_of, stored_size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_SUFFIXES = frozenset(
    {".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
)
_UNREAD = frozenset(
    {".arw", ".avif", ".cr2", ".dng", ".heic", ".heif", ".jp2", ".jxl", ".nef", ".pgm"}
    | {".pnm", ".ppm", ".psd", ".svg", ".tga"}
)
"""Formats of pictures that no decoder here reads."""
_PLACES = 20
_MAX_UNREAD = 0.05
"""Images that nobody is asked about make no number wrong, but another set of it."""


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """A source of images: one file per id.

    Attributes:
        paths: file of every image id.
    """

    paths: Mapping[str, Path]

    def __call__(self, image_id: str) -> bytes:
        """The bytes of the file; DataError if the file cannot be read."""
        return read_bytes(self.paths[image_id])


def list_images(folder: Path) -> dict[str, Path]:
    """Image files below a folder by relative path without suffix, sorted.

    DataError if there is no such folder, it holds no image, or two files differ in
    their suffix only.
    """
    check_folder(folder, "images", "data.images")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in _SUFFIXES or not path.is_file():
            continue
        key = path.relative_to(folder).with_suffix("").as_posix()
        if key in found:
            both = f"{found[key].name} and {path.name} in {path.parent}"
            message = f"image {key} is there twice: {both}"
            raise DataError(message, "remove one of the two")
        found[key] = path
    if not found:
        message = (
            f"no image found in {folder} (looked for {', '.join(sorted(_SUFFIXES))})"
        )
        raise DataError(message, "set data.images to the folder of the images")
    return found


def unread_images(folder: Path, n_read: int) -> list[Tally]:
    """Images below a folder that are there and of a format that is not read."""
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in _UNREAD)
    if not files:
        return []
    kinds = ", ".join(sorted({f.suffix.lower()[1:] for f in files}))
    return [
        Tally(
            what=f"images are of a format that is not read ({kinds}) and were left out",
            n=len(files),
            of=n_read + len(files),
            max_share=_MAX_UNREAD,
            advice="Convert them to JPEG or PNG.",
            places=tuple(map(str, files[:_PLACES])),
        )
    ]


def stored_size_of(path: Path) -> tuple[tuple[int, int], int]:
    """Width and height in px as stored, and the orientation, from a file's head.

    DataError if the file is no image.
    """
    try:
        with Image.open(path) as image:
            return stored_size(image), orientation_of(image)
    except (*PILLOW_ERRORS, Image.DecompressionBombError) as error:
        message = f"expected an image in {path}, found something else: {error}"
        raise DataError(message, "replace or remove this file") from error


def check_folder(folder: Path, what: str, key: str) -> None:
    """Say which folder is missing, and which key names it.

    DataError if there is no such folder.
    """
    if not os.path.isdir(folder):  # noqa: PTH112  a name that cannot be one is none
        found = "found a file" if os.path.isfile(folder) else "nothing is there"  # noqa: PTH113
        message = f"expected a folder of {what} at {folder}, {found}"
        raise DataError(message, f"set {key} to the folder of the {what}")


def check_all_found(missing: Sequence[str], n_expected: int, folder: Path) -> None:
    """Name the first few of the images that are missing.

    DataError if an image is missing.
    """
    if missing:
        message = f"{name_some('image', missing)} of {n_expected} not found in {folder}"
        raise DataError(message, "complete the folder, or set data.images to another")


def read_bytes(path: Path) -> bytes:
    """The bytes of a file; DataError if it cannot be read."""
    try:
        return documents.read_bytes(path)
    except (OSError, ValueError) as error:
        message = f"{path} cannot be read: {getattr(error, 'strerror', error)}"
        raise DataError(message, "check that the file is there and readable") from error


def read_json(path: Path) -> object:
    """What a JSON file holds; DataError if it cannot be read, or holds no JSON."""
    try:
        return documents.parse_json(read_bytes(path))
    except ValueError as error:
        message = f"expected JSON in {path}, found something else: {error}"
        raise DataError(message, "download or export the file again") from error


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, with or without a byte order mark.

    DataError if it cannot be read, or holds no UTF-8.
    """
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"expected UTF-8 text in {path}, found other bytes at {error.start}"
        raise DataError(message, "save the file as UTF-8") from error


def select_images(paths: dict[str, Path], select: Path | None) -> dict[str, Path]:
    """The images that a file names, one per line, in its order.

    The first word of a line is an image id, or a path whose end is one; a second word
    (the flag in Pascal VOC's lists per class) is not read. All images without a file.
    DataError if the list is empty, repeats an image or names one that is missing.
    """
    if select is None:
        return paths
    wanted = [w[0] for line in read_text(select).splitlines() if (w := line.split())]
    if not wanted:
        message = f"{select} names no image"
        raise DataError(message, "set data.select to another file, or leave it out")
    suffixes = {p.suffix for p in paths.values()}
    chosen: dict[str, Path] = {}
    missing: list[str] = []
    for name in wanted:
        image_id = _find(name, paths, suffixes)
        if image_id is None:
            missing.append(name)
        elif image_id in chosen:
            message = f"{select} names image {name} twice"
            raise DataError(message, "remove one of the lines")
        else:
            chosen[image_id] = paths[image_id]
    folder = next(iter(paths.values())).parent
    check_all_found(missing, len(wanted), folder)
    return chosen


def _find(name: str, paths: dict[str, Path], suffixes: set[str]) -> str | None:
    """The id that a line of a list stands for: itself, or the end of a path."""
    path = PurePosixPath(name)
    if path.suffix in suffixes:
        path = path.with_suffix("")
    for begin in range(len(path.parts)):
        candidate = "/".join(path.parts[begin:])
        if candidate in paths:
            return candidate
    return None
