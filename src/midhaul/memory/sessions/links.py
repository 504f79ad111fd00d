"""Recorded links: how long a chunk takes over one whose rate changes.

A trace begins anew when it has ended. A rate of 0 is waited out; a trace that is 0
throughout would be waited for without end, and is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numba import njit  # pyright: ignore[reportUnknownVariableType]

from midhaul.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float64, Int64

    from midhaul.traces import Trace


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RecordedLinks:
    """Traces of ``l`` links, one behind the other.

    Attributes:
        names: of the traces.
        offsets: ``(l + 1,)`` where the intervals of each begin, and the end.
        times_s: ``(m,)`` begin of each interval since its trace began.
        rates: ``(m,)`` its rate, bytes per second.
        sent_bytes: ``(m,)`` what was sent before it since its trace began.
        length_s: ``(l,)`` when each begins anew.
        total_bytes: ``(l,)`` what each sends until then.
    """

    names: tuple[str, ...]
    offsets: Int64[np.ndarray, " l1"]
    times_s: Float64[np.ndarray, " m"]
    rates: Float64[np.ndarray, " m"]
    sent_bytes: Float64[np.ndarray, " m"]
    length_s: Float64[np.ndarray, " l"]
    total_bytes: Float64[np.ndarray, " l"]

    @classmethod
    def of(cls, traces: Sequence[Trace]) -> RecordedLinks:
        """The links of traces.

        Raises:
            DataError: there is none, or one has no interval, a length of 0, a rate that
                is no number or below 0, or nothing but rates of 0.
        """
        if not traces:
            message = "expected a trace of a link, found none"
            raise DataError(message, "give one trace or more")
        sent: list[np.ndarray] = []
        totals: list[float] = []
        for trace in traces:
            widths_s = np.diff(np.append(trace.times_s, trace.length_s))
            is_whole = len(widths_s) > 0 and trace.times_s[0] == 0
            is_whole = is_whole and bool((widths_s > 0).all())
            is_rate = np.isfinite(trace.rates_bps) & (trace.rates_bps >= 0)
            moved = np.cumsum(trace.rates_bps / 8 * widths_s)
            if not (is_whole and is_rate.all() and moved[-1] > 0):
                message = (
                    f"trace {trace.name}: expected intervals from 0 on with rates of "
                    "at least 0, one of them above it"
                )
                raise DataError(message, "a link that never sends ends no session")
            sent.append(np.append(0.0, moved[:-1]))
            totals.append(float(moved[-1]))
        n = [len(trace.times_s) for trace in traces]
        return cls(
            names=tuple(trace.name for trace in traces),
            offsets=np.cumsum([0, *n]).astype(np.int64),
            times_s=np.concatenate([t.times_s for t in traces]).astype(np.float64),
            rates=np.concatenate([t.rates_bps for t in traces]) / 8,
            sent_bytes=np.concatenate(sent),
            length_s=np.array([trace.length_s for trace in traces], np.float64),
            total_bytes=np.array(totals),
        )

    @property
    def n(self) -> int:
        """How many links there are."""
        return len(self.names)

    def took_s(
        self,
        link: Int64[np.ndarray, " n"],
        begin_s: Float64[np.ndarray, " n"],
        size_bytes: Float64[np.ndarray, " n"],
    ) -> Float64[np.ndarray, " n"]:
        """How long some bytes take from a time on, each over a link."""
        return _took(
            self.offsets,
            self.times_s,
            self.rates,
            self.sent_bytes,
            self.length_s,
            self.total_bytes,
            link,
            begin_s,
            size_bytes,
        )


@njit(cache=True)  # pyright: ignore[reportUntypedFunctionDecorator]
def _took(  # noqa: PLR0913, PLR0917  a kernel has arrays
    offsets: np.ndarray,
    times_s: np.ndarray,
    rates: np.ndarray,
    sent_bytes: np.ndarray,
    length_s: np.ndarray,
    total_bytes: np.ndarray,
    link: np.ndarray,
    begin_s: np.ndarray,
    size_bytes: np.ndarray,
) -> np.ndarray:
    found = np.empty(len(link))
    for i in range(len(link)):
        a, b = offsets[link[i]], offsets[link[i] + 1]
        cycle_s, cycle = length_s[link[i]], total_bytes[link[i]]
        within_s = begin_s[i] % cycle_s
        at = a + np.searchsorted(times_s[a:b], within_s, side="right") - 1
        sent = sent_bytes[at] + rates[at] * (within_s - times_s[at])
        target = sent + size_bytes[i]
        n_cycles = max(np.ceil(target / cycle) - 1, 0)
        left = min(target - n_cycles * cycle, cycle)
        # The interval in which the last of it goes: it has a rate, as it sends some.
        at = a + np.searchsorted(sent_bytes[a:b], left, side="left") - 1
        end_s = times_s[at] + (left - sent_bytes[at]) / rates[at]
        found[i] = n_cycles * cycle_s + end_s - within_s
    return found


def took_plainly_s(trace: Trace, begin_s: float, size_bytes: float) -> float:
    """The same, interval by interval: what the kernel is held against."""
    at = int(np.searchsorted(trace.times_s, begin_s % trace.length_s, "right")) - 1
    ends_s = np.append(trace.times_s[1:], trace.length_s)
    now_s, left, took_s = begin_s % trace.length_s, size_bytes, 0.0
    while True:
        rate = trace.rates_bps[at] / 8
        room = rate * (ends_s[at] - now_s)
        if left <= room and rate > 0:
            return took_s + left / rate
        left -= room
        took_s += float(ends_s[at] - now_s)
        at = (at + 1) % len(ends_s)
        now_s = trace.times_s[at]
