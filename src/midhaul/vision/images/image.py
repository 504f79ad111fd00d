"""Pictures as bytes and as pixels, and what an edge does to them on the way.

The order is fixed: gray, then resize, then encode. ``keep`` writes a changed JPEG with
the quantisation tables and the subsampling that it came with, so that a resize is not
paid for with a better (and larger) JPEG than the one received; an image that nothing
changes is forwarded byte for byte, with the orientation that its EXIF states. What is
written anew is upright and has no EXIF, so nobody turns it twice.
"""

from __future__ import annotations

import io
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image

from midhaul.errors import ConfigError
from midhaul.vision.images.codecs import (
    Pixels,
    decode,
    size,
    upright,
    write,
    write_like,
)
from midhaul.vision.images.limits import DecodingLimits

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float

    from midhaul.model import Detections

__all__ = [
    "Pixels",
    "PreparedImage",
    "Preprocessing",
    "decode",
    "encode",
    "prepare",
    "scaled_size",
    "size",
    "transform",
    "upright",
]

_MAX_RESIZE = 8.0
_MAX_QUALITY = 100
_CODECS = {"jpeg": "JPEG", "webp": "WebP"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """What is done to an image before it is shown to a detector or sent on.

    Attributes:
        gray: reduce to one channel of luma.
        resize: factor on width and on height, above 0 and at most 8.
        encode: ``keep``, ``jpeg:QUALITY`` or ``webp:QUALITY`` with a quality of 1..100.

    Raises:
        ConfigError: a value is outside of its range.
    """

    gray: bool = False
    resize: float = 1.0
    encode: str = "keep"

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0 < self.resize <= _MAX_RESIZE:
            message = f"resize must be above 0 and at most 8, found {self.resize}"
            raise ConfigError(message, "use 0.5 for half the width and height")
        _parse_encode(self.encode)

    @property
    def is_identity(self) -> bool:
        """True when images pass as they are."""
        return not self.gray and self.resize == 1 and self.encode == "keep"

    @property
    def codec(self) -> str:
        """``keep``, ``jpeg`` or ``webp``."""
        return _parse_encode(self.encode)[0]

    @property
    def quality(self) -> int | None:
        """Quality of the codec; None where the received one is kept."""
        return _parse_encode(self.encode)[1]

    @property
    def label(self) -> str:
        """The steps in words, e.g. ``resize 50 %, JPEG 75``."""
        steps: list[str] = []
        if self.gray:
            steps.append("gray")
        if self.resize != 1:
            steps.append(f"resize {self.resize * 100:g} %")
        if self.quality is not None:
            steps.append(f"{_CODECS[self.codec]} {self.quality}")
        return ", ".join(steps) or "as received"


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedImage:
    """An image after preprocessing, still encoded, and what that took.

    Attributes:
        data: the bytes to show or to send.
        width: width of the received image in px, as a person sees it.
        height: height of the received image in px, as a person sees it.
        scale_x: prepared px per received px, across.
        scale_y: prepared px per received px, down.
        decode_ns: time to decode the received image; 0 when that was not needed.
        preprocess_ns: time for gray and resize.
        encode_ns: time to encode.
        where: name of the image, for messages.
        limits: what the head of the image was held to.
    """

    data: bytes
    width: int
    height: int
    scale_x: float
    scale_y: float
    decode_ns: int
    preprocess_ns: int
    encode_ns: int
    where: str = "image"
    limits: DecodingLimits = field(default_factory=DecodingLimits)

    def see(
        self, clock: Callable[[], int] = time.perf_counter_ns
    ) -> tuple[Pixels, int]:
        """The pixels that a detector must see: decoded from ``data``.

        Returns:
            The pixels, and the time that decoding took in ns; it comes on top of
            ``decode_ns``.

        Raises:
            DataError: the bytes hold no whole image.
        """
        begin = clock()
        pixels = decode(self.data, where=self.where, limits=self.limits)
        return pixels, clock() - begin


def transform(pixels: Pixels, preprocessing: Preprocessing) -> Pixels:
    """Apply gray and resize; the very array given when there is nothing to do.

    New pixels have three channels, equal ones where gray. Shrinking averages areas,
    enlarging is cubic.
    """
    result: np.ndarray = pixels
    if preprocessing.gray:
        result = cv2.cvtColor(result, cv2.COLOR_RGB2GRAY)
    if preprocessing.resize != 1:
        how = cv2.INTER_AREA if preprocessing.resize < 1 else cv2.INTER_CUBIC
        size = scaled_size(pixels.shape[1], pixels.shape[0], preprocessing.resize)
        result = cv2.resize(result, size, interpolation=how)
    if preprocessing.gray:
        result = cv2.cvtColor(result, cv2.COLOR_GRAY2RGB)
    return result


def scaled_size(width: int, height: int, factor: float) -> tuple[int, int]:
    """Width and height in px after a resize; at least one pixel each."""
    return max(1, round(width * factor)), max(1, round(height * factor))


def encode(pixels: Pixels, preprocessing: Preprocessing, *, source: bytes) -> bytes:
    """Write transformed pixels as a file; ``source`` is the received one.

    Those bytes themselves come back when the preprocessing is the identity. With
    ``keep``, a JPEG is written with the tables and subsampling of the received one, a
    WebP at quality 80 unless it was lossless, everything else as PNG. DataError if the
    codec cannot hold an image of this size.
    """
    if preprocessing.is_identity:
        return source
    quality, is_gray = preprocessing.quality, preprocessing.gray
    if quality is None:
        return write_like(source, pixels, one_channel=is_gray)
    return write(pixels, preprocessing.codec, quality, one_channel=is_gray)


def prepare(
    data: bytes,
    preprocessing: Preprocessing,
    *,
    where: str = "image",
    limits: DecodingLimits | None = None,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> PreparedImage:
    """Take a received image through gray, resize and encode, and time each.

    The identity only reads the header: the image is decoded when somebody asks to
    :meth:`~Prepared.see` it.

    Raises:
        DataError: the bytes hold no whole image, or it exceeds the limits.
    """
    limits = limits or DecodingLimits()
    if preprocessing.is_identity:
        width, height = size(data, where=where, limits=limits)
        return PreparedImage(
            data=data, width=width, height=height, scale_x=1.0, scale_y=1.0,
            decode_ns=0, preprocess_ns=0, encode_ns=0, where=where,
            limits=limits,
        )  # fmt: skip
    begin = clock()
    pixels = decode(data, where=where, limits=limits)
    decoded = clock()
    changed = transform(pixels, preprocessing)
    transformed = clock()
    written = encode(changed, preprocessing, source=data)
    encoded = clock()
    height, width = pixels.shape[:2]
    return PreparedImage(
        data=written,
        width=width,
        height=height,
        scale_x=changed.shape[1] / width,
        scale_y=changed.shape[0] / height,
        decode_ns=decoded - begin,
        preprocess_ns=transformed - decoded,
        encode_ns=encoded - transformed,
        where=where,
        limits=limits,
    )


def _parse_encode(text: str) -> tuple[str, int | None]:
    if text == "keep":
        return "keep", None
    codec, _, quality = text.partition(":")
    if codec in _CODECS and quality.isdecimal() and 1 <= int(quality) <= _MAX_QUALITY:
        return codec, int(quality)
    message = (
        f"encode must be keep, jpeg:QUALITY or webp:QUALITY with a quality of 1..100, "
        f"found {text!r}"
    )
    raise ConfigError(message, 'for example encode = "jpeg:75"')


_WIDTH_PX = 480
_TRUTH = (255, 255, 255)
_FOUND = (255, 176, 0)


def draw(
    pixels: Pixels, truth: Float[np.ndarray, "n 4"], found: Detections, threshold: float
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
