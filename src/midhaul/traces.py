"""Traces of real links: what rate one had in each second.

A Mahimahi trace has one whole number per line, a time in milliseconds at which the link
could carry one packet of 1,504 bytes. The last one is also the length of the trace,
which then starts again.

R. Netravali et al., "Mahimahi: Accurate Record-and-Replay for HTTP", USENIX ATC 2015.

Differences from the paper:

1. Packets are counted per interval of a second, and the interval has the mean rate of
   its packets: within a second the link is smooth.
2. A packet that could not be used is not lost for good: a rate is what a link offers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul import documents
from midhaul.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Float64

PACKET_BYTES = 1504
"""What each line of a trace stands for."""

_MAX_DIGITS = 15
_HINT = "a trace has one whole number per line, milliseconds, not falling"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trace:
    """The rate of a link over time; it starts again when it has ended.

    Attributes:
        name: what tables and charts call it.
        times_s: ``(n,)`` begin of each interval, from 0.
        rates_bps: ``(n,)`` its mean rate, bit/s.
        length_s: when it starts again.
    """

    name: str
    times_s: Float64[np.ndarray, " n"]
    rates_bps: Float64[np.ndarray, " n"]
    length_s: float

    @property
    def mean_bps(self) -> float:
        """Mean rate over its whole length."""
        widths_s = np.diff(np.append(self.times_s, self.length_s))
        return float((self.rates_bps * widths_s).sum() / self.length_s)

    def rate_at(self, t_s: float) -> float:
        """The rate in bit/s at a time of at least 0, from the trace's begin."""
        if not (math.isfinite(t_s) and t_s >= 0):
            message = f"trace {self.name}: expected a time of at least 0 s, found {t_s}"
            raise DataError(message)
        within = math.fmod(t_s, self.length_s)
        index = int(np.searchsorted(self.times_s, within, side="right")) - 1
        return float(self.rates_bps[index])


def read_mahimahi(file: Path, *, interval_s: float = 1.0) -> Trace:
    """Read a Mahimahi trace (``*.up``, ``*.down``): one rising time in ms per line.

    A DataError says that the file cannot be read, is empty, has a line that is no whole
    number of at least 0, a time below the one before, or ends at 0.
    """
    with documents.expected(f"trace {file} cannot be read:"):
        text = documents.read_text(file, max_bytes=documents.MAX_TEXT_BYTES)
        lines = text.split("\n")
    stamps = np.asarray(_stamps(lines, file), np.float64) / 1000
    length_s = float(stamps[-1])
    n = max(1, math.ceil(length_s / interval_s - 1e-9))
    # A packet at the end of an interval belongs to that interval, not to the next.
    owners = np.ceil(stamps / interval_s - 1e-9).astype(np.int64) - 1
    packets = np.bincount(np.clip(owners, 0, n - 1), minlength=n)
    times_s = np.arange(n) * interval_s
    widths_s = np.diff(np.append(times_s, length_s))
    return Trace(
        name=file.stem,
        times_s=times_s,
        rates_bps=packets * (8.0 * PACKET_BYTES) / widths_s,
        length_s=length_s,
    )


def _stamps(lines: list[str], file: Path) -> list[int]:
    stamps: list[int] = []
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text:
            continue
        if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
            message = f"{file}:{number}: expected milliseconds, found {text[:40]!r}"
            raise DataError(message, _HINT)
        stamp = int(text)
        if stamps and stamp < stamps[-1]:
            message = f"{file}:{number}: expected at least {stamps[-1]}, found {stamp}"
            raise DataError(message, _HINT)
        stamps.append(stamp)
    if not stamps or stamps[-1] == 0:
        found = "none" if not stamps else "0 only"
        message = f"{file}: expected at least one time above 0, found {found}"
        raise DataError(message, _HINT)
    return stamps
