"""Putting things onto a street, lighting it and taking the picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from midhaul.vision.scenes.backdrop import cut_noise

if TYPE_CHECKING:
    from jaxtyping import Bool, Int16, UInt8

    from midhaul.vision.scenes.backdrop import StreetView
    from midhaul.vision.scenes.sketch import Lamp, Sketch

_COVERED = 127
_LEAST_BLUR = 0.3
_LIGHT_PX = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneItem:
    """One thing in a scene.

    Attributes:
        sketch: how it is drawn.
        label: its class, or -1 when it has none.
        x_m: its left side, from the image's left border in metres at its distance.
        px_per_m: its scale, which is its distance.
        lift_m: height above the ground at which it hangs; 0 when it stands.
        is_mirrored: left and right change places.
    """

    sketch: Sketch
    label: int
    x_m: float
    px_per_m: float
    lift_m: float
    is_mirrored: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Glow:
    x_px: float
    y_px: float
    radius_px: float
    colour: tuple[int, int, int]


@dataclass(slots=True, kw_only=True)
class Canvas:
    """A scene in progress.

    Attributes:
        pixels: ``(h, w, 3)`` RGB by daylight.
        owner: which thing each pixel shows, in the order of placing; -1 for none.
        windows: where lit windows of the empty street are.
        drawn_px: number of pixels of each thing if nothing hid it.
        glows: lights with the number of their thing.
    """

    pixels: UInt8[np.ndarray, "h w 3"]
    owner: Int16[np.ndarray, "h w"]
    windows: Bool[np.ndarray, "h w"]
    drawn_px: list[int]
    glows: list[tuple[int, _Glow]]


def place(canvas: Canvas, view: StreetView, item: SceneItem, haze: float) -> None:
    """Put a thing in front of everything that was put there before."""
    colours, cover = item.sketch.rasterise(item.px_per_m)
    if item.is_mirrored:
        colours, cover = colours[:, ::-1], cover[:, ::-1]
    scale = item.px_per_m
    left = round(item.x_m * scale)
    foot = round(view.row(scale) - item.lift_m * scale)
    number = len(canvas.drawn_px)
    canvas.drawn_px.append(int(np.count_nonzero(cover > _COVERED)))
    if not item.lift_m:
        start, end = item.sketch.foot_m or (0.0, item.sketch.width_m)
        middle_m = (start + end) / 2
        if item.is_mirrored:
            middle_m = item.sketch.width_m - middle_m
        middle = left + middle_m * scale
        _shadow(canvas.pixels, (middle, foot), ((end - start) * scale, scale))
    _blend(
        canvas, (left, foot - cover.shape[0]), (colours, cover), number, haze / scale
    )
    for lamp in item.sketch.lamps:
        canvas.glows.append((number, _glow(item, lamp, left, foot)))


def _glow(item: SceneItem, lamp: Lamp, left: int, foot: int) -> _Glow:
    scale = item.px_per_m
    x = item.sketch.width_m - lamp.x_m if item.is_mirrored else lamp.x_m
    return _Glow(
        x_px=left + x * scale,
        y_px=foot - lamp.y_m * scale,
        radius_px=lamp.radius_m * scale,
        colour=lamp.colour,
    )


def _shadow(
    pixels: np.ndarray, foot: tuple[float, float], size: tuple[float, float]
) -> None:
    (middle, low), (wide, scale) = foot, size
    rx, ry = wide * 0.55 + scale * 0.15, scale * 0.16
    y0, y1 = max(int(low - ry), 0), min(int(low + ry) + 2, pixels.shape[0])
    x0, x1 = max(int(middle - rx), 0), min(int(middle + rx) + 2, pixels.shape[1])
    if y0 >= y1 or x0 >= x1:
        return
    y, x = np.ogrid[y0:y1, x0:x1]
    distance = ((x - middle) / rx) ** 2 + ((y - low) / ry) ** 2
    dark = 1.0 - 0.6 * np.clip(1.0 - distance, 0.0, 1.0).astype(np.float32) ** 0.5
    part = pixels[y0:y1, x0:x1]
    pixels[y0:y1, x0:x1] = (part * dark[..., None]).astype(np.uint8)


def _blend(
    canvas: Canvas,
    corner: tuple[int, int],
    sprite: tuple[np.ndarray, np.ndarray],
    number: int,
    haze: float,
) -> None:
    colours, cover = sprite
    (x, y), (h, w) = corner, cover.shape
    height, width = canvas.owner.shape
    x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + w, width), min(y + h, height)
    if x0 >= x1 or y0 >= y1:
        return
    cover = cover[y0 - y : y1 - y, x0 - x : x1 - x]
    colours = colours[y0 - y : y1 - y, x0 - x : x1 - x]
    share = cover[..., None].astype(np.float32) * (1 / 255)
    front = colours + (190.0 - colours) * np.float32(min(haze * 4.0, 0.6))
    behind = canvas.pixels[y0:y1, x0:x1]
    canvas.pixels[y0:y1, x0:x1] = np.rint(behind + (front - behind) * share)
    canvas.owner[y0:y1, x0:x1][cover > _COVERED] = number


def light(
    rng: np.random.Generator, canvas: Canvas, view: StreetView
) -> UInt8[np.ndarray, "h w 3"]:
    """The scene as its light shows it: by day evenly, at night around the lamps."""
    height, width = canvas.owner.shape
    rows, columns = math.ceil(height / _LIGHT_PX), math.ceil(width / _LIGHT_PX)
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float32)
    if view.is_night:
        return _lamplight(rng, canvas, x, y)
    slope = rng.uniform(-0.25, 0.25, 2)
    tint = np.array([rng.uniform(0.94, 1.06), 1.0, rng.uniform(0.94, 1.06)])
    base = rng.uniform(0.8, 1.1)
    base = base + slope[0] * (x / columns - 0.5) + slope[1] * (y / rows - 0.5)
    return _times(canvas.pixels, (base[..., None] * tint).astype(np.float32))


def _lamplight(
    rng: np.random.Generator, canvas: Canvas, x: np.ndarray, y: np.ndarray
) -> UInt8[np.ndarray, "h w 3"]:
    height, width = canvas.owner.shape
    ambient = np.full((*x.shape, 3), rng.uniform(0.26, 0.45), np.float32)
    lit = ambient * np.array([0.86, 0.92, 1.12], np.float32)
    glow = np.zeros_like(lit)
    for number, lamp in canvas.glows:
        column, row = int(lamp.x_px), int(lamp.y_px)
        is_inside = 0 <= column < width and 0 <= row < height
        if is_inside and canvas.owner[row, column] != number:
            continue
        away = (x - lamp.x_px / _LIGHT_PX) ** 2 + (y - lamp.y_px / _LIGHT_PX) ** 2
        radius = max(lamp.radius_px / _LIGHT_PX, 0.3)
        colour = np.array(lamp.colour, np.float32) / 255
        lit += np.exp(-away / (2 * (radius * 4) ** 2))[..., None] * colour * 0.22
        glow += np.exp(-away / (2 * radius**2))[..., None] * colour * 100
    picture = _times(canvas.pixels, np.minimum(lit, 1.1))
    shining = canvas.windows & (canvas.owner < 0)
    if shining.any():
        picture[shining] = cv2.convertScaleAbs(canvas.pixels[shining], alpha=0.8)
    shine = cv2.resize(glow, (width, height), interpolation=cv2.INTER_LINEAR)
    return cv2.add(picture, cv2.convertScaleAbs(shine))


def _times(pixels: np.ndarray, factors: np.ndarray) -> UInt8[np.ndarray, "h w 3"]:
    height, width = pixels.shape[:2]
    full = cv2.resize(factors, (width, height), interpolation=cv2.INTER_LINEAR)
    return cv2.multiply(pixels, full, dtype=cv2.CV_8U)


def photograph(
    rng: np.random.Generator, pixels: UInt8[np.ndarray, "h w 3"]
) -> UInt8[np.ndarray, "h w 3"]:
    """What a camera makes of it: a little blur and noise."""
    height, width = pixels.shape[:2]
    blur = rng.uniform(0.0, 0.8)
    if blur > _LEAST_BLUR:
        pixels = cv2.GaussianBlur(pixels, (3, 3), blur)
    strength = rng.uniform(1.0, 5.0) / 64.0
    noise = cut_noise(rng, (width, height))
    return cv2.addWeighted(pixels, 1.0, noise, strength, 0.0, dtype=cv2.CV_8U)
