"""How a workload behaves: MLPerf's four scenarios, and the bursts of the thesis.

====================  =======  =================================================
scenario              loop     a request is sent
====================  =======  =================================================
:class:`SingleStream`  closed  when the previous one was answered; one image
:class:`MultiStream`   closed  when the previous one was answered; n images
:class:`Server`        open    when the arrivals say so, answers or not
:class:`Offline`       none    all at the begin; counts throughput, not latency
:class:`Bursts`        closed  when the previous one was answered; x requests of n
                               images to one node, then to the next
====================  =======  =================================================

Source of names and meaning: MLPerf Inference (Reddi et al., ISCA 2020). Multi stream is
the one of its version 2 and later: closed, with no fixed interval.

*Warm-up*: a cell is measured once two windows in a row agree. A window is a fixed
number of answered requests in order of their completion. Two agree when their median
latencies differ by no more than a tolerance, or by no more than chance explains: when
the distribution-free intervals of the two medians overlap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from midhaul.stats import quantile_interval

if TYPE_CHECKING:
    from jaxtyping import Float64

    from midhaul.testbed.load.arrivals import Arrivals


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleStream:
    """One image at a time, the next when the answer is there."""

    name: ClassVar[str] = "single stream"
    images_per_request: ClassVar[int] = 1
    is_latency_meaningful: ClassVar[bool] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiStream:
    """Some images at a time, the next when the answer to all is there.

    ValueError if there is less than one image per request.
    """

    images_per_request: int = 8
    name: ClassVar[str] = "multi stream"
    is_latency_meaningful: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the count."""
        _check_at_least_one("images_per_request", self.images_per_request)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Requests of one image come when they come.

    Attributes:
        arrivals: when; it never waits for an answer.
    """

    arrivals: Arrivals
    name: ClassVar[str] = "server"
    images_per_request: ClassVar[int] = 1
    is_latency_meaningful: ClassVar[bool] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Offline:
    """All images are there at the begin; how fast is the pile gone?

    ValueError if nothing would be in flight.

    Attributes:
        in_flight: requests on their way at once; enough to keep every node busy.
    """

    in_flight: int = 16
    name: ClassVar[str] = "offline"
    images_per_request: ClassVar[int] = 1
    is_latency_meaningful: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check the count."""
        _check_at_least_one("in_flight", self.in_flight)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bursts:
    """The workload of the thesis: one node gets a burst, then the next, for ever.

    ValueError if a burst would be empty.

    Attributes:
        requests: requests in a row to one node, each when the previous was answered.
        images_per_request: images in each request.
    """

    requests: int = 5
    images_per_request: int = 1
    name: ClassVar[str] = "bursts"
    is_latency_meaningful: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the counts."""
        _check_at_least_one("requests", self.requests)
        _check_at_least_one("images_per_request", self.images_per_request)


Scenario = SingleStream | MultiStream | Server | Offline | Bursts


def node_of(scenario: Scenario, request: int, n_nodes: int) -> int:
    """Number of the node that a request goes to: nodes take turns, bursts at a time."""
    return request // _in_a_row(scenario) % n_nodes


def cycle_length(scenario: Scenario, n_nodes: int) -> int:
    """Requests until every node had its turn; windows are multiples of it."""
    return _in_a_row(scenario) * n_nodes


def _in_a_row(scenario: Scenario) -> int:
    return scenario.requests if isinstance(scenario, Bursts) else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """When a load has asked enough, not counting its warm-up.

    Given both, both must be reached: MLPerf's smallest count and shortest duration.
    ValueError if neither is given, or one is not positive.

    Attributes:
        count: requests.
        duration_s: seconds over which requests are planned.
    """

    count: int | None = None
    duration_s: float | None = None

    def __post_init__(self) -> None:
        """Check that there is an end."""
        if self.count is None and self.duration_s is None:
            message = "a load needs a count or a duration_s to end"
            raise ValueError(message)
        if self.count is not None:
            _check_at_least_one("count", self.count)
        if self.duration_s is not None and not self.duration_s > 0:
            message = f"duration_s must be positive, found {self.duration_s}"
            raise ValueError(message)

    def is_reached(self, n: int, elapsed_s: float) -> bool:
        """True when ``n`` requests over ``elapsed_s`` seconds are enough."""
        is_enough = self.count is None or n >= self.count
        is_long = self.duration_s is None or elapsed_s >= self.duration_s
        return is_enough and is_long


def _check_at_least_one(name: str, value: int) -> None:
    if value < 1:
        message = f"{name} must be at least 1, found {value}"
        raise ValueError(message)


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
