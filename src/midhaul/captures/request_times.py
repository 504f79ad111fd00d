"""Request times: how long each request travelled and how long the server worked on it.

Requests and their connections are values here: their times, and how they went.

The estimator behind transmission times asks: when had the server the whole request?

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

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Int64

    from midhaul.captures.connection import TcpConnection
    from midhaul.captures.http import Message
    from midhaul.captures.sealed_http import Turn
    from midhaul.captures.streams import Times

Status = Literal["ok", "small", "failed", "aborted", "cut", "early", "ambiguous"]
"""How a request went.

``small`` uploads less than what counts as a request, ``failed`` was answered with an
error, ``aborted`` was not answered, ``cut`` is not captured as a whole, ``early`` was
answered before it was sent as a whole, ``ambiguous`` may be several at once.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitLimits:
    """Which requests count."""

    min_upload_bytes: int = 512
    min_answer_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request with its answer. Times in ns; None where they cannot be known.

    Attributes:
        number: within its connection, from 0.
        stream: of HTTP/2, where it is known; 0 else.
        started_ns: when its first byte was sent, since 1970.
        status: how it went.
        reason: why not otherwise; empty when ok.
        code: HTTP status where it is in the clear; 0 else.
        upload_bytes: bytes sent, with their heads.
        answer_bytes: bytes of the answer, with their heads.
        upload_ns: from its first to its last byte sent.
        rtt_ns: round trip of its last byte, by the estimator.
        inference_ns: from its arrival to the first byte of the answer.
        download_ns: from the first to the last byte of the answer.
        n_repeated: segments of it that were sent again.
        asked_ns: when its last byte was sent, where nothing answers it and it counts.
        given_up_ns: when its connection ended; 0 where it was waited for until the end
            of the capture.
    """

    number: int
    stream: int
    started_ns: int
    status: Status
    reason: str
    code: int
    upload_bytes: int
    answer_bytes: int
    upload_ns: int | None = None
    rtt_ns: int | None = None
    inference_ns: int | None = None
    inference_low_ns: int | None = None
    inference_high_ns: int | None = None
    download_ns: int | None = None
    n_repeated: int = 0
    asked_ns: int | None = None
    given_up_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A connection in words, with its requests.

    Attributes:
        file: number of the capture that it begins in.
        first_ns: when it was first seen, since 1970.
        server_name: as the client asked for it (SNI); empty when not known.
        reason: why; empty when ok.
        protocol: ``tls``, ``http/1.1``, ``http/2`` or empty.
        tls: version of TLS; empty when not known.
        is_resumed: whether a TLS session was.
        is_opened: whether a key log opened its records.
        n_early_bytes: application data in 0-RTT.
        connect_ns: SYN to SYN-ACK, repeated SYNs included; None when not seen.
        tls_ns: from its hello to where the client could send; None when not seen.
        rtt_ns: the least round trip; 0 when not known.
        n_repeated: segments with data that were there already.
        n_missing_bytes: bytes that were acknowledged and not captured.
    """

    file: int
    first_ns: int
    client: str
    server: str
    server_address: bytes
    server_name: str
    status: Literal["ok", "cut", "unsupported"]
    reason: str
    protocol: str
    tls: str
    http: str
    is_resumed: bool
    is_opened: bool
    n_early_bytes: int
    connect_ns: int | None
    tls_ns: int | None
    rtt_ns: int
    n_packets: int
    n_repeated: int
    n_missing_bytes: int
    exchanges: tuple[Exchange, ...]


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
        at_ns: the estimate.
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

    Only what was sent within a minute of it counts, as routes change.
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

    ``span`` has the offsets of its first byte and behind its last; ``window_ns`` is
    when its first byte was sent and when the first of the answer came.
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


_BAD_CODE = 400
_OPEN: tuple[Status, str] = ("cut", "the capture ends before the answer")


