"""Backdrop of the built-in scenes: ground, houses with their fronts, and sky."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

from midhaul.vision.scenes.sketch import chance

if TYPE_CHECKING:
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
