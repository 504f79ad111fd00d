"""Mistakes of a data set, gathered while it is read, so that all are said at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from midhaul.errors import DataError
from midhaul.model import Tally

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

OnBadItem: TypeAlias = Literal["error", "skip"]

_SHOWN = 10
"""Mistakes that an error lists; ``midhaul check`` lists all."""
_PLACES = 20
_MAX_SKIPPED = 0.05
"""Images that are left out make no number wrong, but what is judged is another set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFault:
    """One mistake: what was expected and found where, and what mends it."""

    message: str
    hint: str


class Faults:
    """Takes in what readers find, and decides what becomes of it.

    ``error`` ends the reading with all mistakes at once, ``skip`` leaves images with a
    mistake out, ``list`` does the same for who asks for ``found`` afterwards, and takes
    in what else ends a reading.
    """

    def __init__(self, on_bad_item: OnBadItem | Literal["list"] = "error") -> None:
        self._mode = on_bad_item
        self.found: list[DataFault] = []
        self._bad: dict[str, None] = {}

    def add(self, error: DataError, *image_ids: str) -> None:
        """Take in a mistake, and the images that are not to be trusted for it."""
        self.found.append(DataFault(message=error.message, hint=error.hint))
        self._bad |= dict.fromkeys(image_ids)

    @property
    def is_listing(self) -> bool:
        """True where nothing ends the reading that can be listed."""
        return self._mode == "list"

    def missing(self, files: Mapping[str, str], n: int, folder: object) -> None:
        """Take in that images are not there: one mistake each, or one for all.

        ``files`` has the name by which each image was looked for, by its id, ``n`` how
        many were looked for.
        """
        names = list(files.values())
        hint = "complete the folder, or set data.images to another"
        if self._mode == "error" and names:
            shown = ", ".join(names[:3]) + (
                ", …" if len(names) > len(names[:3]) else ""
            )
            what = (
                f"image {shown}"
                if len(names) == 1
                else f"{len(names)} images ({shown})"
            )
            self.add(DataError(f"{what} of {n} not found in {folder}", hint), *files)
            return
        for image_id, name in files.items():
            self.add(DataError(f"image {name} not found in {folder}", hint), image_id)

    def good(self, image_ids: Iterable[str]) -> tuple[str, ...]:
        """The images without a mistake."""
        return tuple(i for i in image_ids if i not in self._bad)

    def settle(self) -> None:
        """End the reading where it is to end; DataError if what was found is one."""
        if self._mode != "error" or not self.found:
            return
        first = self.found[0]
        n = len(self.found)
        if n == 1:
            raise DataError(first.message, first.hint)
        lines = [f"  {fault.message}" for fault in self.found[:_SHOWN]]
        if n > _SHOWN:
            lines.append(f"  … and {n - _SHOWN} more")
        hints = dict.fromkeys(fault.hint for fault in self.found[:_SHOWN] if fault.hint)
        hint = "; ".join(
            [
                *list(hints)[:3],
                'or set data.on_bad_item = "skip"; midhaul check lists all',
            ]
        )
        raise DataError("\n".join([f"{n} mistakes:", *lines]), hint)

    def tallies(self, n_images: int) -> list[Tally]:
        """How many images were left out."""
        if not self._bad:
            return []
        return [
            Tally(
                what="images have mistakes and were left out",
                n=len(self._bad),
                of=max(n_images, len(self._bad)),
                max_share=_MAX_SKIPPED,
                advice="Mend them: midhaul check lists every mistake with its place.",
                places=tuple(fault.message for fault in self.found[:_PLACES]),
            )
        ]
