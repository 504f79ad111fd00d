"""Codecs: image files to pixels and back, by Pillow, or simplejpeg where it is equal.

Of *samples* of more than 8 bits it is decided which bits become the byte that is seen.

White is what a file states as its range. Where samples use but the lower bits of their
range (a camera of 12 bits that writes into 16), or have none (floating point), white is
somewhere else and nobody said where: such a file is refused rather than shown black.
"""

from __future__ import annotations

import io
import math
import struct
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from midhaul.errors import DataError
from midhaul.vision.images.limits import DecodingLimits
from midhaul.vision.images.orientation import (
    AS_STORED,
    orientation_of,
    stored_size,
    turned,
    turned_size,
)
from midhaul.vision.images.whole import (
    Scans,
    check_pieces,
    check_png,
    check_tiff,
    damaged,
    declared_size,
    decode_jpeg,
    read_scans,
)

_BYTE = 8
_PNG_DEPTH = 24
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_UNSIGNED = (1, 4)
"""TIFF's sample formats: unsigned, and undefined, which is read as such."""
_HINT = "save it with 8 bits a sample, or scaled to the full range of 16"


def stated_bits(image: Any, data: bytes, where: str) -> int:
    """Bits of a sample, as the file states them.

    DataError if samples are signed, floating point or of 32 bits.
    """
    bits, formats = _BYTE, (1,)
    if image.format == "PNG":
        bits = data[_PNG_DEPTH]
    elif image.format == "TIFF":
        bits = max(_tuple(image.tag_v2.get(_BITS, (1,))))
        formats = _tuple(image.tag_v2.get(_SAMPLE_FORMAT, (1,)))
    if image.mode in {"I", "F"} or not set(formats) <= set(_UNSIGNED):
        message = (
            f"{where} has samples of {bits} bits, signed or floating point, of which "
            "nobody says what is white"
        )
        raise DataError(message, _HINT)
    return bits


def upper_bits(
    samples: np.ndarray, bits: int, image: Any, where: str
) -> UInt8[np.ndarray, "h w 3"]:
    """Gray samples of 9 to 16 bits as RGB.

    DataError if all are dark enough to be of fewer bits than stated, and not black.
    """
    deep = samples.astype(np.uint16)
    top = int(deep.max())
    if image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == 0:
        deep = (1 << bits) - 1 - deep  # white is zero
    elif top and top >> (bits - 2) == 0:
        raise _too_dark(where, bits, f"{top:,} of {(1 << bits) - 1:,}")
    byte = (deep >> (bits - _BYTE)).astype(np.uint8)
    return np.repeat(byte[:, :, None], 3, axis=2)


def check_range(pixels: UInt8[np.ndarray, "h w 3"], bits: int, where: str) -> None:
    """Refuse colours that Pillow took the upper bytes of, and that are all dark.

    DataError if no sample reaches a quarter of the range.
    """
    if bits > _BYTE and int(pixels.max()) >> (_BYTE - 2) == 0:
        raise _too_dark(where, bits, f"less than a quarter of {(1 << bits) - 1:,}")


def _too_dark(where: str, bits: int, found: str) -> DataError:
    message = (
        f"{where} states {bits} bits a sample, and its largest is {found}: it may be "
        "of fewer bits, and would then be shown too dark"
    )
    return DataError(message, _HINT)


def _tuple(value: Any) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, tuple) else (int(value),)


Pixels = UInt8[np.ndarray, "h w 3"]
"""RGB, one byte per channel, origin at the top left."""

# Formats with a decoder that only reads bytes; EPS, for one, would start a program.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
_JPEGS = ("JPEG", "MPO")
_LIMITS = DecodingLimits()
_NONE = DecodingLimits(
    max_pixels=1 << 60, max_side_px=1 << 30, max_scans=1 << 30, max_s=math.inf
)
PILLOW_ERRORS = (
    OSError, EOFError, ValueError, TypeError, LookupError, ArithmeticError,
    AttributeError, SyntaxError, struct.error, UserWarning,
)  # fmt: skip
"""What Pillow raises about files that are not what they should be."""
_RGB_CHANNELS = 3
_PLAIN_MODES = ("L", "RGB")
_DEEP_GRAY = ("I;16", "I;16L", "I;16B")
_BAND_ROWS = 1024
_RECEIVED_WEBP_QUALITY = 80  # a WebP does not tell its own


