"""Renewal processes: independent gaps of one distribution between requests.

The first request comes one gap after the begin, so that the mean count over ``t``
seconds is ``rate * t`` for Poisson arrivals, exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jaxtyping import Float64

_CHUNK = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """Equal gaps.

    Attributes:
        rate_hz: requests per second.

    Raises:
        ValueError: the rate is not a positive number.
    """

    rate_hz: float

    def __post_init__(self) -> None:
        """Check the rate."""
        _check_positive("rate_hz", self.rate_hz)

    def times(self, rng: np.random.Generator) -> Iterator[float]:
        """Multiples of the gap; nothing is drawn from ``rng``."""
        del rng
        index = 0
        while True:
            index += 1
            yield index / self.rate_hz


@dataclass(frozen=True, slots=True, kw_only=True)
class Poisson:
    """Exponential gaps: many independent users, each of whom asks rarely.

    Attributes:
        rate_hz: mean requests per second.

    Raises:
        ValueError: the rate is not a positive number.
    """

    rate_hz: float

    def __post_init__(self) -> None:
        """Check the rate."""
        _check_positive("rate_hz", self.rate_hz)

    def times(self, rng: np.random.Generator) -> Iterator[float]:
        """Sums of exponential gaps."""
        scale = 1 / self.rate_hz
        return _sums(lambda: rng.exponential(scale, _CHUNK))


@dataclass(frozen=True, slots=True, kw_only=True)
class Gamma:
    """Gamma gaps: smoother than Poisson for ``cv < 1``, in clumps for ``cv > 1``.

    Attributes:
        rate_hz: mean requests per second.
        cv: standard deviation of a gap over its mean; 1 is Poisson.

    Raises:
        ValueError: the rate or the cv is not a positive number.
    """

    rate_hz: float
    cv: float

    def __post_init__(self) -> None:
        """Check rate and cv."""
        _check_positive("rate_hz", self.rate_hz)
        _check_positive("cv", self.cv)

    def times(self, rng: np.random.Generator) -> Iterator[float]:
        """Sums of gamma gaps of shape 1 / cv²."""
        shape = self.cv**-2
        scale = 1 / (self.rate_hz * shape)
        return _sums(lambda: rng.gamma(shape, scale, _CHUNK))


def _sums(draw: Callable[[], Float64[np.ndarray, " n"]]) -> Iterator[float]:
    """Running sums of gaps that are drawn a chunk at a time."""
    begin = 0.0
    while True:
        chunk = begin + np.cumsum(draw())
        yield from chunk.tolist()
        begin = float(chunk[-1])


def _check_positive(name: str, value: float) -> None:
    if not (value > 0 and math.isfinite(value)):
        message = f"{name} must be a positive number, found {value}"
        raise ValueError(message)
