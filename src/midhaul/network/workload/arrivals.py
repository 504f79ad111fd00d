"""Arrivals of flows: Poisson, lognormal gaps, on and off, and the times of a trace.

Every law fills a given time with a given number of flows, so that the load that they
offer is known exactly. Gaps are whole numbers before they are added up: the last bit of
a logarithm, which differs between machines, moves no start.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from midhaul.errors import ConfigError, DataError
from midhaul.model.display import Shown

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

_PARTS = float(1 << 20)
"""Parts of a mean gap that are told apart."""


class FlowArrivals(Protocol):
    """When flows start."""

    def draw(
        self, rng: np.random.Generator, n: int, horizon_ns: int
    ) -> Int64[np.ndarray, " n"]:
        """``(n,)`` starts in nanoseconds, rising, within the horizon."""
        ...


def _spread(
    gaps: Float64[np.ndarray, " n1"], horizon_ns: float
) -> Float64[np.ndarray, " n"]:
    """Starts behind each gap but the last, so that all gaps fill the horizon."""
    ends = np.cumsum(np.maximum(np.rint(gaps * _PARTS), 1).astype(np.int64))
    return ends[:-1] * (horizon_ns / float(ends[-1]))


@dataclass(frozen=True, slots=True, kw_only=True)
class PoissonArrivals:
    """Exponential gaps: many senders that know nothing of each other."""

    def draw(
        self, rng: np.random.Generator, n: int, horizon_ns: int
    ) -> Int64[np.ndarray, " n"]:
        """``(n,)`` starts, as those of a Poisson process that had n in the horizon."""
        gaps = rng.standard_exponential(n + 1)
        return _spread(gaps, horizon_ns).astype(np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class LognormalArrivals:
    """Lognormal gaps: bursts, the more so the larger sigma.

    Attributes:
        sigma: deviation of the logarithm of a gap; 1 and 2 are common.
    """

    sigma: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what is no deviation."""
        if not 0 < self.sigma <= 8:  # noqa: PLR2004  e^(8^2 / 2) is 10^14
            message = "sigma of arrivals must be above 0 and at most 8, found "
            raise ConfigError(message + f"{self.sigma:g}")

    def draw(
        self, rng: np.random.Generator, n: int, horizon_ns: int
    ) -> Int64[np.ndarray, " n"]:
        """``(n,)`` starts."""
        gaps = rng.lognormal(-(self.sigma**2) / 2, self.sigma, n + 1)
        return _spread(gaps, horizon_ns).astype(np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class OnOffArrivals:
    """Poisson arrivals in times that are on, none in times that are off.

    Attributes:
        on_s: mean length of a time that is on; lengths are exponential.
        off_s: mean length of a time that is off.
    """

    on_s: float
    off_s: float

    def __post_init__(self) -> None:
        """Refuse times that are no times."""
        for name in ("on_s", "off_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                message = f"{name} of arrivals must be above 0 s, found {value:g}"
                raise ConfigError(message)

    def draw(
        self, rng: np.random.Generator, n: int, horizon_ns: int
    ) -> Int64[np.ndarray, " n"]:
        """``(n,)`` starts; the horizon begins with a time that is on."""
        n_times = horizon_ns / 1e9 / (self.on_s + self.off_s)
        if n_times > _MOST_TIMES:
            message = (
                f"{horizon_ns / 1e9:g} s hold more than {_MOST_TIMES:,} times of "
                f"{self.on_s:g} s on and {self.off_s:g} s off"
            )
            raise ConfigError(message, "make on_s and off_s longer")
        begins: list[int] = []
        ends: list[int] = []
        now = 0
        while now < horizon_ns:
            for is_on, mean in ((True, self.on_s), (False, self.off_s)):
                length = max(round(float(rng.standard_exponential()) * mean * 1e9), 1)
                if is_on:
                    begins.append(now)
                    ends.append(min(now + length, horizon_ns))
                now += length
                if now >= horizon_ns:
                    break
        first = np.array(begins, np.int64)
        before = np.zeros(len(first) + 1, np.int64)
        np.cumsum(np.array(ends, np.int64) - first, out=before[1:])
        within = _spread(rng.standard_exponential(n + 1), float(before[-1]))
        within = within.astype(np.int64)
        which = np.searchsorted(before, within, side="right") - 1
        return first[which] + within - before[which]


_MOST_TIMES = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class TraceArrivals(Shown):
    """Starts that were measured, as many as are wanted.

    Attributes:
        start_ns: ``(k,)`` starts, rising, from 0 or more.
        name: of the trace, for messages.
        is_scaled: true where the trace is stretched to fill the horizon, so that the
            load is as asked for; else its times stay and it fills what it fills.

    Raises:
        ConfigError: starts do not rise.
    """

    start_ns: Int64[np.ndarray, " k"]
    name: str = "the trace"
    is_scaled: bool = True

    def __post_init__(self) -> None:
        """Refuse times that go back."""
        if len(self.start_ns) and int(self.start_ns[0]) < 0:
            message = f"{self.name}: starts are at least 0 ns, found {self.start_ns[0]}"
            raise ConfigError(message)
        if (np.diff(self.start_ns) < 0).any():
            at = int(np.argmin(np.diff(self.start_ns) >= 0)) + 1
            message = f"{self.name}: starts must rise, start {at} is before the one "
            raise ConfigError(message + "ahead of it")

    def draw(
        self, rng: np.random.Generator, n: int, horizon_ns: int
    ) -> Int64[np.ndarray, " n"]:
        """The first n starts; DataError if the trace ends before."""
        del rng
        found = len(self.start_ns)
        if found < n:
            end = f" at {self.start_ns[-1] / 1e9:g} s" if found else ""
            message = f"{self.name} ends after {found:,} starts{end}, {n:,} are wanted"
            raise DataError(message, "ask for fewer flows, or give a longer trace")
        starts = self.start_ns[:n]
        if not self.is_scaled or not n:
            return starts.copy()
        starts = starts - starts[0]
        # Behind the last start stands a mean gap, as in front of each other one.
        span = float(starts[-1]) * n / max(n - 1, 1) or 1.0
        return (starts * (horizon_ns / span)).astype(np.int64)
