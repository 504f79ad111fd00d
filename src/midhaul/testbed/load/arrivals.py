"""Arrivals: Poisson, gamma and constant gaps, and recorded ones from a file.

*Renewal processes* have independent gaps of one distribution. The first request comes
one gap after the begin, so that the mean count over ``t`` seconds is ``rate * t`` for
Poisson arrivals, exactly.

*Recordings* are text, CSV or Parquet, and are played again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from midhaul import documents
from midhaul.errors import DataError
from midhaul.model.display import Shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from jaxtyping import Float64


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
    try:
        times = _READERS.get(file.suffix.lower(), _read_text)(file)
        return Recorded(times_s=times, loops=loops, speed=speed)
    except (OSError, ValueError, pa.ArrowException) as error:
        message = f"expected arrival times in {file}: {error}"
        raise DataError(message, _HINT) from error


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
