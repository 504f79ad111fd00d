"""What a connection says about each of its requests: times, and how it went."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Literal

from midhaul.federation.latency.arrival import (
    arrival,
    least_round_trip_ns,
    round_trips,
)
from midhaul.federation.latency.exchanges import Account, Exchange

if TYPE_CHECKING:
    from midhaul.federation.latency.arrival import Arrival, RoundTrips
    from midhaul.federation.latency.connection import Connection
    from midhaul.federation.latency.exchanges import Limits, Status
    from midhaul.federation.latency.messages import Message
    from midhaul.federation.latency.streams import Times
    from midhaul.federation.latency.turns import Turn

_BAD_CODE = 400
_OPEN: tuple[Status, str] = ("cut", "the capture ends before the answer")


def account(connection: Connection, limits: Limits) -> Account:
    """All that a finished connection says.

    Args:
        connection: after its last packet; this finishes it.
        limits: which requests count.
    """
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
    connection: Connection, turn: Turn, judged: tuple[Status, str], limits: Limits
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
    connection: Connection,
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
    connection: Connection, turns: list[Turn], number: int, limits: Limits
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


def _judged(request: Message, answer: Message, limits: Limits) -> tuple[Status, str]:
    """Whether a request that was answered counts."""
    if request.n_bytes < limits.min_upload_bytes:
        return "small", f"sends less than {limits.min_upload_bytes} bytes"
    if answer.code >= _BAD_CODE:
        return "failed", f"HTTP {answer.code}"
    if answer.n_bytes < limits.min_answer_bytes:
        return "failed", f"the answer has less than {limits.min_answer_bytes} bytes"
    return "ok", ""


def _unanswered(connection: Connection) -> tuple[Status, str]:
    if connection.reset_ns:
        return "aborted", _reset(connection)
    if connection.server.ended_ns:
        return "aborted", "closed by the server without an answer"
    if connection.client.ended_ns:
        return "aborted", "closed by the client without an answer"
    return _OPEN


def _reset(connection: Connection) -> str:
    who = "client" if connection.is_reset_by_client else "server"
    return f"reset by the {who}"


def _state(connection: Connection) -> tuple[Literal["ok", "cut", "unsupported"], str]:
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


def _version(connection: Connection) -> str:
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
