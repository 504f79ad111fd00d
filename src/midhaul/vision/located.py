"""Where the ``file_name`` of an annotation file leads, as different tools write it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.errors import DataError
from midhaul.model import Tally

if TYPE_CHECKING:
    from pathlib import Path

_PLACES = 20


class Located:
    """Finds the files of images below a folder.

    A name is relative to the folder. Tools also write the folder again
    (``images/1.jpg``), Windows' separators, or a whole path of another machine: a name
    that leads to nothing is looked for by its end, longest first, and counted.

    Args:
        folder: of the images.

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
        """The file of an image; None where there is none.

        Args:
            image_id: the image.
            place: where its entry stands, for messages.
            file_name: as the entry has it.

        Raises:
            DataError: it leads out of the folder, or to the file of another image.
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
