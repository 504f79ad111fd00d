"""What images a vendor takes, checked before anything is sent (and paid)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from midhaul.errors import DataError
from midhaul.federation.providers.failures import Failure
from midhaul.vision.images import size

_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
)


class Size(NamedTuple):
    """Width and height of an image, as a person sees it."""

    width_px: int
    height_px: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLimits:
    """What a vendor takes.

    Attributes:
        formats: of the file.
        max_bytes: of the file.
        min_side_px: of width and height.
        max_side_px: of width and height.
        max_pixels: width times height.
    """

    formats: tuple[str, ...]
    max_bytes: int
    min_side_px: int = 1
    max_side_px: float = math.inf
    max_pixels: float = math.inf

    def check(self, data: bytes, item: str) -> Size | Failure:
        """The size of an image, or why the vendor would not take it.

        Args:
            data: the file.
            item: id of the image, for the message.
        """
        if len(data) > self.max_bytes:
            return _refused(
                f"{item} has {len(data)} bytes, the vendor takes {self.max_bytes}"
            )
        found = format_of(data)
        if found not in self.formats:
            kinds = ", ".join(self.formats)
            what = found or "no image that midhaul knows"
            return _refused(f"{item} is {what}, the vendor takes {kinds}")
        try:
            width, height = size(data, where=item)
        except DataError as error:
            return _refused(error.message)
        sides = (width, height)
        if min(sides) < self.min_side_px or max(sides) > self.max_side_px:
            return _refused(
                f"{item} has {width}x{height} px, the vendor takes sides of "
                f"{self.min_side_px} to {self.max_side_px:g} px"
            )
        if width * height > self.max_pixels:
            return _refused(
                f"{item} has {width}x{height} px, the vendor takes "
                f"{self.max_pixels:g} px in all"
            )
        return Size(width, height)


def format_of(data: bytes) -> str:
    """Format by the first bytes of a file; empty where it is none of ours."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return next((name for magic, name in _MAGIC if data.startswith(magic)), "")


def _refused(message: str) -> Failure:
    return Failure(status="refused", message=message, is_sent=False)
