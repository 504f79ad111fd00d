"""A number with its uncertainty, and what a run's metric rests on.

By the latter, two runs can be compared unit by unit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64

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


Statistic = Callable[[Float64[np.ndarray, "b n"]], Float64[np.ndarray, " b"]]
"""A statistic of n units as a function of how often each unit counts, b times over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A percentile as far as so many values carry it.

    What fewer values carry lies farther out, so two runs are compared at what the
    smaller of them carries.

    Attributes:
        n: values behind it.
        at: the statistic that a number of values carries; at most ``n``.
    """

    n: int
    at: Callable[[int], Statistic]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSamples:
    """One metric of one configuration, as a function of its independent units.

    ValueError if a unit's id is repeated.

    Attributes:
        metric: name of the metric, e.g. ``latency_p99_s``.
        configuration: name of the configuration it belongs to.
        units: ids of the independent units (images, blocks); units with the same id
            in two runs are paired.
        statistic: the metric from ``(b, n)`` weights of the ``n`` units, ``(b,)``.
        better: which direction is an improvement.
        unit: SI base unit or ``""``.
        known_below: values below it are exact; from it on the true value is at least
            the statistic, as something that was measured lasted longer than that.
        claim: how the statistic depends on the number of values; None where it does
            not.
        lack: why there is no number, a sentence; empty where there is one.
        n_stretches: stretches of time that the units come from, where they followed
            each other on something that changes by itself (a machine, a network, a
            provider), so that many are less exact than as many independent ones; None
            where nothing does.
        is_model: true where stated coefficients make it, not a measurement.
    """

    metric: str
    configuration: str
    units: tuple[str, ...]
    statistic: Statistic
    better: Literal["higher", "lower"]
    unit: str = ""
    known_below: float = math.inf
    claim: Claim | None = None
    lack: str = ""
    n_stretches: int | None = None
    is_model: bool = False

    def __post_init__(self) -> None:
        """Check that no unit counts twice."""
        if len(set(self.units)) != len(self.units):
            message = f"{self.metric} of {self.configuration} has repeated unit ids"
            raise ValueError(message)
