"""Scenes of the training split, their crops and the targets of a batch."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from builtin_net import BOX_AND_OBJECTNESS, STRIDES
from PIL import Image

from midhaul.vision.scenes.scene import HEIGHT, LABELS, WIDTH, encode_scene, make_scene

if TYPE_CHECKING:
    from pathlib import Path

SEED = 0
CROP_WIDTH = 320
CROP_HEIGHT = 256
# Larger things belong to a coarser stride: longest side in px, from and below.
_SIDES_PX = {8: (0.0, 56.0), 16: (40.0, 128.0), 32: (96.0, float("inf"))}
_LEAST_KEPT = 0.35
_LEAST_SIDE_PX = 4.0
_REACH = 1.5
_MIRRORED = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingScenes:
    """Decoded scenes with their boxes.

    Attributes:
        pixels: ``(n, h, w, 3)`` uint8, on disk.
        boxes: one ``(k, 4)`` float32 per scene.
        labels: one ``(k,)`` int32 per scene.
    """

    pixels: np.ndarray
    boxes: list[np.ndarray]
    labels: list[np.ndarray]


def open_scenes(cache: Path, n_scenes: int) -> TrainingScenes:
    """Scenes 0 to ``n_scenes`` of the training split, drawn when not in the cache."""
    cache.mkdir(parents=True, exist_ok=True)
    pixels_file = cache / f"pixels-{n_scenes}.npy"
    truth_file = cache / f"truth-{n_scenes}.npz"
    if not truth_file.exists():
        _draw(pixels_file, truth_file, n_scenes)
    truth = np.load(truth_file)
    ends = np.cumsum(truth["counts"])[:-1]
    return TrainingScenes(
        pixels=np.load(pixels_file, mmap_mode="r"),
        boxes=np.split(truth["boxes"], ends),
        labels=np.split(truth["labels"], ends),
    )


def _draw(pixels_file: Path, truth_file: Path, n_scenes: int) -> None:
    shape = (n_scenes, HEIGHT, WIDTH, 3)
    pixels = np.lib.format.open_memmap(pixels_file, "w+", np.uint8, shape)
    truths = []
    for index in range(n_scenes):
        scene = make_scene(SEED, index, "training")
        pixels[index] = np.asarray(Image.open(io.BytesIO(encode_scene(scene))))
        truths.append(scene.truth)
    pixels.flush()
    np.savez(
        truth_file,
        counts=[len(truth) for truth in truths],
        boxes=np.concatenate([truth.boxes for truth in truths]),
        labels=np.concatenate([truth.labels for truth in truths]),
    )


def sample(
    scenes: TrainingScenes, rng: np.random.Generator, batch: int
) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """Random crops, mirrored half of the time.

    Returns:
        Pixels ``(batch, h, w, 3)`` uint8 and per crop boxes and labels.
    """
    crops = np.empty((batch, CROP_HEIGHT, CROP_WIDTH, 3), np.uint8)
    truths: list[tuple[np.ndarray, np.ndarray]] = []
    for i, index in enumerate(rng.integers(len(scenes.boxes), size=batch)):
        x = int(rng.integers(0, WIDTH - CROP_WIDTH + 1))
        y = int(rng.integers(0, HEIGHT - CROP_HEIGHT + 1))
        crop = scenes.pixels[index, y : y + CROP_HEIGHT, x : x + CROP_WIDTH]
        full = scenes.boxes[index] - np.array([x, y, x, y], np.float32)
        limits = np.array([CROP_WIDTH, CROP_HEIGHT] * 2, np.float32)
        boxes = np.clip(full, 0.0, limits)
        sides = boxes[:, 2:] - boxes[:, :2]
        share = sides.prod(axis=1) / (full[:, 2:] - full[:, :2]).prod(axis=1)
        kept = (sides.min(axis=1) >= _LEAST_SIDE_PX) & (share >= _LEAST_KEPT)
        boxes, labels = boxes[kept], scenes.labels[index][kept]
        if rng.random() < _MIRRORED:
            crop = crop[:, ::-1]
            boxes = boxes[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [CROP_WIDTH, 0] * 2
        crops[i] = crop
        truths.append((boxes.astype(np.float32), labels))
    return crops, truths


def cell_centres(width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Upper left corners of all cells in px ``(cells, 2)`` and strides ``(cells,)``."""
    corners, strides = [], []
    for stride in STRIDES:
        y, x = np.mgrid[0 : height // stride, 0 : width // stride]
        corners.append(np.stack([x.ravel(), y.ravel()], axis=1) * stride)
        strides.append(np.full(x.size, stride))
    return (
        np.concatenate(corners).astype(np.float32),
        np.concatenate(strides).astype(np.float32),
    )


def targets(
    truths: list[tuple[np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which cell answers for which box.

    A cell is responsible for a box when its centre lies within 1.5 strides of the box's
    centre and inside the box, or is the cell nearest to that centre. Smaller boxes win.

    Returns:
        Image and cell of each positive ``(p, 2)``, its box ``(p, 4)`` and its label
        ``(p,)``.
    """
    corners, strides = cell_centres(CROP_WIDTH, CROP_HEIGHT)
    centres = corners + strides[:, None] / 2
    lowest = np.array([_SIDES_PX[int(s)][0] for s in STRIDES], np.float32)
    highest = np.array([_SIDES_PX[int(s)][1] for s in STRIDES], np.float32)
    level = np.log2(strides / STRIDES[0]).astype(np.int32)
    where, boxes, labels = [], [], []
    for image, (image_boxes, image_labels) in enumerate(truths):
        if not len(image_boxes):
            continue
        middle = (image_boxes[:, :2] + image_boxes[:, 2:]) / 2
        sides = image_boxes[:, 2:] - image_boxes[:, :2]
        side = sides.max(axis=1)
        fits = (side[:, None] >= lowest[level]) & (side[:, None] < highest[level])
        away = np.abs(centres[None] - middle[:, None])
        near = (away < _REACH * strides[:, None]).all(axis=2)
        inside = (away < sides[:, None] / 2).all(axis=2)
        nearest = (away <= strides[:, None] / 2).all(axis=2)
        mine = fits & ((near & inside) | nearest)
        cost = np.where(mine, sides.prod(axis=1)[:, None], np.inf)
        owner = cost.argmin(axis=0)
        cells = np.flatnonzero(np.isfinite(cost.min(axis=0)))
        where.append(np.stack([np.full(cells.size, image), cells], axis=1))
        boxes.append(image_boxes[owner[cells]])
        labels.append(image_labels[owner[cells]])
    if not where:
        return np.zeros((0, 2), int), np.zeros((0, 4), np.float32), np.zeros(0, int)
    return np.concatenate(where), np.concatenate(boxes), np.concatenate(labels)


def n_outputs() -> int:
    """Numbers that the head gives per cell."""
    return BOX_AND_OBJECTNESS + len(LABELS)
