"""Cheap statistics of an image: size, colours, contrast, edges, bytes.

Every image is shrunk to 128 px on its longer side first, so that its cost hardly
depends on its size. Colourfulness is that of Hasler and Süsstrunk, "Measuring
colourfulness in natural images", SPIE 5007, 2003, on the shrunk image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from midhaul.errors import DataError
from midhaul.vision.images.codecs import decode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float32

    from midhaul.federation.recordings.problem import Recording
    from midhaul.npz_state import State
    from midhaul.vision.images.codecs import Pixels

_SIDE_PX = 128
_N_HUES = 8
_N_LUMAS = 8
_N_CELLS = 4
_NAMES = (
    "log_width_px",
    "log_height_px",
    "log_bytes",
    "bytes_per_px",
    *(f"mean_{c}" for c in "rgb"),
    *(f"std_{c}" for c in "rgb"),
    "entropy_bits",
    "edge_energy",
    "edge_share",
    "sharpness",
    "colourfulness",
    "saturation",
    *(f"hue_{i}" for i in range(_N_HUES)),
    *(f"luma_{i}" for i in range(_N_LUMAS)),
    *(f"edges_{y}{x}" for y in range(_N_CELLS) for x in range(_N_CELLS)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageStatistics:
    """Numbers that a CPU has within a millisecond of decoding."""

    is_of_images = True

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return _NAMES

    def extract(
        self, recording: Recording, images: Sequence[bytes] = ()
    ) -> Float32[np.ndarray, "n d"]:
        """See :class:`midhaul.federation.features.base.FeatureExtractor`."""
        check_images(recording, images)
        found = np.zeros((len(images), len(_NAMES)), np.float32)
        for row, (item, data) in enumerate(zip(recording.items, images, strict=True)):
            found[row] = statistics_of(decode(data, where=item), len(data))
        return found

    def state(self) -> State:
        """See :class:`midhaul.federation.features.base.FeatureExtractor`."""
        return {"kind": "statistics"}


def check_images(recording: Recording, images: Sequence[bytes]) -> None:
    """Demand one image per item."""
    if len(images) != len(recording):
        message = f"{len(recording)} items, but {len(images)} images to describe them"
        raise DataError(message, "hand over the image of every item, in its order")


def statistics_of(pixels: Pixels, n_bytes: int) -> Float32[np.ndarray, " d"]:
    """All statistics of one image."""
    height, width = pixels.shape[:2]
    small = _shrunk(pixels)
    gray = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    means, stds = cv2.meanStdDev(small)
    edges = _edges(gray)
    shares = np.bincount(gray.ravel(), minlength=256) / gray.size
    known = shares[shares > 0]
    numbers = [
        [math.log(width), math.log(height), math.log(max(1, n_bytes))],
        [n_bytes / (width * height)],
        means.ravel() / 255,
        stds.ravel() / 255,
        [-(known * np.log2(known)).sum()],
        [edges.mean(), (edges > 1 / 4).mean()],
        [math.log1p(cv2.Laplacian(gray, cv2.CV_32F).var())],
        _colours(small),
        shares.reshape(_N_LUMAS, -1).sum(axis=1),
        _by_cell(edges),
    ]
    return np.concatenate([np.asarray(part, np.float32) for part in numbers])


def _shrunk(pixels: Pixels) -> np.ndarray:
    height, width = pixels.shape[:2]
    factor = _SIDE_PX / max(height, width)
    if factor >= 1:
        return pixels
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def _edges(gray: np.ndarray) -> np.ndarray:
    """Length of the gradient, about 1 at an edge from black to white."""
    across = cv2.Sobel(gray, cv2.CV_32F, 1, 0, ksize=3)
    down = cv2.Sobel(gray, cv2.CV_32F, 0, 1, ksize=3)
    # OpenCV's own magnitude rounds by where the array lies in memory.
    return np.hypot(across.astype(np.float64), down) / (4 * 255)


def _colours(small: np.ndarray) -> np.ndarray:
    """Colourfulness, mean saturation, and hues weighted by their saturation."""
    r, g, b = (small[:, :, c].astype(np.float32) for c in range(3))
    first, second = r - g, (r + g) / 2 - b
    spread = math.hypot(float(first.std()), float(second.std()))
    shift = math.hypot(float(first.mean()), float(second.mean()))
    hsv = cv2.cvtColor(small, cv2.COLOR_RGB2HSV)
    saturation = hsv[:, :, 1].ravel().astype(np.float64) / 255
    hue = np.minimum(hsv[:, :, 0].ravel().astype(np.int64) * _N_HUES // 180, 7)
    hues = np.bincount(hue, saturation, _N_HUES) / saturation.size
    return np.concatenate([[(spread + 0.3 * shift) / 255, saturation.mean()], hues])


def _by_cell(edges: np.ndarray) -> np.ndarray:
    """Mean edge in each cell of a 4 x 4 grid; 0 in cells that no pixel falls into."""
    height, width = edges.shape
    rows = np.arange(height) * _N_CELLS // height
    columns = np.arange(width) * _N_CELLS // width
    cells = (rows[:, None] * _N_CELLS + columns).ravel()
    totals = np.bincount(cells, edges.ravel(), _N_CELLS**2)
    return totals / np.maximum(np.bincount(cells, minlength=_N_CELLS**2), 1)
