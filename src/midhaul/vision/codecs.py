"""Image files to pixels and back: Pillow, and simplejpeg where it gives the same."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import simplejpeg
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from midhaul.errors import DataError
from midhaul.vision.orientation import (
    AS_STORED,
    orientation_of,
    stored_size,
    turned,
    turned_size,
)

Pixels = UInt8[np.ndarray, "h w 3"]
"""RGB, one byte per channel, origin at the top left."""

# Formats with a decoder that only reads bytes; EPS, for one, would start a program.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
_MAX_PIXELS = 100_000_000
_RGB_CHANNELS = 3
_PLAIN_MODES = ("L", "RGB")
_DEEP_GRAY = ("I;16", "I;16L", "I;16B")
_RECEIVED_WEBP_QUALITY = 80  # a WebP does not tell its own


def decode(
    data: bytes, *, where: str = "image", max_pixels: int = _MAX_PIXELS
) -> Pixels:
    """Decode a whole image into RGB.

    Args:
        data: a JPEG, PNG, WebP, BMP, GIF or TIFF file; of several frames the first.
        where: name of the image, for messages.
        max_pixels: refuse images that hold more, before their pixels are decoded.

    Returns:
        ``(h, w, 3)`` pixels as a person sees them: an orientation in the file is
        applied. Alpha is dropped and 16 bit gray keeps its upper byte.

    Raises:
        DataError: this is no image, it is cut off, or it is too large.
    """
    image = _open(data, where=where, max_pixels=max_pixels)
    orientation = orientation_of(image)
    pixels = _stored_pixels(image, data, where)
    if image.format == "TIFF":
        return pixels  # Pillow turns these by itself
    return turned(pixels, orientation)


def size(
    data: bytes, *, where: str = "image", max_pixels: int = _MAX_PIXELS
) -> tuple[int, int]:
    """Width and height in px as a person sees the image, from the header alone.

    Raises:
        DataError: this is no image, or it is too large.
    """
    image = _open(data, where=where, max_pixels=max_pixels)
    return turned_size(stored_size(image), orientation_of(image))


def upright(data: bytes, *, where: str = "image") -> bytes:
    """The same picture in a file that needs no turn.

    Returns:
        The very bytes where nothing turns; else a file of the same format and quality
        (see :func:`write_like`) with the turn in its pixels and without EXIF.

    Raises:
        DataError: this is no whole image, or it is too large.
    """
    image = _open(data, where=where, max_pixels=_MAX_PIXELS)
    if orientation_of(image) == AS_STORED:
        return data
    return write_like(data, decode(data, where=where))


def _stored_pixels(image: Image.Image, data: bytes, where: str) -> Pixels:
    if image.format == "JPEG" and image.mode in _PLAIN_MODES:
        # The same library below, without Pillow's copies. What it only warns of in a
        # file that can still be read, Pillow is asked about.
        with contextlib.suppress(ValueError):
            return simplejpeg.decode_jpeg(data, "RGB")
    try:
        image.load()
        if image.mode in _DEEP_GRAY:
            deep = np.asarray(image).astype(np.uint16)
            return np.repeat((deep >> 8).astype(np.uint8)[:, :, None], 3, axis=2)
        if image.mode == "P" and "transparency" in image.info:
            image = image.convert("RGBA")
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        message = f"{where} is cut off or damaged: {error}"
        raise DataError(message, "fetch or save the file again") from error


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
    one channel is written with one.

    Raises:
        DataError: the format cannot hold an image of this size.
    """
    received = _open(source, where="image", max_pixels=_MAX_PIXELS)
    one_channel = one_channel or received.mode in ("1", "L", *_DEEP_GRAY)
    if received.format in ("JPEG", "MPO"):
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


def _open(data: bytes, *, where: str, max_pixels: int) -> Image.Image:
    if not data:
        message = f"{where} should be an image but is empty (0 bytes)"
        raise DataError(message, "fetch or save the file again")
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        message = f"{where} is larger than {max_pixels:,} px: {error}"
        raise DataError(message, "shrink the image first") from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        message = (
            f"{where} should be an image ({', '.join(_FORMATS)}), found "
            f"{len(data):,} bytes that start with {data[:8]!r}"
        )
        raise DataError(message, "fetch or save the file again") from error
    if image.width * image.height > max_pixels:
        message = (
            f"{where} is {image.width}x{image.height} px, more than {max_pixels:,} px"
        )
        raise DataError(message, "shrink the image first")
    return image


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
