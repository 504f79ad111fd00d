"""Warm-up: a cell is measured once two windows in a row agree.

A window is a fixed number of answered requests in order of their completion. Two agree
when their median latencies differ by no more than a tolerance, or by no more than
chance explains: when the distribution-free intervals of the two medians overlap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.stats import quantile_interval

if TYPE_CHECKING:
    from jaxtyping import Float64


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmup:
    """When a cell counts as steady; ValueError if a number is out of its range.

    Attributes:
        window: answered requests in a window, at least 2; the generator rounds it up to
            whole turns over the nodes.
        tolerance: relative difference of two medians that always agrees.
        max_requests: requests after which waiting for steadiness is given up.
    """

    window: int = 10
    tolerance: float = 0.1
    max_requests: int = 200

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.window < 2:  # noqa: PLR2004
            message = f"a warm-up window needs 2 requests, found {self.window}"
            raise ValueError(message)
        if not self.tolerance >= 0:
            message = f"tolerance must not be negative, found {self.tolerance}"
            raise ValueError(message)
        if self.max_requests < 1:
            message = f"max_requests must be at least 1, found {self.max_requests}"
            raise ValueError(message)


def agree(
    first_s: Float64[np.ndarray, " n"],
    second_s: Float64[np.ndarray, " m"],
    *,
    tolerance: float,
) -> bool:
    """True when two windows of latencies may come from the same steady state.

    Latencies in s; medians that differ by ``tolerance`` relatively always agree.
    """
    medians = np.median(first_s), np.median(second_s)
    if abs(medians[1] - medians[0]) <= tolerance * min(medians):
        return True
    one, two = quantile_interval(first_s, 0.5), quantile_interval(second_s, 0.5)
    # An end that a short window cannot bound is NaN: no interval, no overlap.
    return one.low <= two.high and two.low <= one.high


class SteadyWatch:
    """Follows the latencies of a warm-up until two windows in a row agree.

    The window becomes a multiple of ``cycle``, the requests until every node had its
    turn.
    """

    def __init__(self, warmup: Warmup, *, cycle: int = 1) -> None:
        self._tolerance = warmup.tolerance
        self._size = -(-warmup.window // cycle) * cycle
        self._before: Float64[np.ndarray, " n"] | None = None
        self._window: list[float] = []
        self.is_steady = False

    def add(self, latency_s: float) -> None:
        """Take the next answered request."""
        self._window.append(latency_s)
        if self.is_steady or len(self._window) < self._size:
            return
        window = np.array(self._window, np.float64)
        self._window.clear()
        if self._before is not None:
            self.is_steady = agree(self._before, window, tolerance=self._tolerance)
        self._before = window
