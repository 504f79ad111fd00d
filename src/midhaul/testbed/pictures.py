"""Worked examples for the report: images with what was detected on them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image

from midhaul.vision.images import decode

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from midhaul.model import Detections, GroundTruth
    from midhaul.vision.data import Dataset
    from midhaul.vision.images import Pixels

N_IMAGES = 3
"""Images shown, each under every chosen configuration."""

_WIDTH_PX = 480
_TRUTH = (255, 255, 255)
_FOUND = (255, 176, 0)


def write_examples(
    folder: Path,
    dataset: Dataset,
    answers: Mapping[str, Mapping[str, Detections]],
    threshold: float,
) -> None:
    """Write a few images under a few configurations, as small JPEG files.

    The images are those with the most boxes, so that there is something to see; human
    boxes are white, detections amber with their label and score.

    Args:
        folder: where to, made when missing.
        dataset: the images with their ground truth.
        answers: detections by image, by the name of a configuration.
        threshold: score from which a detection is drawn.
    """
    folder.mkdir(parents=True, exist_ok=True)
    busiest = sorted(dataset.image_ids, key=lambda i: -len(dataset.truth[i]))
    for number, image in enumerate(busiest[:N_IMAGES], 1):
        pixels = decode(dataset.read(image), where=image)
        for name, found in answers.items():
            if image in found:
                drawn = draw(pixels, dataset.truth[image], found[image], threshold)
                caption = f"Image {number}-- {name}".replace(" ", "_").replace("/", "-")
                (folder / f"{caption}.jpg").write_bytes(_jpeg(drawn))


def draw(
    pixels: Pixels, truth: GroundTruth, found: Detections, threshold: float
) -> Pixels:
    """An image of at most 480 px width with human boxes and detections on it.

    Args:
        pixels: the image, which is not changed.
        truth: human boxes, drawn in white.
        found: detections, drawn in amber with label and score.
        threshold: score from which a detection is drawn.
    """
    scale = min(1.0, _WIDTH_PX / pixels.shape[1])
    size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
    canvas = np.array(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))
    for box in (truth.boxes * scale).round().astype(int).tolist():
        cv2.rectangle(canvas, box[:2], box[2:], _TRUTH, 1)
    sure = np.flatnonzero(found.scores >= threshold)
    for n in sure.tolist():
        left, top, right, bottom = (found.boxes[n] * scale).round().astype(int).tolist()
        cv2.rectangle(canvas, (left, top), (right, bottom), _FOUND, 2)
        text = f"{found.names[found.labels[n]]} {found.scores[n]:.2f}"
        place = (max(left, 0) + 2, max(top, 14) - 4)
        cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 3)
        cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, _FOUND, 1)
    return canvas


def _jpeg(pixels: Pixels) -> bytes:
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "JPEG", quality=80)
    return target.getvalue()
