"""Collecting the boxes of a data set while checking each of them.

What is certainly an error stops the reading; what is merely untidy is mended, counted
and told in the data set's notes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import DataError
from midhaul.model import GroundTruth
from midhaul.vision.data import name_some

if TYPE_CHECKING:
    from collections.abc import Iterable

_TOLERANCE_PX = 1.0
"""How far a box may reach outside of its image by rounding alone."""


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
    Both are told in ``notes``, save clipping by no more than a pixel.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self._boxes: dict[str, _Boxes] = {}
        self._clipped: list[str] = []
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

        Args:
            image_id: the image that it is on.
            box: x1, y1, x2, y2 in px.
            label: index into the names.
            size: width and height of the image in px.
            where: file and place, for messages.
            is_crowd: true for a region that is not judged.
            area_px: area that decides its size class; that of the box when absent.

        Raises:
            DataError: no such box can be on the image.
        """
        mended = _clip(box, size, where)
        width, height = mended[2] - mended[0], mended[3] - mended[1]
        if width <= 0 or height <= 0:
            self._flat.append(where)
            return
        shift = max(abs(a - b) for a, b in zip(box, mended, strict=True))
        if shift > _TOLERANCE_PX:
            self._clipped.append(where)
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
    def notes(self) -> tuple[str, ...]:
        """What was mended, a sentence each."""
        notes: list[str] = []
        if self._clipped:
            notes.append(f"{name_some('box', self._clipped)} clipped to the image")
        if self._flat:
            notes.append(f"{name_some('box', self._flat)} without extent left out")
        return tuple(notes)

    def build(self, image_ids: Iterable[str]) -> dict[str, GroundTruth]:
        """The ground truth of every image; images without boxes get an empty one."""
        return {i: self._truth(self._boxes.get(i, _Boxes())) for i in image_ids}

    def _truth(self, boxes: _Boxes) -> GroundTruth:
        return GroundTruth(
            boxes=np.array(boxes.corners, np.float32).reshape(-1, 4),
            labels=np.array(boxes.labels, np.int32),
            is_crowd=np.array(boxes.is_crowd, np.bool_),
            areas_px=np.array(boxes.areas_px, np.float32),
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
