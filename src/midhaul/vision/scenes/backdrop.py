"""Backdrop of the built-in scenes, and things in them that are no class.

The backdrop is ground, houses with their fronts, and sky. The things stand at the
roadside; they hide others and mislead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

from midhaul.vision.scenes.sketch import Sketch, chance

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Bool, Int16, UInt8

    from midhaul.vision.scenes.sketch import Colour


def jitter(rng: np.random.Generator, colour: Colour, spread: float) -> Colour:
    """A colour near another: brighter or darker by up to ``spread``, hue shifted."""
    shift = rng.uniform(1.0 - spread, 1.0 + spread)
    red, green, blue = (
        int(np.clip(part * shift * rng.uniform(0.94, 1.06), 0, 255)) for part in colour
    )
    return red, green, blue


def facade(
    rng: np.random.Generator, width: int, height: int, *, is_night: bool
) -> UInt8[np.ndarray, "h w 3"]:
    """The front of a house: courses of brick, rows of windows, a shop below."""
    walls: tuple[Colour, ...] = (
        (150, 92, 74),
        (188, 170, 140),
        (140, 140, 138),
        (170, 110, 88),
        (202, 196, 180),
        (112, 100, 96),
    )
    wall = jitter(rng, walls[int(rng.integers(len(walls)))], 0.15)
    front = np.empty((height, width, 3), np.uint8)
    front[:] = wall
    course = int(rng.integers(4, 8))
    front[::course] = [int(part * 0.86) for part in wall]
    n_rows, n_columns = max(height // 46, 1), max(width // 36, 1)
    row_px, column_px = height / (n_rows + 0.6), width / n_columns
    share = rng.uniform(0.45, 0.65)
    frame = jitter(rng, (226, 222, 210), 0.1)
    lit = rng.random((n_rows, n_columns)) < (0.35 if is_night else 0.06)
    glint = rng.uniform(0.6, 1.4, (n_rows, n_columns))
    for row in range(n_rows):
        y0, y1 = int((row + 0.25) * row_px), int((row + 0.85) * row_px)
        for column in range(n_columns):
            x0 = int((column + 0.5 - share / 2) * column_px)
            x1 = int((column + 0.5 + share / 2) * column_px)
            glass: Colour = (255, 214, 130) if lit[row, column] else (62, 80, 98)
            scale = float(glint[row, column])
            scale = min(scale, 1.1) if lit[row, column] else scale
            front[y0:y1, x0:x1] = frame
            front[y0 + 2 : y1 - 2, x0 + 2 : x1 - 2] = [
                min(255, int(part * scale)) for part in glass
            ]
            front[(y0 + y1) // 2, x0:x1] = frame
    _shop(rng, front, int(n_rows * row_px))
    return front


def _shop(rng: np.random.Generator, front: np.ndarray, top: int) -> None:
    height, width = front.shape[:2]
    awning = jitter(rng, (150, 60, 60) if chance(rng, 0.5) else (50, 90, 110), 0.4)
    front[top:] = (54, 58, 66)
    stripe = int(rng.integers(5, 12))
    for x in range(0, width, stripe):
        colour = awning if (x // stripe) % 2 else (230, 226, 216)
        front[top : top + max((height - top) // 4, 2), x : x + stripe] = colour


_NOISE_SEED = 20
_NOISE_MARGIN_PX = 128
_WALL_SHARE = 0.12


@dataclass(frozen=True, slots=True, kw_only=True)
class StreetView:
    """How the ground is seen.

    A point of the ground where one metre measures ``k`` px lies ``camera_m * k`` px
    below the horizon.

    Attributes:
        horizon_px: row of the horizon.
        vanishing_px: column towards which the road runs.
        camera_m: height of the camera above the ground.
        nearest: scale in px per metre at the lower edge of the image.
        is_along: the road runs away from the camera, or crosses the view.
        is_night: whether lamps are the light.
        road_m: half the width of the road (along), or its scales' share (across).
    """

    horizon_px: float
    vanishing_px: float
    camera_m: float
    nearest: float
    is_along: bool
    is_night: bool
    road_m: float

    def row(self, px_per_m: float) -> float:
        """Row of the ground where a metre measures so many px."""
        return self.horizon_px + self.camera_m * px_per_m

    def column(self, x_m: float, px_per_m: float) -> float:
        """Column of a point ``x_m`` to the right of the road's middle."""
        return self.vanishing_px + x_m * px_per_m


