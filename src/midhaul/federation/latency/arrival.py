"""When had the server the whole request? The estimator behind transmission times.

Everything is on the clock of the capture, taken near the client. The request is whole
at the server when its last byte has arrived there; what the server does about it is
seen one way home later. So with

- ``s``: when the last byte of the request was sent, for the last time if repeated,
- ``k``: when the acknowledgement of that byte came,
- ``r``: the least round trip of the connection, from the SYN and acknowledgements,

the moment ``a`` at which an immediate answer would have come lies in ``[s + r, k]``:
it cannot be before, and nothing is acknowledged before it is there. Then

    round trip = a - s      inference = first byte of the answer - a

and the way home cancels out. Where in ``[s + r, k]``? Acknowledgements come late when
the receiver delays them (RFC 1122 4.2.3.2: up to 500 ms, 40 ms on Linux), so ``k``
alone takes up to that from the inference; ``s + r`` alone counts the queue before a
bottleneck as inference. Two things in between tell:

1. Behind ``s`` nothing more is sent, so acknowledgements of earlier bytes come at the
   pace of the bottleneck. With two or more of them, the arrival of the rest is
   extrapolated at their rate.
2. With fewer, the round trip of the bytes just before is taken, the least of the last
   four acknowledgements, as a queue does not change much within four.

The result is kept within the bounds, and both bounds are reported. What remains: time
in the server's kernel, its TLS and its queue of requests counts as inference; a proxy
that ends TCP makes the way behind it inference; a queue on the way home of the answer
counts as inference as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Int64

    from midhaul.federation.latency.streams import Times

_WINDOW_NS = 60_000_000_000
_N_RECENT = 4


class RoundTrips(NamedTuple):
    """Round trips of a connection, as data and their acknowledgements show them.

    Attributes:
        sent_ns: ``(n,)`` when data were sent for the first time.
        ends: ``(n,)`` offset behind them.
        rtt_ns: ``(n,)`` how long their acknowledgement took.
    """

    sent_ns: Int64[np.ndarray, " n"]
    ends: Int64[np.ndarray, " n"]
    rtt_ns: Int64[np.ndarray, " n"]


class Arrival(NamedTuple):
    """When a request was whole at the server, plus one way home.

    Attributes:
        last_sent_ns: when its last byte was sent.
        at_ns: the estimate.
        earliest_ns: not before.
        latest_ns: not after.
        n_repeated: segments of the request that were sent again.
    """

    last_sent_ns: int
    at_ns: int
    earliest_ns: int
    latest_ns: int
    n_repeated: int


def round_trips(times: Times) -> RoundTrips:
    """All round trips of data that were sent once (Karn's rule).

    Those whose acknowledgement had to wait for earlier data that were sent again do not
    count either.
    """
    if not len(times.sent_ns) or not len(times.acked):
        nothing = np.zeros(0, np.int64)
        return RoundTrips(nothing, nothing, nothing)
    furthest = np.maximum.accumulate(times.ends)
    is_new = np.ones(len(furthest), bool)
    is_new[1:] = times.ends[1:] > furthest[:-1]
    ends, sent_ns = times.ends[is_new], times.sent_ns[is_new]
    place = np.searchsorted(times.acked, ends)
    known = place < len(times.acked)
    ends, sent_ns, place = ends[known], sent_ns[known], place[known]
    acked_ns = times.acked_ns[place]
    is_true = acked_ns > sent_ns
    again_ns = times.sent_ns[~is_new]
    first = np.searchsorted(acked_ns, again_ns, side="right")
    behind = np.searchsorted(sent_ns, again_ns)
    for low, high in zip(first, behind, strict=True):
        is_true[low:high] = False
    rtt_ns = (acked_ns - sent_ns)[is_true]
    return RoundTrips(sent_ns[is_true], ends[is_true], rtt_ns)


def least_round_trip_ns(trips: RoundTrips, at_ns: int, handshake_ns: int) -> int:
    """The least round trip around a time.

    Args:
        trips: of the connection.
        at_ns: when; only what was sent within a minute of it counts, as routes change.
        handshake_ns: that of the SYN; 0 where not seen.
    """
    low, high = np.searchsorted(trips.sent_ns, (at_ns - _WINDOW_NS, at_ns + _WINDOW_NS))
    near = trips.rtt_ns[low:high]
    found = near if len(near) else trips.rtt_ns
    least = int(found.min()) if len(found) else 0
    return min(least or handshake_ns, handshake_ns or least)


def arrival(
    times: Times,
    trips: RoundTrips,
    span: tuple[int, int],
    window_ns: tuple[int, int],
    rtt_ns: int,
) -> Arrival:
    """When a request was whole at the server.

    Args:
        times: of the client's stream.
        trips: of the same.
        span: offsets of the request's first byte and behind its last.
        window_ns: when its first byte was sent, when the first of the answer came.
        rtt_ns: the least round trip.
    """
    begin, end = span
    first_ns, answer_ns = window_ns
    low, high = np.searchsorted(times.acked_ns, (first_ns, answer_ns))
    acked_ns, acked = times.acked_ns[low:high], times.acked[low:high]
    place = int(np.searchsorted(acked, end))
    has_ack = place < len(acked)
    latest_ns = int(acked_ns[place]) if has_ack else answer_ns
    low, high = np.searchsorted(times.sent_ns, (first_ns, latest_ns + 1))
    is_mine = (times.begins[low:high] < end) & (times.ends[low:high] > begin)
    sent = times.sent_ns[low:high][is_mine]
    if not len(sent):
        return Arrival(
            first_ns, min(first_ns + rtt_ns, latest_ns), first_ns, latest_ns, 0
        )
    ends = times.ends[low:high][is_mine]
    n_repeated = int(np.sum(ends[1:] <= np.maximum.accumulate(ends)[:-1]))
    last_ns = int(sent.max())
    earliest_ns = min(last_ns + rtt_ns, latest_ns)
    guess_ns = _by_pace(acked_ns[:place], acked[:place], last_ns, end)
    if guess_ns is None:
        guess_ns = last_ns + _recent_ns(
            trips, span, int(acked[place - 1]) if place else 0
        )
    at_ns = max(earliest_ns, min(guess_ns, latest_ns))
    return Arrival(last_ns, at_ns, earliest_ns, latest_ns, n_repeated)


def _by_pace(
    acked_ns: Int64[np.ndarray, " a"],
    acked: Int64[np.ndarray, " a"],
    last_ns: int,
    end: int,
) -> int | None:
    """When the rest arrives at the pace of the last acknowledgements; None: too few."""
    first = int(np.searchsorted(acked_ns, last_ns, side="right"))
    n = len(acked_ns)
    if n - first < 2 or acked_ns[n - 1] <= acked_ns[first]:  # noqa: PLR2004 - a pace
        return None
    taken_ns = float(acked_ns[n - 1] - acked_ns[first])
    pace = taken_ns / float(acked[n - 1] - acked[first])
    return int(acked_ns[n - 1]) + int(pace * (end - int(acked[n - 1])))


def _recent_ns(trips: RoundTrips, span: tuple[int, int], acked: int) -> int:
    """The round trip of what was acknowledged just before the end; 0: nothing was."""
    begin, end = span
    low, high = np.searchsorted(trips.ends, (begin + 1, min(acked + 1, end)))
    recent = trips.rtt_ns[max(low, high - _N_RECENT) : high]
    return int(recent.min()) if len(recent) else 0
