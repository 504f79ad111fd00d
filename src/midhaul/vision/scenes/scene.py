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

import numpy as np
from PIL import Image

from midhaul.model import GroundTruth
from midhaul.model.display import Shown
from midhaul.vision.scenes.backdrop import StreetView, backdrop, lit_windows
from midhaul.vision.scenes.canvas import Canvas, SceneItem, light, photograph, place
from midhaul.vision.scenes.objects import SKETCHES
from midhaul.vision.scenes.scenery import STREET_FURNITURE, pole, round_sign
from midhaul.vision.scenes.sketch import chance

if TYPE_CHECKING:
    from jaxtyping import UInt8

    from midhaul.vision.scenes.sketch import Sketch

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


def builtin_scene_bytes(seed: int, index: int, split: Split = "evaluation") -> bytes:
    """One scene of the usual size as a JPEG file."""
    return encode_scene(make_scene(seed, index, split))


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
