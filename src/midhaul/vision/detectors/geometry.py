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


def input_size(card: Card, geometry: Geometry) -> tuple[float, float]:
    """Width and height in px of a model's input for one image."""
    if card.fit in ("stretch", "letterbox"):
        return card.input_width, card.input_height
    return (
        round(geometry.width * geometry.scale_x),
        round(geometry.height * geometry.scale_y),
    )


class InputBuffer:
    """The input of one model, refilled for every image; one image at a time.

    Where the model takes a batch, the other images of it stay zero.
    """

    def __init__(self, card: Card) -> None:
        self._card = card
        self._canvas: np.ndarray | None = None
        self._array: np.ndarray | None = None
        self._n_channels = 1 if card.colour == "gray" else 3
        if card.fit == "letterbox":
            shape = (card.input_height, card.input_width, 3)
            self._canvas = np.full(shape, card.pad_value, np.uint8)

    def fill(self, pixels: Pixels) -> tuple[np.ndarray, Geometry]:
        """Write an image into the buffer, and say where in it the image lies.

        The buffer has the card's layout and type, and is valid until the next call.
        """
        fitted, geometry = self._fit(pixels)
        height, width = fitted.shape[:2]
        n, is_last = self._n_channels, self._card.layout == "nhwc"
        shape = (height, width, n) if is_last else (n, height, width)
        if self._array is None or self._array.shape[1:] != shape:
            self._array = np.zeros((self._card.batch, *shape), self._card.dtype)
        self._convert(fitted, self._array[0])
        is_single = self._card.layout == "chw"
        return self._array[0] if is_single else self._array, geometry

    def _fit(self, pixels: Pixels) -> tuple[np.ndarray, Geometry]:
        card = self._card
        height, width = pixels.shape[:2]
        if card.fit == "as-is":
            return pixels, Geometry(width=width, height=height, scale_x=1, scale_y=1)
        how = _INTERPOLATION[card.interpolation]
        if self._canvas is None:
            target = _target_size(card, width, height)
            geometry = Geometry(
                width=width,
                height=height,
                scale_x=target[0] / width,
                scale_y=target[1] / height,
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
        if card.colour == "gray":
            fitted = cv2.cvtColor(fitted, cv2.COLOR_RGB2GRAY)[:, :, None]
        is_whole = card.dtype in ("uint8", "int8")
        for channel in range(self._n_channels):
            origin = 2 - channel if card.colour == "bgr" else channel
            plane = target[..., channel] if card.layout == "nhwc" else target[channel]
            mean, std = card.mean[channel], card.std[channel]
            if card.dtype == "uint8" and (mean, std) == (0, 1):
                plane[...] = fitted[:, :, origin]
            elif is_whole or card.dtype == "float16":
                wide = (fitted[:, :, origin] - np.float32(mean)) / np.float32(std)
                if is_whole:
                    ends = np.iinfo(card.dtype)
                    wide = np.clip(np.rint(wide), ends.min, ends.max)
                plane[...] = wide
            else:
                np.multiply(fitted[:, :, origin], np.float32(1 / std), out=plane)
                if mean != 0:
                    plane -= np.float32(mean / std)


def _target_size(card: Card, width: int, height: int) -> tuple[int, int]:
    """Width and height to which an image is resized, without bars."""
    if card.fit != "aspect":
        return card.input_width, card.input_height
    short, long = min(width, height), max(width, height)
    ratio = min(card.input_height / short, card.input_width / long)
    return max(1, round(width * ratio)), max(1, round(height * ratio))


def _resized(pixels: np.ndarray, size: tuple[int, int], how: int) -> np.ndarray:
    if (pixels.shape[1], pixels.shape[0]) == size:
        return pixels
    return cv2.resize(pixels, size, interpolation=how)
