"""Lists of images: the part of a data set that a text file names."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from midhaul.errors import DataError
from midhaul.vision.files import check_all_found, read_text

if TYPE_CHECKING:
    from pathlib import Path


def select_images(paths: dict[str, Path], select: Path | None) -> dict[str, Path]:
    """The images that a file names, one per line, in its order.

    Args:
        paths: files by image id.
        select: the first word of a line is an image id, or a path whose end is one;
            a second word (the flag in Pascal VOC's lists per class) is not read. All
            images when absent.

    Raises:
        DataError: the list is empty, repeats an image or names one that is missing.
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
