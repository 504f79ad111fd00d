"""Numbers as people read them: a fitting unit, three digits, sorted by their size."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from midhaul.model.estimate import SIGNS
from midhaul.report import Cell

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_MILLI = 1e-3

PER = 1000
"""Prices of items are shown for so many."""

_NOTHING = Cell("–", order="", tone="muted")


def duration(seconds: float | None) -> Cell:
    """Seconds in the unit that fits."""
    if seconds is None or math.isnan(seconds):
        return _NOTHING
    return Cell(duration_text(seconds), seconds)


def duration_text(seconds: float) -> str:
    """Seconds in the unit that fits, as text."""
    size = abs(seconds)
    minute, hour = 60, 3600
    if size >= hour:
        return f"{seconds / hour:.3g} h"
    if size >= 2 * minute:
        return f"{seconds / minute:.3g} min"
    if size >= 1:
        return f"{seconds:.3g} s"
    if size >= _MILLI or size == 0:
        return f"{seconds * 1e3:.3g} ms"
    return f"{seconds * 1e6:.3g} µs"


def size_text(n_bytes: float) -> str:
    """Bytes in the unit that fits; 1 kB is 1000 bytes."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(n_bytes) >= factor:
            return f"{n_bytes / factor:.3g} {unit}"
    return f"{n_bytes:.3g} B"


def bounded(text: str, bound: str | None) -> str:
    """A number in words, with the sign of what it is a bound of.

    The bound is as the column ``bound`` of a summary has it.
    """
    return f"{SIGNS[bound]} {text}" if bound else text


def between(low: str, high: str) -> str:
    """An interval, its unit written once where both ends share it."""
    number, space, unit = low.rpartition(" ")
    if space and high.endswith(f" {unit}"):
        low = number
    return f"{low} – {high}"


def rate(value: float | None, unit: str = "bit/s") -> Cell:
    """Something per second in the unit that fits; None and infinity are no limit."""
    if value is None or math.isnan(value):
        return _NOTHING
    if math.isinf(value):
        return Cell("unlimited", value)
    for prefix, factor in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= factor and unit == "bit/s":
            return Cell(f"{value / factor:.3g} {prefix}{unit}", value)
    return Cell(f"{value:.3g} {unit}", value)


def percent(share: float | None) -> Cell:
    """A share in percent."""
    if share is None or math.isnan(share):
        return _NOTHING
    digits = ".2g" if abs(share) < 0.995 else ".0f"  # noqa: PLR2004 - no 1e+02 %
    return Cell(f"{share * 100:{digits}} %" if share else "0 %", share)


def share_text(share: float) -> str:
    """A share in percent, to three digits."""
    return f"{share * 100:.3g} %"


def usd_text(usd: float) -> str:
    """A price, to four digits."""
    return f"{usd:.4g} USD"


def usd_of_1000_text(usd: float) -> str:
    """A price of a thousand items, from that of one."""
    return usd_text(usd * PER)


def points_text(quality: float) -> str:
    """A quality in hundredths."""
    return f"{quality * 100:.2f}"


def text_of(form: str) -> Callable[[float], str]:
    """How a metric's number is written: by a name of ``FORMS``, or a format."""
    return FORMS.get(form) or form.format


FORMS: Mapping[str, Callable[[float], str]] = {
    "bits": lambda bits: size_text(bits / 8),
    "duration": duration_text,
    "gain": lambda difference: f"{difference * 100:+.2f}",
    "points": points_text,
    "rounded_share": lambda share: share_text(round(share, 6)),
    "rate": lambda value: rate(value).text,
    "share": share_text,
    "size": size_text,
    "usd": usd_text,
    "usd_of_1000": usd_of_1000_text,
}
"""The forms of numbers by their names."""
