"""Street scenes with exact boxes, drawn from a seed: the built-in data set.

A scene is a function of ``(seed, index, split)``. The three splits spawn different
streams of chance from one seed, so no scene that a detector was trained on can come up
in an evaluation, whatever its seed.

What counts as truth: the box of a thing is the extent of those of its pixels that can
be seen, exclusive at the right and below, so it ends where another thing or the image's
border hides the rest. Things of which less than 30 % can be seen, or whose box is less
than 5 px on a side, are drawn but are no truth. The area is the number of seen pixels.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import cv2
import numpy as np
from PIL import Image

from midhaul.model import GroundTruth
from midhaul.model.display import Shown
from midhaul.vision.scenes.backdrop import (
    STREET_FURNITURE,
    StreetView,
    backdrop,
    cut_noise,
    lit_windows,
    pole,
    round_sign,
)
from midhaul.vision.scenes.objects import SKETCHES
from midhaul.vision.scenes.sketch import chance

if TYPE_CHECKING:
    from jaxtyping import Bool, Int16, UInt8

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


Split: TypeAlias = Literal["evaluation", "calibration", "training"]

LABELS: tuple[str, ...] = tuple(SKETCHES)
"""The classes, in the order of their label indices."""
WIDTH = 512
"""Width of a scene in px unless another is asked for."""
HEIGHT = 384
"""Height of a scene in px unless another is asked for."""
JPEG_QUALITY = 92
"""Quality at which scenes are encoded, 4:2:0 like most cameras do."""

_SPAWN_KEYS: dict[Split, int] = {"evaluation": 1, "calibration": 2, "training": 3}
_SMALLEST_SHARE = 0.12
_LEAST_SEEN = 0.3
_LEAST_SIDE_PX = 5
_VEHICLES = ("car", "taxi", "bus", "truck", "motorcycle", "bicycle")
_HUNG = ("traffic light", "stop sign")
_WEIGHTS = (0.17, 0.1, 0.08, 0.12, 0.1, 0.08, 0.08, 0.09, 0.09, 0.09)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Scene(Shown):
    """A picture and what can be seen in it.

    Attributes:
        pixels: ``(h, w, 3)`` RGB.
        truth: boxes of everything that counts; names are ``LABELS``.
        is_night: whether lamps were the light.
    """

    pixels: UInt8[np.ndarray, "h w 3"]
    truth: GroundTruth
    is_night: bool


def make_scene(
    seed: int,
    index: int,
    split: Split = "evaluation",
    *,
    width: int = WIDTH,
    height: int = HEIGHT,
) -> Scene:
    """Draw one scene; the same arguments give the same pixels.

    Args:
        seed: names a series of scenes, not negative.
        index: place in the series, not negative.
        split: which of three disjoint sets of scenes; the built-in detectors were
            trained on ``"training"`` only.
        width: width in px, at least 128.
        height: height in px, at least 96.
    """
    sequence = np.random.SeedSequence(seed, spawn_key=(_SPAWN_KEYS[split], index))
    rng = np.random.Generator(np.random.PCG64(sequence))
    view = _view(rng, width, height)
    street = backdrop(rng, view, (width, height))
    canvas = Canvas(
        pixels=street,
        windows=lit_windows(street, view),
        owner=np.full((height, width), -1, np.int16),
        drawn_px=[],
        glows=[],
    )
    items = sorted(_items(rng, view, width), key=lambda item: item.px_per_m)
    haze = rng.uniform(0.0, 0.35) * (not view.is_night)
    for item in items:
        place(canvas, view, item, haze)
    truth = _truth(canvas, items)
    pixels = light(rng, canvas, view)
    return Scene(pixels=photograph(rng, pixels), truth=truth, is_night=view.is_night)


def encode_scene(scene: Scene) -> bytes:
    """The scene as the JPEG file that a camera would send."""
    file = io.BytesIO()
    image = Image.fromarray(scene.pixels)
    image.save(file, "JPEG", quality=JPEG_QUALITY, subsampling="4:2:0")
    return file.getvalue()


def _view(rng: np.random.Generator, width: int, height: int) -> StreetView:
    horizon = height * rng.uniform(0.26, 0.42)
    nearest = height * rng.uniform(0.13, 0.2)
    is_along = chance(rng, 0.5)
    return StreetView(
        horizon_px=horizon,
        vanishing_px=width * rng.uniform(0.3, 0.7),
        camera_m=(height * 0.98 - horizon) / nearest,
        nearest=nearest,
        is_along=is_along,
        is_night=chance(rng, 0.35),
        road_m=rng.uniform(3.0, 5.0) if is_along else rng.uniform(0.35, 0.6),
    )


def _scale(rng: np.random.Generator, view: StreetView) -> float:
    return view.nearest * math.exp(rng.uniform(math.log(_SMALLEST_SHARE), 0.0))


def _items(rng: np.random.Generator, view: StreetView, width: int) -> list[SceneItem]:
    items: list[SceneItem] = []
    for _ in range(int(rng.integers(2, 6))):
        draw = STREET_FURNITURE[int(rng.integers(len(STREET_FURNITURE)))]
        items.append(_item(rng, view, width, draw(rng), -1))
    for _ in range(int(rng.integers(4, 13))):
        label = int(rng.choice(len(LABELS), p=_WEIGHTS))
        name = LABELS[label]
        if name in _HUNG:
            items += _hung(rng, view, width, SKETCHES[name](rng), label)
            if chance(rng, 0.5):
                items += _hung(rng, view, width, round_sign(rng), -1)
        else:
            items.append(_item(rng, view, width, SKETCHES[name](rng), label))
    return items


def _item(
    rng: np.random.Generator, view: StreetView, width: int, sketch: Sketch, label: int
) -> SceneItem:
    scale = _scale(rng, view)
    x_px = rng.uniform(-0.04, 1.0) * width - sketch.width_m * scale * 0.3
    is_vehicle = label >= 0 and LABELS[label] in _VEHICLES
    if view.is_along:
        reach_m = view.road_m + 2.8 * (not is_vehicle)
        x_px = view.column(rng.uniform(-reach_m, reach_m), scale)
        x_px -= sketch.width_m * scale / 2
    elif is_vehicle:
        share = math.log(1.1 * (0.2 + view.road_m))
        scale = view.nearest * math.exp(rng.uniform(math.log(_SMALLEST_SHARE), share))
    return SceneItem(
        sketch=sketch,
        label=label,
        x_m=x_px / scale,
        px_per_m=scale,
        lift_m=0.0,
        is_mirrored=chance(rng, 0.5),
    )


def _hung(
    rng: np.random.Generator, view: StreetView, width: int, sketch: Sketch, label: int
) -> list[SceneItem]:
    scale, lift = _scale(rng, view), rng.uniform(1.6, 2.4)
    x_m = rng.uniform(0.0, 0.96) * width / scale
    if view.is_along:
        reach_m = view.road_m + 2.5
        x_m = view.column(rng.uniform(-reach_m, reach_m), scale) / scale
    middle = x_m + sketch.width_m / 2 - 0.08
    parts = ((pole(lift + 0.1), -1, middle, 0.0), (sketch, label, x_m, lift))
    return [
        SceneItem(
            sketch=part,
            label=part_label,
            x_m=x,
            px_per_m=scale,
            lift_m=up,
            is_mirrored=False,
        )
        for part, part_label, x, up in parts
    ]


def _truth(canvas: Canvas, items: list[SceneItem]) -> GroundTruth:
    boxes: list[tuple[int, int, int, int]] = []
    labels: list[int] = []
    areas: list[int] = []
    for number, item in enumerate(items):
        if item.label < 0:
            continue
        seen = canvas.owner == number
        area = int(np.count_nonzero(seen))
        if area < max(_LEAST_SEEN * canvas.drawn_px[number], 1):
            continue
        columns = np.flatnonzero(seen.any(axis=0))
        rows = np.flatnonzero(seen.any(axis=1))
        box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
        if min(box[2] - box[0], box[3] - box[1]) < _LEAST_SIDE_PX:
            continue
        boxes.append(box)
        labels.append(item.label)
        areas.append(area)
    return GroundTruth(
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        labels=np.array(labels, np.int32),
        is_crowd=np.zeros(len(labels), np.bool_),
        areas_px=np.array(areas, np.float32),
        names=LABELS,
    )
