"""From pixels to a model's input, and from its boxes back to the image.

The input is written into one buffer that is kept between images. Resizing happens on
bytes, before the conversion to float, because that is what the models were trained
with, and because it is the cheaper order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from jaxtyping import Float32

if TYPE_CHECKING:
    from midhaul.vision.detectors.card import Card
    from midhaul.vision.images.image import Pixels

_INTERPOLATION = {
    "nearest": cv2.INTER_NEAREST,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """Where an image lies in a model's input.

    Attributes:
        width: of the image in px.
        height: of the image in px.
        scale_x: input px per image px, across.
        scale_y: input px per image px, down.
        left: px of the input left of the image.
        top: px of the input above the image.
    """

    width: int
    height: int
    scale_x: float
    scale_y: float
    left: int = 0
    top: int = 0

    def to_image(self, boxes: Float32[np.ndarray, "n 4"]) -> Float32[np.ndarray, "n 4"]:
        """Corners in px of the input as corners in px of the image, clipped to it."""
        shift = np.array([self.left, self.top] * 2, np.float32)
        scale = np.array([self.scale_x, self.scale_y] * 2, np.float32)
        limit = np.array([self.width, self.height] * 2, np.float32)
        # Not a number (a model gone wrong) becomes 0, so that nothing leaves the image.
        found = np.nan_to_num((boxes - shift) / scale, nan=0.0)
        return np.clip(found, 0, limit, dtype=np.float32)


class InputBuffer:
    """The input of one model, refilled for every image; one image at a time."""

    def __init__(self, card: Card) -> None:
        self._card = card
        self._canvas: np.ndarray | None = None
        self._array: np.ndarray | None = None
        if card.fit == "letterbox":
            shape = (card.input_height, card.input_width, 3)
            self._canvas = np.full(shape, card.pad_value, np.uint8)

    def fill(self, pixels: Pixels) -> tuple[np.ndarray, Geometry]:
        """Write an image into the buffer, and say where in it the image lies.

        The buffer has the card's layout and type, and is valid until the next call.
        """
        fitted, geometry = self._fit(pixels)
        height, width = fitted.shape[:2]
        is_last = self._card.layout == "nhwc"
        shape = (height, width, 3) if is_last else (3, height, width)
        if self._array is None or self._array.shape != shape:
            self._array = np.empty(shape, self._card.dtype)
        self._convert(fitted, self._array)
        batch = self._array if self._card.layout == "chw" else self._array[None]
        return batch, geometry

    def _fit(self, pixels: Pixels) -> tuple[np.ndarray, Geometry]:
        card = self._card
        height, width = pixels.shape[:2]
        if card.fit == "as-is":
            return pixels, Geometry(width=width, height=height, scale_x=1, scale_y=1)
        how = _INTERPOLATION[card.interpolation]
        if self._canvas is None:
            target = (card.input_width, card.input_height)
            geometry = Geometry(
                width=width,
                height=height,
                scale_x=card.input_width / width,
                scale_y=card.input_height / height,
            )
            return _resized(pixels, target, how), geometry
        ratio = min(card.input_width / width, card.input_height / height)
        new_width = max(1, round(width * ratio))
        new_height = max(1, round(height * ratio))
        is_centred = card.letterbox_anchor == "centre"
        left = (card.input_width - new_width) // 2 if is_centred else 0
        top = (card.input_height - new_height) // 2 if is_centred else 0
        self._canvas.fill(card.pad_value)
        self._canvas[top : top + new_height, left : left + new_width] = _resized(
            pixels, (new_width, new_height), how
        )
        geometry = Geometry(
            width=width,
            height=height,
            scale_x=new_width / width,
            scale_y=new_height / height,
            left=left,
            top=top,
        )
        return self._canvas, geometry

    def _convert(self, fitted: np.ndarray, target: np.ndarray) -> None:
        """Reorder, cast and normalise channel by channel, without a temporary image."""
        card = self._card
        for channel in range(3):
            origin = 2 - channel if card.colour == "bgr" else channel
            plane = target[..., channel] if card.layout == "nhwc" else target[channel]
            if card.dtype == "uint8":
                plane[...] = fitted[:, :, origin]
                continue
            mean, std = card.mean[channel], card.std[channel]
            np.multiply(fitted[:, :, origin], np.float32(1 / std), out=plane)
            if mean != 0:
                plane -= np.float32(mean / std)


def _resized(pixels: np.ndarray, size: tuple[int, int], how: int) -> np.ndarray:
    if (pixels.shape[1], pixels.shape[0]) == size:
        return pixels
    return cv2.resize(pixels, size, interpolation=how)
