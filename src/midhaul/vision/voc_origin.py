"""From which number a VOC file counts its pixels, and what the files suggest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.model import Tally

if TYPE_CHECKING:
    from typing import Literal

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

    Args:
        first: number of the first pixel, 0 or 1.
    """

    def __init__(self, first: Literal[0, 1]) -> None:
        self._first = first
        self._n = 0
        self._at_zero: list[str] = []
        self._n_at_one = 0
        self._at_one: list[str] = []

    def box(self, corners: _Box, size: tuple[int, int], where: str) -> _Box:
        """A box by its corners, from those of the file.

        Args:
            corners: xmin, ymin, xmax, ymax as the file has them.
            size: width and height of the image in px.
            where: file and place.
        """
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
