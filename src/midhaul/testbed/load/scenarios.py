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

Arrivals: Poisson, gamma and constant gaps, and recorded ones from a file.

*Renewal processes* have independent gaps of one distribution. The first request comes
one gap after the begin, so that the mean count over ``t`` seconds is ``rate * t`` for
Poisson arrivals, exactly.

*Recordings* are text, CSV or Parquet, and are played again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from midhaul import documents
from midhaul.model.display import Shown
from midhaul.stats import quantile_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from jaxtyping import Float64


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


class Arrivals(Protocol):
    """A process that says when requests are sent, whatever becomes of them."""

    @property
    def rate_hz(self) -> float:
        """Mean number of requests per second."""
        ...

    def times(self, rng: np.random.Generator) -> Iterator[float]:
        """Planned sends in seconds since the process began, in order.

        The iterator is lazy, so that nobody needs to know beforehand how many requests
        a count, a duration or a warm-up will take. Equal generators give equal times.

        Args:
            rng: source of chance; a process without chance does not touch it.
        """
        ...


_HINT = (
    "give a text file with one time in seconds per line, or a CSV or Parquet file "
    "whose column time_s (or only column) holds seconds"
)


def read_arrivals(file: Path, *, loops: bool = False, speed: float = 1.0) -> Recorded:
    """Read planned sends from a file.

    That is ``.csv`` with a header, ``.parquet``, or text with a number per line (blank
    lines and lines that begin with ``#`` are skipped). ``speed`` is how many times as
    fast as recorded they come; ``loops`` starts again at the end. DataError if the file
    cannot be read or holds something else.
    """
    with documents.expected(
        f"expected arrival times in {file}:", _HINT, also=(pa.ArrowException,)
    ):
        times = _READERS.get(file.suffix.lower(), _read_text)(file)
        return Recorded(times_s=times, loops=loops, speed=speed)


def _read_text(file: Path) -> Float64[np.ndarray, " n"]:
    times: list[float] = []
    lines = documents.read_text(file, max_bytes=documents.MAX_TEXT_BYTES).splitlines()
    for number, line in enumerate(lines, start=1):
        word = line.strip()
        if not word or word.startswith("#"):
            continue
        try:
            times.append(float(word))
        except ValueError as error:
            message = f"line {number} is no number: {word[:40]!r}"
            raise ValueError(message) from error
    return np.array(times, np.float64)


def _read_csv(file: Path) -> Float64[np.ndarray, " n"]:
    return _column(pa_csv.read_csv(file))


def _read_parquet(file: Path) -> Float64[np.ndarray, " n"]:
    return _column(documents.read_parquet(file))


def _column(table: pa.Table) -> Float64[np.ndarray, " n"]:
    names = table.column_names
    name = names[0] if len(names) == 1 else "time_s"
    if name not in names:
        message = f"no column time_s among {', '.join(names)}"
        raise ValueError(message)
    values = pc.cast(table.column(name), pa.float64())
    return np.asarray(values.to_numpy(zero_copy_only=False), np.float64)


_READERS = {".csv": _read_csv, ".parquet": _read_parquet}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Recorded(Shown):
    """The sends of a recording, in its own rhythm.

    Attributes:
        times_s: ``(n,)`` seconds, not falling; only differences to the first count,
            so time stamps since any epoch will do.
        loops: start again at the end, one mean gap after the last send; otherwise the
            load ends with the recording.
        speed: how many times as fast as recorded.

    Raises:
        ValueError: there are fewer than two times, they fall, they span no time, one is
            not finite, or the speed is not positive.
    """

    times_s: Float64[np.ndarray, " n"]
    loops: bool = False
    speed: float = 1.0

    def __post_init__(self) -> None:
        """Check that the times can be played."""
        message = _fault(self.times_s, self.speed)
        if message:
            raise ValueError(message)

    @property
    def rate_hz(self) -> float:
        """Gaps over the time they span."""
        span = float(self.times_s[-1] - self.times_s[0])
        return (len(self.times_s) - 1) / span * self.speed

    def times(self, rng: np.random.Generator) -> Iterator[float]:
        """The recorded times; nothing is drawn from ``rng``."""
        del rng
        once = (self.times_s - self.times_s[0]) / self.speed
        period = float(once[-1]) + 1 / self.rate_hz
        turn = 0
        while turn == 0 or self.loops:
            yield from (once + turn * period).tolist()
            turn += 1


def _fault(times_s: np.ndarray, speed: float) -> str:
    """What is wrong with a recording; empty when nothing is."""
    if times_s.ndim != 1 or len(times_s) < 2:  # noqa: PLR2004
        return f"a recording needs at least two times, found shape {times_s.shape}"
    if not np.isfinite(times_s).all():
        where = int(np.flatnonzero(~np.isfinite(times_s))[0])
        return f"times must be finite, found {times_s[where]} at place {where}"
    gaps = np.diff(times_s)
    if (gaps < 0).any():
        where = int(np.flatnonzero(gaps < 0)[0]) + 1
        return (
            f"times must not fall, found {times_s[where]} after {times_s[where - 1]} "
            f"at place {where}"
        )
    if times_s[-1] == times_s[0]:
        return f"times must span some time, found {len(times_s)} times {times_s[0]}"
    if not (speed > 0 and np.isfinite(speed)):
        return f"speed must be a positive number, found {speed}"
    return ""


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
