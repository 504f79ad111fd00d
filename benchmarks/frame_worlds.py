"""Drawn street scenes of four worlds: by day, at night, with buses, from elsewhere.

The world that a camera knows is a street by day without buses. What it may come to is
the same street in a dark night, of which the camera sees little, one that buses drive
through, or one that is seen from another place: the camera has come nearer and looks
down, so that things are 1.7 times as large and there is no sky. All are built-in
scenes, sorted by what was drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.model import GroundTruth
from midhaul.vision.scenes.scene import (
    HEIGHT,
    LABELS,
    WIDTH,
    Scene,
    encode_scene,
    make_scene,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midhaul.vision.scenes.scene import Split

CHANGES = ("night", "new class", "camera moved")
"""What a world may change to."""
NEW_CLASS = LABELS.index("bus")
TALL = 640
"""Height of the scene that the camera that moved sees the lower part of."""
EXPOSURE, NOISE = 0.4, 4.0
"""Of a dark night: how much less light than the built-in nights have, and its noise."""
LEAST_SHARE, LEAST_SIDE_PX = 0.35, 5.0
"""Of a box that must be left after the cut for it to count."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """What a camera took, and what is to be found on it.

    Attributes:
        jpeg: the file.
        truth: its boxes.
    """

    jpeg: bytes
    truth: GroundTruth


def draw_worlds(
    seed: int, split: Split, wanted: Mapping[str, int]
) -> dict[str, list[Frame]]:
    """So many frames of each world, ``old`` and those of :data:`CHANGES`."""
    rng = np.random.default_rng(seed)
    found: dict[str, list[Frame]] = {name: [] for name in wanted}
    n_moved = wanted.get("camera moved", 0)
    is_short, index = True, 0
    while is_short:
        scene = make_scene(seed, index, split)
        name = world_of(scene)
        if name in found and len(found[name]) < wanted[name]:
            shown = darkened(scene, rng) if scene.is_night else scene
            found[name].append(Frame(jpeg=encode_scene(shown), truth=scene.truth))
        index += 1
        is_short = any(
            len(found[name]) < n for name, n in wanted.items() if name != "camera moved"
        )
    while n_moved and len(found["camera moved"]) < n_moved:
        scene = moved(make_scene(seed, index, split, height=TALL))
        if world_of(scene) == "old":
            frame = Frame(jpeg=encode_scene(scene), truth=scene.truth)
            found["camera moved"].append(frame)
        index += 1
    return found


def world_of(scene: Scene) -> str:
    """The world that a scene is of; one that has changed twice is of none."""
    has_bus = bool((scene.truth.labels == NEW_CLASS).any())
    if scene.is_night:
        return "both" if has_bus else "night"
    return "new class" if has_bus else "old"


def darkened(scene: Scene, rng: np.random.Generator) -> Scene:
    """A scene with less light and the noise of a sensor."""
    noise = rng.normal(0, NOISE, scene.pixels.shape)
    pixels = np.clip(scene.pixels * EXPOSURE + noise, 0, 255).astype(np.uint8)
    return Scene(pixels=pixels, truth=scene.truth, is_night=scene.is_night)


def moved(scene: Scene) -> Scene:
    """The lower part of a tall scene, with what is left of its boxes."""
    cut = scene.pixels.shape[0] - HEIGHT
    whole = scene.truth.boxes - np.array([0, cut, 0, cut], np.float32)
    limits = np.array([WIDTH, HEIGHT] * 2, np.float32)
    boxes = np.clip(whole, 0, limits)
    sides, full = boxes[:, 2:] - boxes[:, :2], whole[:, 2:] - whole[:, :2]
    share = sides.prod(axis=1) / full.prod(axis=1)
    is_left = (share >= LEAST_SHARE) & (sides.min(axis=1) >= LEAST_SIDE_PX)
    truth = GroundTruth(
        boxes=boxes[is_left],
        labels=scene.truth.labels[is_left],
        is_crowd=scene.truth.is_crowd[is_left],
        areas_px=(scene.truth.areas_px * share)[is_left],
        names=scene.truth.names,
    )
    pixels = np.ascontiguousarray(scene.pixels[cut:])
    return Scene(pixels=pixels, truth=truth, is_night=scene.is_night)
