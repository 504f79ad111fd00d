"""What an image file may ask for before any of its pixels are decoded."""

from __future__ import annotations

from dataclasses import dataclass

from midhaul.errors import DataError

_SCANNED_PX_PER_S = 1e8
"""Pixels times scans that a slow core decodes in a second; progressive JPEGs of 12 and
50 million px took a third of that time on this project's machines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodingLimits:
    """Limits that the head of a file is held to.

    A few bytes can declare a picture that takes gigabytes or minutes. Whatever exceeds
    a limit is refused by its head, before memory is taken for it.

    Attributes:
        max_pixels: width times height; the default, 64 Mi, is 192 MiB as RGB.
        max_side_px: width and height; the default is the most that a JPEG can have.
        max_scans: scans of a JPEG; encoders write about ten.
        max_s: seconds that decoding may take, estimated from pixels times scans at
            100 million a second.
    """

    max_pixels: int = 1 << 26
    max_side_px: int = 65_535
    max_scans: int = 100
    max_s: float = 10.0

    def check(self, width: int, height: int, n_scans: int, where: str) -> None:
        """Refuse what exceeds a limit.

        Raises:
            DataError: with the limit, and what the head of the file declares.
        """
        found = f"{where} is {width}x{height} px"
        hint = "shrink the image, or raise max_pixels where there is such a key"
        if width * height > self.max_pixels:
            message = f"{found}, more than {self.max_pixels:,} px"
            raise DataError(message, hint)
        if max(width, height) > self.max_side_px:
            message = f"{found}, with a side of more than {self.max_side_px:,} px"
            raise DataError(message, hint)
        if n_scans > self.max_scans:
            message = f"{where} has {n_scans:,} scans, more than {self.max_scans:,}"
            raise DataError(message, "save the image again, as a baseline JPEG")
        work_s = width * height * n_scans / _SCANNED_PX_PER_S
        if work_s > self.max_s:
            message = (
                f"{found} in {n_scans:,} scans, which takes about {work_s:.0f} s to "
                f"decode; at most {self.max_s:g} s are allowed"
            )
            raise DataError(message, "save the image again, as a baseline JPEG")
