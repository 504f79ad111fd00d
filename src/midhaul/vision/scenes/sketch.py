"""Sketches in metres, and their pixels and colours: how built-in scenes draw a thing.

A sketch is a list of polygons and strokes with the origin at the lower left corner of
the thing, x to the right and y upwards, in metres. It knows nothing of pixels; only
``rasterise`` does.

How chance picks among the colours of things is said here as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import UInt8

PAINTS: tuple[Colour, ...] = (
    (188, 30, 34),
    (28, 60, 130),
    (226, 226, 222),
    (40, 42, 46),
    (146, 150, 154),
    (238, 188, 40),
    (44, 96, 66),
    (120, 70, 40),
    (92, 150, 190),
)
"""Of vehicles and panels."""
TYRE: Colour = (26, 26, 28)
"""Of tyres and other rubber."""
RIM: Colour = (150, 152, 156)
"""Of bare metal."""
WHITE_LIGHT: Colour = (255, 244, 210)
"""What headlamps shine in."""
RED_LIGHT: Colour = (255, 60, 40)
"""What rear lamps shine in."""


def chance(rng: np.random.Generator, share: float) -> bool:
    """True in ``share`` of all calls."""
    return bool(rng.random() < share)


def pick(rng: np.random.Generator, colours: tuple[Colour, ...]) -> Colour:
    """One of several colours."""
    return colours[int(rng.integers(len(colours)))]


def shade(colour: Colour, factor: float) -> Colour:
    """The same colour, brighter or darker."""
    red, green, blue = (min(255, int(part * factor)) for part in colour)
    return red, green, blue


Colour: TypeAlias = tuple[int, int, int]
Point: TypeAlias = tuple[float, float]

_FRACTION_BITS = 4
_SPRITE_LIMIT_PX = 1200


@dataclass(frozen=True, slots=True, kw_only=True)
class Lamp:
    """A light that a thing carries.

    Attributes:
        x_m: place, from the left side of the sketch.
        y_m: place, from the lower side of the sketch.
        radius_m: radius of the glow around it.
        colour: what it shines in.
    """

    x_m: float
    y_m: float
    radius_m: float
    colour: Colour


@dataclass(slots=True, kw_only=True)
class Sketch:
    """A drawing in progress.

    Attributes:
        width_m: extent to the right.
        height_m: extent upwards.
        foot_m: from where to where it touches the ground; all of it when ``None``.
        lamps: lights that shine at night.
    """

    width_m: float
    height_m: float
    foot_m: tuple[float, float] | None = None
    lamps: list[Lamp] = field(default_factory=list[Lamp])
    _parts: list[tuple[np.ndarray, Colour, float]] = field(
        default_factory=list[tuple[np.ndarray, Colour, float]]
    )

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        """Fill a polygon."""
        self._parts.append((np.array(points, np.float64), colour, 0.0))

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: Colour) -> None:
        """Fill a rectangle between two corners."""
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour)

    def disc(
        self, x: float, y: float, rx: float, colour: Colour, *, ry: float = 0.0
    ) -> None:
        """Fill a circle of radius ``rx``, or an ellipse when ``ry`` is given."""
        turn = np.linspace(0.0, 2 * math.pi, 20, endpoint=False)
        points = np.stack(
            [x + rx * np.cos(turn), y + (ry or rx) * np.sin(turn)], axis=1
        )
        self._parts.append((points, colour, 0.0))

    def stroke(self, points: Sequence[Point], width_m: float, colour: Colour) -> None:
        """Draw a line of some width through the points."""
        self._parts.append((np.array(points, np.float64), colour, width_m))

    def ring(
        self, x: float, y: float, r: float, width_m: float, colour: Colour
    ) -> None:
        """Draw a circle's line only; what lies inside stays open."""
        turn = np.linspace(0.0, 2 * math.pi, 25)
        points = np.stack([x + r * np.cos(turn), y + r * np.sin(turn)], axis=1)
        self._parts.append((points, colour, width_m))

    def lamp(self, x: float, y: float, radius_m: float, colour: Colour) -> None:
        """Add a light."""
        self.lamps.append(Lamp(x_m=x, y_m=y, radius_m=radius_m, colour=colour))

    def rasterise(
        self, px_per_m: float
    ) -> tuple[UInt8[np.ndarray, "h w 3"], np.ndarray]:
        """Colours and coverage at a scale, anti-aliased by oversampling.

        The lower left corner of the sketch is that of the arrays.
        """
        width = max(math.ceil(self.width_m * px_per_m), 2)
        height = max(math.ceil(self.height_m * px_per_m), 2)
        over = max(1, min(3, _SPRITE_LIMIT_PX // max(width, height)))
        scale = px_per_m * over
        colours = np.full((height * over, width * over, 3), 90, np.uint8)
        cover = np.zeros((height * over, width * over), np.uint8)
        flip = np.array([scale, -scale])
        origin = np.array([0.0, height * over])
        for points, colour, width_m in self._parts:
            corners = np.rint((points * flip + origin) * (1 << _FRACTION_BITS) - 8)
            outline, shift = [corners.astype(np.int32)], _FRACTION_BITS
            for target, ink in ((colours, colour), (cover, 255)):
                if width_m:
                    thick = max(round(width_m * scale), 1)
                    cv2.polylines(
                        target,
                        outline,
                        isClosed=False,
                        color=ink,
                        thickness=thick,
                        shift=shift,
                    )
                else:
                    cv2.fillPoly(target, outline, ink, shift=shift)
        if over > 1:
            size = (width, height)
            colours = cv2.resize(colours, size, interpolation=cv2.INTER_AREA)
            cover = cv2.resize(cover, size, interpolation=cv2.INTER_AREA)
        return colours, cover
