"""Numbers as a report's tables have them: written as everywhere, sorted by size."""

from __future__ import annotations

import math

from midhaul.model.numbers import (
    PER,
    between,
    bounded,
    digits,
    duration_text,
    points_text,
    rate_text,
    share_text,
    size_text,
    text_of,
    usd_of_1000_text,
    usd_text,
)
from midhaul.report import Cell

__all__ = [
    "PER",
    "between",
    "bounded",
    "duration",
    "duration_text",
    "percent",
    "points_text",
    "rate",
    "share_text",
    "size_text",
    "text_of",
    "usd_of_1000_text",
    "usd_text",
]

_NOTHING = Cell("–", order="", tone="muted")


def duration(seconds: float | None) -> Cell:
    """Seconds in the unit that fits."""
    if seconds is None or math.isnan(seconds):
        return _NOTHING
    return Cell(duration_text(seconds), seconds)


def rate(value: float | None, unit: str = "bit/s") -> Cell:
    """Something per second in the unit that fits; None and infinity are no limit."""
    if value is None or math.isnan(value):
        return _NOTHING
    if math.isinf(value):
        return Cell("unlimited", value)
    if unit == "bit/s":
        return Cell(rate_text(value), value)
    return Cell(f"{digits(value)} {unit}", value)


def percent(share: float | None) -> Cell:
    """A share in percent."""
    if share is None or math.isnan(share):
        return _NOTHING
    n_digits = 2 if abs(share) < 0.995 else 3  # noqa: PLR2004  as 100 has three
    return Cell(f"{digits(share * 100, n_digits)} %", share)
