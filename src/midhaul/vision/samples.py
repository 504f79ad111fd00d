"""Samples of more than 8 bits: which of their bits become the byte that is seen.

White is what a file states as its range. Where samples use but the lower bits of their
range (a camera of 12 bits that writes into 16), or have none (floating point), white is
somewhere else and nobody said where: such a file is refused rather than shown black.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.errors import DataError

if TYPE_CHECKING:
    from jaxtyping import UInt8

_BYTE = 8
_PNG_DEPTH = 24
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_UNSIGNED = (1, 4)
"""TIFF's sample formats: unsigned, and undefined, which is read as such."""
_HINT = "save it with 8 bits a sample, or scaled to the full range of 16"


def stated_bits(image: Any, data: bytes, where: str) -> int:
    """Bits of a sample, as the file states them.

    Raises:
        DataError: samples are signed, floating point or of 32 bits.
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

    Raises:
        DataError: all are dark enough to be of fewer bits than stated, and not black.
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

    Raises:
        DataError: no sample reaches a quarter of the range.
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