@lru_cache(maxsize=4)
def noise(width: int, height: int) -> Int16[np.ndarray, "h w 3"]:
    """A fixed tile of white noise, standard deviation 64, larger than the image."""
    rng = np.random.default_rng(_NOISE_SEED)
    shape = (height + _NOISE_MARGIN_PX, width + _NOISE_MARGIN_PX, 3)
    return np.rint(rng.normal(0.0, 64.0, shape)).astype(np.int16)


@lru_cache(maxsize=4)
def _grain(width: int, height: int) -> Int16[np.ndarray, "h w"]:
    """A fixed grey texture with detail at several sizes."""
    rng = np.random.default_rng(_NOISE_SEED + 1)
    size = (width + _NOISE_MARGIN_PX, height + _NOISE_MARGIN_PX)
    total = np.zeros(size[::-1], np.float32)
    for step, weight in ((1, 24.0), (3, 20.0), (9, 18.0), (31, 16.0)):
        shape = (size[1] // step + 2, size[0] // step + 2)
        coarse = rng.normal(0.0, weight, shape).astype(np.float32)
        total += cv2.resize(coarse, size, interpolation=cv2.INTER_LINEAR)
    return np.rint(total).astype(np.int16)


def _cut(
    tile: np.ndarray, rng: np.random.Generator, size: tuple[int, int]
) -> np.ndarray:
    width, height = size
    y, x = (int(v) for v in rng.integers(0, _NOISE_MARGIN_PX, 2))
    return tile[y : y + height, x : x + width]


def cut_noise(
    rng: np.random.Generator, size: tuple[int, int]
) -> Int16[np.ndarray, "h w 3"]:
    """A piece of the noise tile for an image of ``(width, height)``."""
    return _cut(noise(*size), rng, size)


def _sky(rng: np.random.Generator, image: np.ndarray, view: StreetView) -> None:
    far = 0.0 if view.is_along else view.nearest * _WALL_SHARE
    rows = int(view.row(far)) + 1
    if view.is_night:
        top, low = (8, 10, 26), (34, 34, 56)
    else:
        top, low = (
            jitter(rng, (112, 156, 214), 0.25),
            jitter(rng, (206, 216, 226), 0.12),
        )
    ramp = np.linspace(0.0, 1.0, rows, dtype=np.float32)[:, None, None]
    sky = np.array(top, np.float32) * (1 - ramp) + np.array(low, np.float32) * ramp
    image[:rows] = sky.astype(np.uint8)


def _strip(
    image: np.ndarray, corners: list[tuple[float, float]], colour: Colour
) -> None:
    points = np.rint(np.array(corners) * 16).astype(np.int32)
    cv2.fillPoly(image, [points], colour, shift=4, lineType=cv2.LINE_AA)


def _road_along(rng: np.random.Generator, image: np.ndarray, view: StreetView) -> None:
    height = image.shape[0]
    far, near = 1.5, view.nearest * 1.3
    asphalt = jitter(rng, (92, 92, 96), 0.2)
    pavement = jitter(rng, (158, 152, 144), 0.15)
    image[int(view.horizon_px) :] = pavement

    def between(
        left_m: float, right_m: float, ks: tuple[float, float], c: Colour
    ) -> None:
        corners = [
            (view.column(left_m, ks[0]), view.row(ks[0])),
            (view.column(right_m, ks[0]), view.row(ks[0])),
            (view.column(right_m, ks[1]), view.row(ks[1])),
            (view.column(left_m, ks[1]), view.row(ks[1])),
        ]
        _strip(image, corners, c)

    half = view.road_m
    between(-half - 0.3, half + 0.3, (far, near), (190, 186, 178))
    between(-half, half, (far, near), asphalt)
    start = far
    while view.row(start) < height:
        between(-0.1, 0.1, (start, start * 1.18), (226, 224, 214))
        start *= 1.45
    if chance(rng, 0.5):
        k = float(rng.uniform(0.35, 0.8)) * view.nearest
        for i in range(-int(half), int(half)):
            between(i + 0.2, i + 0.7, (k, k * 1.14), (226, 224, 214))


def _houses_along(
    rng: np.random.Generator, image: np.ndarray, view: StreetView
) -> None:
    height, width = image.shape[:2]
    for side in (-1, 1):
        edge_m = side * (view.road_m + rng.uniform(3.0, 5.5))
        near = view.nearest * 1.6
        tall_m = rng.uniform(7.0, 14.0)
        for near_k, far_k in (
            (near, near * 0.42),
            (near * 0.42, near * 0.17),
            (near * 0.17, 2.0),
        ):
            texture = facade(rng, 220, 200, is_night=view.is_night)
            top_m = tall_m * rng.uniform(0.7, 1.2)
            corners = [
                (view.column(edge_m, k), view.row(k) - up * k)
                for k, up in (
                    (far_k, top_m),
                    (near_k, top_m),
                    (near_k, 0.0),
                    (far_k, 0.0),
                )
            ]
            source = np.array([(0, 0), (220, 0), (220, 200), (0, 200)], np.float32)
            warp = cv2.getPerspectiveTransform(source, np.array(corners, np.float32))
            columns = [x for x, _ in corners]
            x0 = max(int(min(columns)), 0)
            x1 = min(int(max(columns)) + 1, width)
            if x1 <= x0:
                continue
            warp = np.array([[1, 0, -x0], [0, 1, 0], [0, 0, 1]], np.float64) @ warp
            part = np.ascontiguousarray(image[:, x0:x1])
            cv2.warpPerspective(
                texture,
                warp,
                (x1 - x0, height),
                dst=part,
                flags=cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_TRANSPARENT,
            )
            image[:, x0:x1] = part


def _road_across(rng: np.random.Generator, image: np.ndarray, view: StreetView) -> None:
    width = image.shape[1]
    back = view.row(view.nearest * _WALL_SHARE)
    x = int(rng.integers(-60, 0))
    while x < width:
        wide, tall = int(rng.integers(90, 220)), int(rng.uniform(0.6, 1.3) * back)
        front = facade(rng, wide, max(tall, 40), is_night=view.is_night)
        top = int(back) - front.shape[0]
        x0, y0 = max(x, 0), max(top, 0)
        x1 = min(x + wide, width)
        if x1 > x0:
            image[y0 : int(back), x0:x1] = front[
                y0 - top : int(back) - top, x0 - x : x1 - x
            ]
        x += wide + (int(rng.integers(10, 60)) if chance(rng, 0.25) else 0)
    pavement = jitter(rng, (158, 152, 144), 0.15)
    image[int(back) :] = pavement
    start = view.row(view.nearest * 0.2)
    end = view.row(view.nearest * (0.2 + view.road_m))
    image[int(start) - 2 : int(start)] = (196, 192, 184)
    image[int(start) : int(end)] = jitter(rng, (92, 92, 96), 0.2)
    image[int(end) : int(end) + 3] = (196, 192, 184)
    middle, dash = int((start * 2 + end) / 3), int(rng.integers(20, 40))
    for x in range(int(rng.integers(0, dash)), width, dash * 2):
        image[middle : middle + 3, x : x + dash] = (226, 224, 214)


def backdrop(
    rng: np.random.Generator, view: StreetView, size: tuple[int, int]
) -> UInt8[np.ndarray, "h w 3"]:
    """The empty street, before anything stands on it.

    The size is width and height in px.
    """
    width, height = size
    image = np.empty((height, width, 3), np.uint8)
    _sky(rng, image, view)
    if view.is_along:
        _road_along(rng, image, view)
        _houses_along(rng, image, view)
    else:
        _road_across(rng, image, view)
    strength = rng.uniform(0.12, 0.4)
    grain = cv2.merge([_cut(_grain(width, height), rng, size)] * 3)
    below = int(view.horizon_px * (1.0 if view.is_along else 0.7))
    image[below:] = cv2.addWeighted(
        image[below:], 1.0, grain[below:], strength, 0.0, dtype=cv2.CV_8U
    )
    return image


def lit_windows(
    street: UInt8[np.ndarray, "h w 3"], view: StreetView
) -> Bool[np.ndarray, "h w"]:
    """Where the empty street shines by itself at night: its yellow pixels."""
    if not view.is_night:
        return np.zeros(street.shape[:2], np.bool_)
    red, green, blue = (street[..., i].astype(np.float32) for i in range(3))
    return (red > 130) & (green > 0.76 * red) & (blue < 0.62 * red)  # noqa: PLR2004


_STEEL: Colour = (96, 100, 104)


def pole(height_m: float) -> Sketch:
    """What signs and traffic lights hang on."""
    sketch = Sketch(width_m=0.16, height_m=height_m)
    sketch.box(0.0, 0.0, 0.16, height_m, _STEEL)
    sketch.box(0.0, 0.0, 0.05, height_m, (140, 144, 148))
    return sketch


def tree(rng: np.random.Generator) -> Sketch:
    """A street tree with a crown of many leaves' colours."""
    high = rng.uniform(3.2, 5.0)
    sketch = Sketch(width_m=3.0, height_m=high, foot_m=(1.2, 1.8))
    sketch.box(1.38, 0.0, 1.62, high * 0.6, (84, 62, 46))
    base = rng.uniform(0.7, 1.1)
    for _ in range(26):
        x, y = rng.normal(1.5, 0.5), rng.normal(high * 0.68, high * 0.12)
        shade = base * rng.uniform(0.6, 1.2)
        green: Colour = (int(62 * shade), int(110 * shade), int(50 * shade))
        sketch.disc(x, y, rng.uniform(0.25, 0.55), green)
    return sketch


def street_lamp(rng: np.random.Generator) -> Sketch:
    """A lamp post; it lights the ground at night."""
    high = rng.uniform(4.0, 5.0)
    sketch = Sketch(width_m=1.2, height_m=high, foot_m=(0.05, 0.4))
    sketch.box(0.14, 0.0, 0.26, high - 0.1, _STEEL)
    sketch.stroke([(0.2, high - 0.1), (1.0, high - 0.06)], 0.08, _STEEL)
    sketch.box(0.7, high - 0.2, 1.15, high - 0.08, (230, 226, 200))
    sketch.lamp(0.92, high - 0.16, 1.3, (255, 226, 160))
    return sketch


def litter_bin(rng: np.random.Generator) -> Sketch:
    """A bin, as dark and as tall as a dog."""
    sketch = Sketch(width_m=0.7, height_m=1.0)
    green = int(rng.integers(50, 110))
    sketch.polygon(
        [(0.1, 0.0), (0.6, 0.0), (0.68, 0.85), (0.02, 0.85)], (40, green, 54)
    )
    sketch.box(0.0, 0.85, 0.7, 1.0, (30, 34, 34))
    return sketch


def bollard(rng: np.random.Generator) -> Sketch:
    """A bollard, upright like a far person."""
    high = rng.uniform(0.9, 1.2)
    sketch = Sketch(width_m=0.3, height_m=high)
    sketch.box(0.04, 0.0, 0.26, high, (150, 60, 40))
    sketch.box(0.04, high * 0.6, 0.26, high * 0.8, (236, 234, 228))
    return sketch


def letter_box(rng: np.random.Generator) -> Sketch:
    """A red box that has a stop sign's colour."""
    sketch = Sketch(width_m=0.7, height_m=1.5)
    red = int(rng.integers(160, 210))
    sketch.box(0.0, 0.0, 0.7, 1.4, (red, 30, 34))
    sketch.disc(0.35, 1.38, 0.35, (red, 30, 34), ry=0.12)
    sketch.box(0.14, 1.1, 0.56, 1.18, (30, 20, 20))
    return sketch


def round_sign(rng: np.random.Generator) -> Sketch:
    """A round sign: no entry, no parking, or a limit; no class."""
    sketch = Sketch(width_m=1.0, height_m=1.0)
    kind = ("no entry", "one way", "no parking", "limit")[int(rng.integers(4))]
    red, white, blue = (196, 26, 34), (240, 238, 234), (34, 70, 160)
    sketch.disc(0.5, 0.5, 0.5, white if kind in ("no entry", "one way") else red)
    if kind == "no entry":
        sketch.disc(0.5, 0.5, 0.46, red)
        sketch.box(0.2, 0.42, 0.8, 0.58, white)
    elif kind == "one way":
        sketch.disc(0.5, 0.5, 0.46, blue)
        sketch.polygon([(0.3, 0.4), (0.7, 0.4), (0.5, 0.8)], white)
    elif kind == "no parking":
        sketch.disc(0.5, 0.5, 0.38, blue)
        sketch.stroke([(0.2, 0.8), (0.8, 0.2)], 0.1, red)
    else:
        sketch.disc(0.5, 0.5, 0.37, white)
        for x in (0.36, 0.64):
            left, right = x + 0.09, x + 0.09 * math.cos(4)
            sketch.polygon([(left, 0.34), (left, 0.66), (right, 0.66)], (20, 20, 20))
    return sketch


STREET_FURNITURE: tuple[Callable[[np.random.Generator], Sketch], ...] = (
    tree,
    street_lamp,
    litter_bin,
    bollard,
    letter_box,
)
"""What stands on the pavement."""
