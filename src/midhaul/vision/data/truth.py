"""Collecting the boxes of a data set while checking each of them.

What is certainly an error stops the reading; what is merely untidy is mended and
counted into the data set's tallies.

Holds the sizes that annotations state against the image files.

Boxes belong to the picture that a person sees. Annotations say by their width and
height which picture they mean: that one, the stored one before EXIF turns it, or one of
another size. The first is taken as it is, the second is turned with its boxes, the
third is an error unless rescaling was asked for; all of it is counted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from midhaul.errors import DataError
from midhaul.model import GroundTruth, Tally
from midhaul.vision.data.files import stored_size_of
from midhaul.vision.images.orientation import (
    AS_STORED,
    has_same_shape,
    turned_boxes,
    turned_size,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

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


OnSizeMismatch: TypeAlias = Literal["error", "rescale"]

_SHOWN = 3
"""Files of each kind that an error names."""

_Size: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fit:
    """From the picture that boxes were drawn on to the one that is shown.

    Attributes:
        drawn: width and height of the former, px.
        orientation: how it is turned to become the latter.
        shown: width and height of the latter.
    """

    drawn: _Size
    orientation: int
    shown: _Size

    def apply(self, truth: GroundTruth) -> GroundTruth:
        """The boxes in px of the picture shown; the very ones where nothing changes."""
        if self.orientation == AS_STORED and self.drawn == self.shown:
            return truth
        boxes = turned_boxes(truth.boxes, self.orientation, self.drawn)
        width, height = turned_size(self.drawn, self.orientation)
        x, y = self.shown[0] / width, self.shown[1] / height
        scales = np.array([x, y, x, y])
        return replace(
            truth,
            boxes=(boxes * scales).astype(boxes.dtype),
            areas_px=(truth.areas_px * (x * y)).astype(truth.areas_px.dtype),
        )


class StatedSizes:
    """Looks at each image file of a data set once, and says what it found at the end.

    An image that has the shape that is stated and another size is an ``error``, or its
    boxes are to ``rescale``.
    """

    def __init__(self, on_mismatch: OnSizeMismatch = "error") -> None:
        self._on_mismatch = on_mismatch
        self._fits: dict[str, _Fit] = {}
        self._turned: list[str] = []
        self._drawn_stored: list[str] = []
        self._unsure: list[str] = []
        self._rescaled: list[str] = []
        self._wrong_size: list[str] = []
        self._wrong_shape: list[str] = []

    def add(
        self, image_id: str, file: Path, stated: _Size | None = None, where: str = ""
    ) -> _Size:
        """Look at an image: width and height of what its boxes were drawn on.

        ``stated`` is what the annotations say, at ``where``; where they say nothing,
        the picture is taken as a person sees it. DataError if the file is no image.
        """
        stored, orientation = stored_size_of(file)
        shown = turned_size(stored, orientation)
        if orientation != AS_STORED:
            self._turned.append(str(file))
        drawn = shown if stated is None else stated
        turn = self._turn_of(drawn, stored, orientation)
        if orientation != AS_STORED:
            if turn != AS_STORED:
                self._drawn_stored.append(str(file))
            elif stated is None or has_same_shape(stated, stored):
                self._unsure.append(str(file))
        frame = turned_size(drawn, turn)
        if frame != shown:
            found = (
                f"{file} has {shown[0]}×{shown[1]} px, "
                f"{where} says {drawn[0]}×{drawn[1]}"
            )
            if not has_same_shape(frame, shown):
                self._wrong_shape.append(found)
            elif self._on_mismatch == "error":
                self._wrong_size.append(found)
            else:
                self._rescaled.append(str(file))
        self._fits[image_id] = _Fit(drawn=drawn, orientation=turn, shown=shown)
        return drawn

    def each(self) -> list[DataError]:
        """The mistakes that :meth:`check` tells at once, one by one."""
        hint = 'use the images that were labelled, or data.on_size_mismatch = "rescale"'
        found = (*self._wrong_size, *self._wrong_shape)
        return [DataError(text, hint) for text in found]

    def check(self) -> None:
        """Refuse images that are not those that were labelled, all at once.

        The DataError says how many they are, and the first of each kind.
        """
        wrong = len(self._wrong_size) + len(self._wrong_shape)
        if not wrong:
            return
        parts: list[str] = []
        hints: list[str] = []
        if self._wrong_size:
            parts.append(_some("of the same shape", self._wrong_size))
            hints.append(
                'set data.on_size_mismatch = "rescale" where images were resized after '
                "they were labelled"
            )
        if self._wrong_shape:
            parts.append(_some("of another shape", self._wrong_shape))
            hints.append(
                "use the very images that were labelled (width and height changed "
                "places: their EXIF orientation was lost)"
            )
        message = (
            f"{wrong} of {len(self._fits)} images have another size than their "
            f"annotations say: {'; '.join(parts)}"
        )
        raise DataError(message, "; ".join(hints))

    @property
    def sizes(self) -> dict[str, _Size]:
        """Width and height of every image in px, as a person sees it."""
        return {image_id: fit.shown for image_id, fit in self._fits.items()}

    def fitted(self, truth: Mapping[str, GroundTruth]) -> dict[str, GroundTruth]:
        """Boxes in px of the pictures that were drawn on, in px of those shown."""
        return {i: self._fits[i].apply(found) for i, found in truth.items()}

    @property
    def tallies(self) -> tuple[Tally, ...]:
        """How many images were turned, assumed to be turned, or rescaled."""
        kinds = (
            (
                "images are stored turned (EXIF) and were read as a person sees them",
                self._turned,
                "Nothing, where people labelled what they saw.",
            ),
            (
                "images are annotated as they are stored: their boxes were turned with "
                "them",
                self._drawn_stored,
                "Look at some of them in the report; store the images upright.",
            ),
            (
                "images are turned by EXIF and no width and height tells whether their "
                "boxes are: they were taken as a person sees them",
                self._unsure,
                "Look at some of them in the report; store the images upright.",
            ),
            (
                "images have another size than their annotations say: boxes were "
                "rescaled",
                self._rescaled,
                "Use the images in the size in which they were labelled.",
            ),
        )
        return tuple(
            Tally(
                what=what,
                n=len(files),
                of=len(self._fits),
                max_share=1.0,
                advice=advice,
                places=tuple(files[:_PLACES]),
            )
            for what, files, advice in kinds
            if files
        )

    def _turn_of(self, drawn: _Size, stored: _Size, orientation: int) -> int:
        """How boxes are to be turned: not at all if they fit the picture as shown."""
        shown = turned_size(stored, orientation)
        if drawn == shown:
            return AS_STORED
        if drawn == stored:
            return orientation
        if has_same_shape(drawn, shown) or not has_same_shape(drawn, stored):
            return AS_STORED
        return orientation


def _some(kind: str, found: list[str]) -> str:
    more = "; …" if len(found) > _SHOWN else ""
    return f"{len(found)} {kind} ({'; '.join(found[:_SHOWN])}{more})"