def decode(
    data: bytes, *, where: str = "image", limits: DecodingLimits = _LIMITS
) -> Pixels:
    """Decode a whole image into RGB.

    Args:
        data: a JPEG, PNG, WebP, BMP, GIF or TIFF file; of several frames the first.
        where: name of the image, for messages.
        limits: what the head of the file is held to.

    Returns:
        ``(h, w, 3)`` pixels as a person sees them: an orientation in the file is
        applied. Alpha is dropped. Of samples of more than 8 bits the upper 8 are taken,
        of the bits that the file states.

    Raises:
        DataError: this is no image, it is cut off or damaged, it exceeds a limit, or
            its samples have no stated range: floating point, 32 bits, signed, or 16
            bits none of which reaches a quarter of the range.
    """
    image, scans = _open(data, where=where, limits=limits)
    orientation = orientation_of(image)
    if image.format in _JPEGS:
        return turned(_jpeg_pixels(image, data, scans, where), orientation)
    if image.format == "WEBP" and not getattr(image, "is_animated", False):
        return turned(_webp_pixels(data, where), orientation)
    pixels = _other_pixels(image, data, where)
    if image.format == "TIFF":
        return pixels  # Pillow turns these by itself
    return turned(pixels, orientation)


def size(
    data: bytes, *, where: str = "image", limits: DecodingLimits = _LIMITS
) -> tuple[int, int]:
    """Width and height in px as a person sees the image, from the header alone.

    Raises:
        DataError: this is no image, or it exceeds a limit.
    """
    image, _ = _open(data, where=where, limits=limits)
    return turned_size(stored_size(image), orientation_of(image))


def upright(data: bytes, *, where: str = "image") -> bytes:
    """The same picture in a file that needs no turn; the same bytes if nothing turns.

    Else a file of the same format and quality (see :func:`write_like`) with the turn in
    its pixels and without EXIF. DataError if this is no whole image, or too large.
    """
    image, _ = _open(data, where=where, limits=_LIMITS)
    if orientation_of(image) == AS_STORED:
        return data
    return write_like(data, decode(data, where=where))


def _rgb(image: Image.Image) -> Pixels:
    """Pixels of an RGB image; a large one by bands, as Pillow copies them twice."""
    if image.height <= _BAND_ROWS:
        return np.asarray(image)
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for y in range(0, image.height, _BAND_ROWS):
        end = min(y + _BAND_ROWS, image.height)
        pixels[y:end] = np.asarray(image.crop((0, y, image.width, end)))
    return pixels


def write(
    pixels: Pixels, codec: str, quality: int, *, one_channel: bool = False
) -> bytes:
    """Write pixels as ``jpeg`` or ``webp``.

    Args:
        pixels: to write.
        codec: ``jpeg`` or ``webp``.
        quality: 1..100, as the codec understands it.
        one_channel: write a JPEG of one channel, the first; a WebP has always three.

    Raises:
        DataError: the codec cannot hold an image of this size.
    """
    return _save(pixels, codec.upper(), {"quality": quality}, one_channel=one_channel)


def write_like(source: bytes, pixels: Pixels, *, one_channel: bool = False) -> bytes:
    """Write pixels in the format and quality of a received file.

    A JPEG keeps its quantisation tables, subsampling and scan order; a WebP is written
    at quality 80 unless it was lossless; everything else becomes a PNG. What came with
    one channel is written with one. DataError if the format cannot hold an image of
    this size.
    """
    received: Any
    received, _ = _open(source, where="image", limits=_NONE)  # it was decoded before
    one_channel = one_channel or received.mode in ("1", "L", *_DEEP_GRAY)
    if received.format in _JPEGS:
        options = _jpeg_options(received, one_channel=one_channel)
        return _save(pixels, "JPEG", options, one_channel=one_channel)
    if received.format == "WEBP":
        is_lossless = b"VP8L" in source[:64]
        options = {"lossless": is_lossless, "quality": _RECEIVED_WEBP_QUALITY}
        return _save(pixels, "WEBP", options, one_channel=False)
    return _save(pixels, "PNG", {}, one_channel=one_channel)