def account(connection: TcpConnection, limits: SplitLimits) -> Account:
    """All that a finished connection says; this finishes it."""
    connection.finish()
    times = connection.client.times()
    trips = round_trips(times)
    handshake_ns = connection.handshake_ns
    rtt_ns = least_round_trip_ns(trips, connection.first_ns, handshake_ns)
    course = connection.course
    turns = connection.turns(rtt_ns)
    exchanges: list[Exchange] = []
    for number, turn in enumerate(turns):
        judged = _status(connection, turns, number, limits)
        at = _arrival(turn, times, trips, handshake_ns)
        if turn.answer is None and _is_waited_for(connection, turn, judged, limits):
            exchanges.append(_waiting(connection, number, turn, judged, rtt_ns))
        else:
            exchanges.append(_exchange(number, turn, judged, at))
    state, why = _state(connection)
    return Account(
        file=connection.file,
        first_ns=connection.first_ns,
        client=_address(connection.client_address),
        server=_address(connection.server_address),
        server_address=connection.server_address[0],
        server_name=course.client_hello.server_name if course.client_hello else "",
        status=state,
        reason=why,
        protocol=connection.protocol,
        tls=_version(connection),
        http=connection.http(rtt_ns),
        is_resumed=course.is_resumed,
        is_opened=connection.is_opened,
        n_early_bytes=course.n_early_bytes,
        connect_ns=_between(connection.syn_ns, connection.syn_ack_ns),
        tls_ns=_between(course.begun_ns, course.finished_ns),
        rtt_ns=rtt_ns,
        n_packets=connection.n_packets,
        n_repeated=connection.client.n_repeated + connection.server.n_repeated,
        n_missing_bytes=connection.client.n_missing_bytes
        + connection.server.n_missing_bytes,
        exchanges=tuple(exchanges),
    )


def _arrival(
    turn: Turn, times: Times, trips: RoundTrips, handshake_ns: int
) -> Arrival | None:
    """When a request was whole at the server; None where it was not answered."""
    request, answer = turn.request, turn.answer
    if answer is None:
        return None
    near_ns = least_round_trip_ns(trips, request.first_ns, handshake_ns)
    window_ns = (request.first_ns, answer.first_ns)
    return arrival(times, trips, (request.begin, request.end), window_ns, near_ns)


def _exchange(
    number: int, turn: Turn, judged: tuple[Status, str], at: Arrival | None
) -> Exchange:
    """A request with its times, as far as they are known."""
    request, answer = turn.request, turn.answer
    status, reason = judged
    common = {
        "number": number,
        "stream": request.stream,
        "started_ns": request.first_ns,
        "upload_bytes": request.n_bytes,
    }
    if answer is None or at is None:
        return Exchange(**common, status=status, reason=reason, code=0, answer_bytes=0)
    if status in {"ok", "failed"} and at.last_sent_ns >= answer.first_ns:
        status, reason = "early", "answered before the request was sent"
    return Exchange(
        **common,
        status=status,
        reason=reason,
        code=answer.code,
        answer_bytes=answer.n_bytes,
        upload_ns=max(at.last_sent_ns - request.first_ns, 0),
        rtt_ns=at.at_ns - at.last_sent_ns,
        inference_ns=answer.first_ns - at.at_ns,
        inference_low_ns=answer.first_ns - at.latest_ns,
        inference_high_ns=answer.first_ns - at.earliest_ns,
        download_ns=max(answer.last_ns - answer.first_ns, 0),
        n_repeated=at.n_repeated,
    )


def _is_waited_for(
    connection: TcpConnection,
    turn: Turn,
    judged: tuple[Status, str],
    limits: SplitLimits,
) -> bool:
    """Whether a request without an answer took at least the time until its end."""
    is_early = connection.course.n_early_bytes > 0
    return (
        (judged[0] == "aborted" or judged == _OPEN)
        and turn.request.n_bytes >= limits.min_upload_bytes
        and turn.request.is_whole
        and not turn.doubt
        and not is_early
    )


