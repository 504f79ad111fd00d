"""A number with its uncertainty."""

from __future__ import annotations

import math
from dataclasses import dataclass

from midhaul.model.display import Display, Shown, number

AT_LEAST, AT_MOST = ">=", "<="
"""What is said of a number that is not known exactly: the true one is that or more, or
that or less."""

SIGNS = {AT_LEAST: "≥", AT_MOST: "≤"}
"""How it is shown."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Estimate(Shown):
    """A headline number: its value, the interval around it and what it rests on.

    Attributes:
        value: the point estimate; NaN when there is nothing to estimate from.
        low: lower end of the confidence interval; NaN when there is none.
        high: upper end of the confidence interval; NaN when there is none.
        n: number of independent units behind it (images, requests, blocks).
        unit: SI base unit or ``""`` for a pure number.
    """

    value: float
    low: float
    high: float
    n: int
    unit: str = ""

    @property
    def relative_half_width(self) -> float:
        """Half the interval over the value's size; infinite for a value of zero."""
        if self.value == 0:
            return float("inf")
        return (self.high - self.low) / 2 / abs(self.value)

    def _display(self) -> Display:
        """The value with its unit and its interval, in four digits."""
        unit = f" {self.unit}" if self.unit else ""
        ends = "no interval"
        if math.isfinite(self.low) and math.isfinite(self.high):
            ends = f"{number(self.low)} to {number(self.high)}"
        return Display(text=f"{number(self.value)}{unit}, {ends}, n = {self.n:,}")
