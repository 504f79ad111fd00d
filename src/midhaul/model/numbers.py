"""Number formats: how a terminal, a report and a page of the docs write one number.

A number has the unit that fits its size and three digits. One with an interval has its
unit in common with both ends, and as many digits as the width of the interval carries.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from midhaul.model.estimate import SIGNS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Real = float | int

PER = 1000
"""Prices of items are shown for so many."""

_DIGITS, _MOST_DIGITS = 3, 4
_TINY, _HUGE = 1e-4, 1e12
_MILLI, _MINUTE, _HOUR = 1e-3, 60.0, 3600.0


@dataclass(frozen=True, slots=True)
class NumberScale:
    """How the numbers of a form are written.

    Attributes:
        factor: from the number to what is written.
        unit: behind it, with its space.
        places: behind the point; None for as many as fit.
        sign: ``+`` where a plus is written too.
    """

    factor: float = 1.0
    unit: str = ""
    places: int | None = None
    sign: str = ""

    def text(self, value: Real, places: int | None = None) -> str:
        """A number without its unit."""
        scaled = value * self.factor
        if self.places is not None:
            places = self.places
        if places is not None and math.isfinite(scaled):
            return f"{_no_minus_zero(scaled, places):{self.sign},.{max(places, 0)}f}"
        return digits(scaled, sign=self.sign)


def digits(value: Real, n: int = _DIGITS, sign: str = "") -> str:
    """A number with so many digits, all of those before the point, and no exponent.

    Only what is very small or very large has one.
    """
    if not math.isfinite(value):
        return "–" if math.isnan(value) else f"{value:{sign}}"
    if value and not _TINY <= abs(value) < _HUGE:
        return f"{value:{sign}.{n - 1}e}"
    places = max(0, n - 1 - _exponent(value))
    text = f"{_no_minus_zero(value, places):{sign},.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _exponent(value: Real) -> int:
    return math.floor(math.log10(abs(value))) if value else 0


def _no_minus_zero(value: Real, places: int) -> float:
    return round(value, places) + 0.0


def _duration(value: Real) -> NumberScale:
    size = abs(value)
    if size >= _HOUR:
        return NumberScale(1 / _HOUR, " h")
    if size >= 2 * _MINUTE:
        return NumberScale(1 / _MINUTE, " min")
    if size >= 1:
        return NumberScale(1.0, " s")
    is_milli = size >= _MILLI or not size
    return NumberScale(1e3, " ms") if is_milli else NumberScale(1e6, " µs")


def _prefixed(unit: str, *, scale: float = 1.0) -> Callable[[Real], NumberScale]:
    def scaled_to(value: Real) -> NumberScale:
        for prefix, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
            if abs(value) * scale >= size:
                return NumberScale(scale / size, f" {prefix}{unit}")
        return NumberScale(scale, f" {unit}")

    return scaled_to


_SCALES: Mapping[str, Callable[[Real], NumberScale]] = {
    "bits": _prefixed("B", scale=1 / 8),
    "duration": _duration,
    "gain": lambda _: NumberScale(100.0, places=2, sign="+"),
    "points": lambda _: NumberScale(100.0, places=2),
    "rate": _prefixed("bit/s"),
    "rounded_share": lambda _: NumberScale(100.0, " %"),
    "share": lambda _: NumberScale(100.0, " %"),
    "size": _prefixed("B"),
    "usd": lambda _: NumberScale(1.0, " USD"),
    "usd_of_1000": lambda _: NumberScale(float(PER), " USD"),
    "{:.3g}": lambda _: NumberScale(),
}
"""The forms of numbers by their names; any other is a format with one place."""

_BY_UNIT = {"s": "duration", "B": "size", "bit/s": "rate", "bit": "bits"}


@dataclass(frozen=True, slots=True)
class NumberForm:
    """How one metric's numbers are written.

    Attributes:
        form: a name of a form, or a format with one place.
        unit: written behind it where the form has none.
    """

    form: str = "{:.3g}"
    unit: str = ""

    def text(self, value: Real) -> str:
        """A number with its unit."""
        shape = self._shape(value)
        if shape is None:
            return self.form.format(value) + self._behind
        return shape.text(self._rounded(value)) + shape.unit + self._behind

    def interval(self, low: Real, high: Real) -> str:
        """Two ends, their unit written once where they share it."""
        return between(self.text(low), self.text(high))

    def estimate(self, value: Real, low: Real, high: Real) -> tuple[str, str]:
        """A number, and its interval in the same unit, as exact as that is wide.

        The unit stands with the number only.
        """
        shape = self._shape(value or max(abs(low), abs(high)))
        if shape is None:
            ends = (self.form.format(end) for end in (low, high))
            return self.text(value), " – ".join(ends)
        places = _places(shape, value, (high - low) / 2)
        number, *ends = (
            shape.text(self._rounded(one), places) for one in (value, low, high)
        )
        return number + shape.unit + self._behind, " – ".join(ends)

    @property
    def _behind(self) -> str:
        return f" {self.unit}" if self.unit else ""

    def _shape(self, value: Real) -> NumberScale | None:
        make = _SCALES.get(self.form)
        return None if make is None else make(value)

    def _rounded(self, value: Real) -> float:
        return round(value, 6) if self.form == "rounded_share" else float(value)


def _places(shape: NumberScale, value: Real, error: Real) -> int | None:
    """Places behind the point that an interval carries: two digits of half of it.

    The number itself has at least two digits, and at most four.
    """
    error = abs(error * shape.factor)
    if not math.isfinite(error) or not error:
        return None
    wanted = 1 - _exponent(error)
    size = _exponent(value * shape.factor)
    return max(0, min(max(wanted, 1 - size), _MOST_DIGITS - 1 - size))


def form_for(form: str, unit: str, *, is_unit_said: bool = False) -> NumberForm:
    """The form of a metric: its own, or else that of its unit.

    ``is_unit_said`` where its heading has the unit already.
    """
    if form != NumberForm().form:
        return NumberForm(form)
    if unit in _BY_UNIT:
        return NumberForm(_BY_UNIT[unit])
    return NumberForm(form, "" if is_unit_said else unit)


def text_of(form: str) -> Callable[[Real], str]:
    """How a metric's number is written: by the name of a form, or a format."""
    return NumberForm(form).text


def duration_text(seconds: Real) -> str:
    """Seconds in the unit that fits."""
    return NumberForm("duration").text(seconds)


def size_text(n_bytes: Real) -> str:
    """Bytes in the unit that fits; 1 kB is 1000 bytes."""
    return NumberForm("size").text(n_bytes)


def rate_text(bit_per_s: Real) -> str:
    """Bits per second in the unit that fits."""
    return NumberForm("rate").text(bit_per_s)


def share_text(share: Real) -> str:
    """A share in percent, to three digits."""
    return NumberForm("share").text(share)


def usd_text(usd: Real) -> str:
    """A price, to three digits."""
    return NumberForm("usd").text(usd)


def usd_of_1000_text(usd: Real) -> str:
    """A price of a thousand items, from that of one."""
    return NumberForm("usd_of_1000").text(usd)


def points_text(quality: Real) -> str:
    """A quality in hundredths."""
    return NumberForm("points").text(quality)


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