def _waiting(
    connection: TcpConnection,
    number: int,
    turn: Turn,
    judged: tuple[Status, str],
    rtt_ns: int,
) -> Exchange:
    """A request that nothing answers, with the time that it was waited for."""
    request = turn.request
    ends = (connection.reset_ns, connection.client.ended_ns, connection.server.ended_ns)
    later = [end_ns for end_ns in ends if end_ns >= request.last_ns]
    return Exchange(
        number=number,
        stream=request.stream,
        started_ns=request.first_ns,
        status=judged[0],
        reason=judged[1],
        code=0,
        upload_bytes=request.n_bytes,
        answer_bytes=0,
        upload_ns=max(request.last_ns - request.first_ns, 0),
        rtt_ns=rtt_ns,
        asked_ns=request.last_ns,
        given_up_ns=min(later, default=0),
    )


def _status(
    connection: TcpConnection, turns: list[Turn], number: int, limits: SplitLimits
) -> tuple[Status, str]:
    turn = turns[number]
    is_middle = not connection.client.is_whole and not connection.course.begun_ns
    if number == 0 and is_middle:
        return "cut", "the capture begins in the middle of the connection"
    if turn.answer is None:
        return _unanswered(connection)
    is_early = number == 0 and connection.course.n_early_bytes > 0
    doubt = "sent in 0-RTT, before the handshake ended" if is_early else turn.doubt
    if doubt:
        return "ambiguous", doubt
    is_whole = turn.request.is_whole and turn.answer.is_whole
    ends_ns = connection.reset_ns if number == len(turns) - 1 else 0
    if ends_ns and (not is_whole or ends_ns <= turn.answer.last_ns):
        return "aborted", _reset(connection)
    if not is_whole:
        return "cut", "its end was not captured"
    return _judged(turn.request, turn.answer, limits)


def _judged(
    request: Message, answer: Message, limits: SplitLimits
) -> tuple[Status, str]:
    """Whether a request that was answered counts."""
    if request.n_bytes < limits.min_upload_bytes:
        return "small", f"sends less than {limits.min_upload_bytes} bytes"
    if answer.code >= _BAD_CODE:
        return "failed", f"HTTP {answer.code}"
    if answer.n_bytes < limits.min_answer_bytes:
        return "failed", f"the answer has less than {limits.min_answer_bytes} bytes"
    return "ok", ""


def _unanswered(connection: TcpConnection) -> tuple[Status, str]:
    if connection.reset_ns:
        return "aborted", _reset(connection)
    if connection.server.ended_ns:
        return "aborted", "closed by the server without an answer"
    if connection.client.ended_ns:
        return "aborted", "closed by the client without an answer"
    return _OPEN


def _reset(connection: TcpConnection) -> str:
    who = "client" if connection.is_reset_by_client else "server"
    return f"reset by the {who}"


def _state(
    connection: TcpConnection,
) -> tuple[Literal["ok", "cut", "unsupported"], str]:
    if not connection.protocol:
        if not connection.client.n_bytes and not connection.server.n_bytes:
            if connection.reset_ns:
                return "unsupported", f"no data, {_reset(connection)}"
            return "unsupported", "no data"
        return "unsupported", "neither TLS nor HTTP"
    if not connection.client.is_whole:
        return "cut", "the capture begins in the middle of it"
    if connection.protocol == "tls" and not connection.course.finished_ns:
        return "cut", "its handshake did not end"
    return "ok", ""


def _version(connection: TcpConnection) -> str:
    course = connection.course
    if connection.protocol != "tls":
        return ""
    if course.server_hello is not None:
        return course.server_hello.version_name
    return "1.3" if course.is_tls13 else ""


def _between(begin_ns: int, end_ns: int) -> int | None:
    return end_ns - begin_ns if begin_ns and end_ns >= begin_ns else None


def _address(end: tuple[bytes, int]) -> str:
    address = ipaddress.ip_address(end[0])
    host = f"[{address}]" if address.version == 6 else str(address)  # noqa: PLR2004 - IPv6
    return f"{host}:{end[1]}"
