"""Collecting the boxes of a data set while checking each of them.

What is certainly an error stops the reading; what is merely untidy is mended and
counted into the data set's tallies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import DataError
from midhaul.model import GroundTruth, Tally

if TYPE_CHECKING:
    from collections.abc import Iterable

_TOLERANCE_PX = 1.0
"""How far a box may reach outside of its image by rounding alone."""
_NOISE_PX = 0.01
"""How far it may do so without a word: six digits of a share of a large image."""
_MAX_CLIPPED = 0.05
"""Objects cut by the edge of an image are often marked beyond it; where more than one
in twenty is, the boxes may be of other images, or in other units."""
_PLACES = 20
"""Places that a tally keeps."""
_MAX_FLAT = 0.01
"""A box without extent is an object that nobody can find any more."""


@dataclass(slots=True)
class _Boxes:
    corners: list[tuple[float, float, float, float]] = field(
        default_factory=list[tuple[float, float, float, float]]
    )
    labels: list[int] = field(default_factory=list[int])
    is_crowd: list[bool] = field(default_factory=list[bool])
    areas_px: list[float] = field(default_factory=list[float])


class TruthBuilder:
    """Checks boxes one by one and puts them together per image.

    A box that is not finite, has a negative extent or lies wholly outside of its image
    is an error. A box that reaches outside is clipped; one without extent is left out.
    Both are counted in ``tallies``, clipping by no more than a pixel by itself.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self._boxes: dict[str, _Boxes] = {}
        self._clipped: list[str] = []
        self._rounded: list[str] = []
        self._flat: list[str] = []

    def add(
        self,
        image_id: str,
        box: tuple[float, float, float, float],
        *,
        label: int,
        size: tuple[int, int],
        where: str,
        is_crowd: bool = False,
        area_px: float | None = None,
    ) -> None:
        """Take in one box.

        The box is x1, y1, x2, y2 in px; its own area decides its size class where
        ``area_px`` is absent. A crowd is a region that is not judged. DataError if no
        such box can be on the image.
        """
        mended = _clip(box, size, where)
        width, height = mended[2] - mended[0], mended[3] - mended[1]
        if width <= 0 or height <= 0:
            self._flat.append(where)
            return
        shift = max(abs(a - b) for a, b in zip(box, mended, strict=True))
        if shift > _TOLERANCE_PX:
            self._clipped.append(where)
        elif shift > _NOISE_PX:
            self._rounded.append(where)
        if area_px is None:
            area_px = width * height
        if not (math.isfinite(area_px) and area_px >= 0):
            message = f"{where}: an area must be a number ≥ 0, found {area_px}"
            raise DataError(message, "correct or remove this box")
        boxes = self._boxes.setdefault(image_id, _Boxes())
        boxes.corners.append(mended)
        boxes.labels.append(label)
        boxes.is_crowd.append(is_crowd)
        boxes.areas_px.append(area_px)

    @property
    def n_boxes(self) -> int:
        """Boxes taken in so far."""
        return sum(len(b.labels) for b in self._boxes.values())

    @property
    def image_ids(self) -> frozenset[str]:
        """The images that have a box, a crowd region among them."""
        return frozenset(self._boxes)

    @property
    def tallies(self) -> tuple[Tally, ...]:
        """What was mended and left out; empty where nothing was."""
        n = self.n_boxes + len(self._flat)
        counted = (
            (
                "boxes reach out of their image and were clipped to it",
                self._clipped,
                _MAX_CLIPPED,
                "Check that the boxes are of these images, in their size and in the "
                "format that was named; then correct them.",
            ),
            (
                "boxes reach out of their image by at most a pixel and were clipped",
                self._rounded,
                1.0,
                "Nothing needs to be done: rounding does this.",
            ),
            (
                "boxes without extent were left out",
                self._flat,
                _MAX_FLAT,
                "Mark these objects again, or remove their boxes.",
            ),
        )
        return tuple(
            Tally(
                what=what,
                n=len(places),
                of=n,
                max_share=max_share,
                advice=advice,
                places=tuple(places[:_PLACES]),
            )
            for what, places, max_share, advice in counted
            if places
        )

    def build(self, image_ids: Iterable[str]) -> dict[str, GroundTruth]:
        """The ground truth of every image; images without boxes get an empty one."""
        return {i: self._truth(self._boxes.get(i, _Boxes())) for i in image_ids}

    def _truth(self, boxes: _Boxes) -> GroundTruth:
        return GroundTruth(
            boxes=np.array(boxes.corners, np.float64).reshape(-1, 4),
            labels=np.array(boxes.labels, np.int32),
            is_crowd=np.array(boxes.is_crowd, np.bool_),
            areas_px=np.array(boxes.areas_px, np.float64),
            names=self._names,
        )


def _clip(
    box: tuple[float, float, float, float], size: tuple[int, int], where: str
) -> tuple[float, float, float, float]:
    """The part of a box that lies on the image, checked."""
    shown = ", ".join(f"{v:g}" for v in box)
    if not all(math.isfinite(v) for v in box):
        message = f"{where}: a box must be four finite numbers, found {shown}"
        raise DataError(message, "correct or remove this box")
    x1, y1, x2, y2 = box
    if x2 < x1 or y2 < y1:
        message = f"{where}: a box must not end before it begins, found {shown}"
        raise DataError(message, "correct or remove this box")
    width, height = size
    if x1 > width or y1 > height or x2 < 0 or y2 < 0:
        message = f"{where}: box {shown} lies outside of its image, {width}×{height} px"
        raise DataError(message, "correct the box, or the size of the image")
    return (
        min(max(x1, 0.0), width),
        min(max(y1, 0.0), height),
        min(max(x2, 0.0), width),
        min(max(y2, 0.0), height),
    )
