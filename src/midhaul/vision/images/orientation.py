"""The turn that a file asks for, so that a picture is what a person sees.

A camera stores a portrait photo as it came from the sensor and notes in EXIF how it is
to be turned (Exif 2.32, tag 0x0112; CIPA DC-008, section 4.6.4):

====  =====================  ====  =======================
1     as stored              5     transposed
2     mirrored, left-right   6     a quarter clockwise
3     half a turn            7     transposed, half a turn
4     mirrored, top-bottom   8     a quarter anticlockwise
====  =====================  ====  =======================

Browsers, phones and label tools show the turned picture, and so does midhaul, wherever
it speaks of an image's pixels, size or boxes.
"""

from __future__ import annotations

import struct
from typing import IO, TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Float, UInt8

AS_STORED = 1
_TAG = 0x0112
_WIDTH_TAG, _HEIGHT_TAG = 256, 257
_FIRST_QUARTER = 5
_LAST = 8
_PNG_SIGNATURE_BYTES = 8
_TURNS = {
    3: cv2.ROTATE_180,
    6: cv2.ROTATE_90_CLOCKWISE,
    8: cv2.ROTATE_90_COUNTERCLOCKWISE,
}


def orientation_of(image: Image.Image) -> int:
    """How an opened image is to be turned, 1 to 8; its pixels are not read.

    What Pillow's ``ImageOps.exif_transpose`` would apply: EXIF of JPEG, PNG (wherever
    its chunk stands), WebP and TIFF, and XMP where EXIF says nothing. What cannot be
    understood is 1, as in any viewer.
    """
    try:
        value = _value(image)
    except Exception:  # noqa: BLE001 - Pillow raises about anything on broken EXIF
        return AS_STORED
    if isinstance(value, int) and AS_STORED <= value <= _LAST:
        return value
    return AS_STORED


def stored_size(image: Any) -> tuple[int, int]:
    """Width and height in px as an opened image stores them."""
    if image.format == "TIFF":  # Pillow tells the size after the turn, mostly
        return int(image.tag_v2[_WIDTH_TAG]), int(image.tag_v2[_HEIGHT_TAG])
    return image.size


def is_quarter(orientation: int) -> bool:
    """True where width and height change places."""
    return orientation >= _FIRST_QUARTER


def turned_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Width and height after the turn, or before it: the same rule."""
    width, height = size
    return (height, width) if is_quarter(orientation) else size


def has_same_shape(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether one factor leads from a width and height to others, but for rounding."""
    if min(one) <= 0:
        return False
    low = max((b - 1) / a for a, b in zip(one, other, strict=True))
    high = min((b + 1) / a for a, b in zip(one, other, strict=True))
    return low < high


def turned(
    pixels: UInt8[np.ndarray, "h w 3"], orientation: int
) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Stored pixels as a person sees them; the very array where nothing turns."""
    if orientation == AS_STORED:
        return pixels
    if orientation in _TURNS:
        return cv2.rotate(pixels, _TURNS[orientation])
    if orientation in {2, 4}:
        return cv2.flip(pixels, 1 if orientation == 2 else 0)  # noqa: PLR2004 - EXIF's
    transposed = cv2.transpose(pixels)
    return transposed if orientation == _FIRST_QUARTER else cv2.flip(transposed, -1)


def turned_boxes(
    boxes: Float[np.ndarray, "n 4"], orientation: int, size: tuple[int, int]
) -> Float[np.ndarray, "n 4"]:
    """Boxes on stored pixels as boxes on the picture that a person sees.

    Boxes are corners in px of the stored picture, which has ``size``.
    """
    width, height = size
    x1, y1, x2, y2 = boxes.T
    if orientation in {2, 3, 7, 8}:
        x1, x2 = width - x2, width - x1
    if orientation in {3, 4, 6, 7}:
        y1, y2 = height - y2, height - y1
    if is_quarter(orientation):
        x1, y1, x2, y2 = y1, x1, y2, x2
    return np.stack([x1, y1, x2, y2], axis=1).astype(boxes.dtype)


def png_chunks(file: IO[bytes]) -> Iterator[tuple[bytes, int, int]]:
    """Kind, place and length of each chunk's data in a PNG file, up to its end."""
    place = _PNG_SIGNATURE_BYTES
    while True:
        file.seek(place)
        head = file.read(8)
        if len(head) < 8:  # noqa: PLR2004 - a length and a kind
            return
        length, kind = struct.unpack(">I4s", head)
        yield kind, place + 8, length
        if kind == b"IEND":
            return
        place += 12 + length


def _value(image: Any) -> object:
    if image.format == "PNG":
        found = _png_exif(image.fp)
        if found is not None:
            exif = Image.Exif()
            exif.load(found)
            if _TAG in exif:
                return exif[_TAG]
    elif image.format != "TIFF" and not {"exif", "xmp"} & image.info.keys():
        return AS_STORED
    # The method of a PNG would first read all of its pixels.
    return Image.Image.getexif(image).get(_TAG)


def _png_exif(file: IO[bytes]) -> bytes | None:
    """The last chunk of EXIF, which may stand behind the pixels."""
    before = file.tell()
    try:
        found = [(at, n) for kind, at, n in png_chunks(file) if kind == b"eXIf"]
        if not found:
            return None
        place, length = found[-1]
        file.seek(place)
        return file.read(length)
    finally:
        file.seek(before)