def _save(
    pixels: Pixels, kind: str, options: dict[str, Any], *, one_channel: bool
) -> bytes:
    written: np.ndarray = pixels
    if one_channel and kind != "WEBP":
        written = np.ascontiguousarray(pixels[:, :, 0])
    target = io.BytesIO()
    try:
        Image.fromarray(written).save(target, kind, **options)
    except (OSError, ValueError) as error:
        height, width = pixels.shape[:2]
        message = f"{kind} cannot hold an image of {width}x{height} px: {error}"
        raise DataError(message, "choose a smaller resize or another codec") from error
    return target.getvalue()


def _open(
    data: bytes, *, where: str, limits: DecodingLimits
) -> tuple[Image.Image, Scans]:
    """The image with its head read and held to the limits, and the scans of a JPEG."""
    if not data:
        message = f"{where} should be an image but is empty (0 bytes)"
        raise DataError(message, "fetch or save the file again")
    scans = Scans(n=1)
    if data.startswith(b"\xff\xd8"):
        scans = read_scans(data, most=limits.max_scans + 1, where=where)
    elif data.startswith((b"\x89PNG", b"GIF8")):
        check_pieces(data, where)
    if (declared := declared_size(data)) is not None:
        limits.check(*declared, 1, where)
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        message = f"{where} is larger than {limits.max_pixels:,} px: {error}"
        raise DataError(message, "shrink the image first") from error
    except PILLOW_ERRORS as error:
        message = (
            f"{where} should be an image ({', '.join(_FORMATS)}), found "
            f"{len(data):,} bytes that start with {data[:8]!r}"
        )
        raise DataError(message, "fetch or save the file again") from error
    limits.check(image.width, image.height, scans.n, where)
    return image, scans


def _jpeg_pixels(image: Image.Image, data: bytes, scans: Scans, where: str) -> Pixels:
    if image.mode in _PLAIN_MODES:
        # The same library as Pillow's, without its copies and with its warnings.
        return decode_jpeg(data, scans, "RGB", where)
    decode_jpeg(data, scans, image.mode, where)  # for its warnings
    try:
        return np.asarray(image.convert("RGB"))  # Pillow knows how inks are stored
    except PILLOW_ERRORS as error:
        raise damaged(where, error) from error


def _webp_pixels(data: bytes, where: str) -> Pixels:
    """The same library as Pillow's, in a third of the memory."""
    how = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), how)
    except cv2.error as error:
        raise damaged(where, str(error).strip()) from error
    if pixels is None:
        raise damaged(where, "its pixels cannot be decoded")
    return pixels


def _other_pixels(image: Image.Image, data: bytes, where: str) -> Pixels:
    try:
        if image.format == "TIFF":
            check_tiff(image, data, where)
        bits = stated_bits(image, data, where)
        image.load()
        if image.format == "PNG":
            check_png(image, data, where)
        if image.mode in _DEEP_GRAY:
            return upper_bits(np.asarray(image), bits, image, where)
        if image.mode == "P" and "transparency" in image.info:
            image = image.convert("RGBA")
        pixels = _rgb(image if image.mode == "RGB" else image.convert("RGB"))
    except PILLOW_ERRORS as error:
        raise damaged(where, error) from error
    check_range(pixels, bits, where)
    return pixels


def _jpeg_options(received: Any, *, one_channel: bool) -> dict[str, Any]:
    """Tables, sampling and scan order of a received JPEG, as Pillow's options."""
    layers = received.layer[:1] if one_channel else received.layer[:3]
    tables = [received.quantization[layer[3]] for layer in layers]
    while len(tables) > 1 and tables[-1] == tables[-2]:
        tables.pop()  # the last one serves the remaining channels
    options: dict[str, Any] = {
        "qtables": tables,
        "progressive": bool(received.info.get("progressive", 0)),
    }
    if not one_channel and len(received.layer) == _RGB_CHANNELS:
        factors = [layer[1:3] for layer in received.layer]
        sampling = {(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0"}
        if factors[1:] == [(1, 1), (1, 1)] and factors[0] in sampling:
            options["subsampling"] = sampling[factors[0]]
    return options
