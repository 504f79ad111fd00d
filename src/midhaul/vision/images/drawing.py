"""Boxes drawn on an image, for reports."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from jaxtyping import Float

    from midhaul.model import Detections
    from midhaul.vision.images.image import Pixels

_WIDTH_PX = 480
_TRUTH = (255, 255, 255)
_FOUND = (255, 176, 0)


def draw(
    pixels: Pixels,
    truth: Float[np.ndarray, "n 4"],
    found: Detections,
    threshold: float,
) -> Pixels:
    """An image of at most 480 px width with human boxes and detections on it.

    Human boxes are white, detections from the threshold on amber with label and score;
    the pixels are not changed.
    """
    scale = min(1.0, _WIDTH_PX / pixels.shape[1])
    size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
    canvas = np.array(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))
    for box in (truth * scale).round().astype(int).tolist():
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


def jpeg(pixels: Pixels) -> bytes:
    """Pixels as the bytes of a small JPEG."""
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "JPEG", quality=80)
    return target.getvalue()
