"""Requests and answers in sealed records: what times and lengths alone tell.

Client and server of HTTP/1.1 take turns, so a request is what the client sends until
the server speaks. In TLS 1.3 and HTTP/2 both say other things as well, which are known
by their lengths and places. The assumptions:

1. TLS 1.3: the server's records before the client's Finished belong to the handshake.
   Session tickets are the first records after it, of at most 1,500 bytes each; a record
   is taken for one when it comes before an answer to the whole request could have come
   (a round trip after its last byte), when it comes within two round trips of the
   Finished and the server says more before the client asks again, or when it has 120 to
   600 bytes and a pause follows. The same holds for the server's SETTINGS in HTTP/2.
   An upload that pauses lets a ticket through as if it were an answer. So where the
   first answers have the lengths of tickets (of those that were known for some, if
   there were), come within a quarter of a second and two round trips of the Finished,
   and the client goes on behind them, they and the next are ambiguous.
2. HTTP/1.1: a record of exactly 25 bytes is "100 Continue".
3. HTTP/2 is spoken where the client offers it and the first records of both have the
   lengths of the preface with SETTINGS, and of SETTINGS. Records with the lengths of
   SETTINGS, acknowledgements, PING and WINDOW_UPDATE are none of a request or answer.
4. Concurrent streams of HTTP/2 cannot be told apart without keys. Where it shows that
   there may be some (a pause within a request or an answer, a small record in front of
   a large one within a request), the request is ambiguous.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from midhaul.captures.http import Message

if TYPE_CHECKING:
    from collections.abc import Sequence

HttpVersion = Literal["", "1.1", "2"]

_CONTINUE_BYTES = 25
_ALERT_BYTES = 2
_MOST_TICKET_BYTES = 1500
_LEAST_TICKET_BYTES, _USUAL_TICKET_BYTES = 120, 600
_TICKET_SLACK_NS = 2_000_000
_WINDOW, _ACK, _PING, _PREFACE, _SETTING = 13, 9, 17, 24, 6
_MOST_SETTINGS = 10
_PAUSE_NS = 5_000_000
_MOST_TICKETS = 4
_TICKET_SPREAD_BYTES = 16
_LATE_TICKET_NS = 250_000_000  # one that was lost and sent again
_MOST_PIECES = 2
_MOST_OPENINGS = 3
_MOST_HEAD_BYTES = 400
_SETTINGS = frozenset(_ACK + _SETTING * k for k in range(_MOST_SETTINGS + 1))
_OPENING = frozenset(
    s + _WINDOW * w + _ACK * a for s in _SETTINGS for w in range(3) for a in range(2)
)
"""Lengths of what an end of HTTP/2 says first: SETTINGS and what goes along."""
_CONTROL = frozenset(
    (_ACK, _WINDOW, _PING, 2 * _WINDOW, _ACK + _WINDOW, _PING + _WINDOW, 3 * _WINDOW)
)


class Talk(NamedTuple):
    """A record of application data, or bytes that could not be framed.

    Attributes:
        begin: offset of its first byte in its TCP stream.
        n_bytes: what is sealed in it; -1 where not known.
    """

    first_ns: int
    last_ns: int
    begin: int
    end: int
    n_bytes: int
    is_client: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A request and its answer.

    Attributes:
        doubt: why they may not belong together; empty without doubt.
    """

    request: Message
    answer: Message | None
    doubt: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedConnection:
    """What is known of a connection whose records are sealed.

    Attributes:
        is_tls13: whether tickets may look like answers.
        finished_ns: when the client's Finished was seen; 0 when not.
        rtt_ns: round trip of the connection; 0 where not known.
        offers_http2: whether the client offered HTTP/2.
        chosen: protocol that the server chose in the clear (TLS 1.2); empty else.
        is_ended: whether an end was seen, so that nothing more was said.
    """

    is_tls13: bool = False
    finished_ns: int = 0
    rtt_ns: int = 0
    offers_http2: bool = False
    chosen: str = ""
    is_ended: bool = True


def http_version(talks: Sequence[Talk], setting: SealedConnection) -> HttpVersion:
    """Which HTTP is spoken in sealed records, by assumption 3."""
    if setting.chosen:
        return "2" if setting.chosen == "h2" else "1.1"
    if not setting.offers_http2:
        return "1.1"
    client = next((t.n_bytes for t in talks if t.is_client), -1)
    if client - _PREFACE in _OPENING or client == _PREFACE:
        return "2"
    spoken = [t.n_bytes for t in talks if not t.is_client][:4]
    return "2" if any(n in _OPENING for n in spoken) else "1.1"


def take_turns(talks: Sequence[Talk], setting: SealedConnection) -> list[Turn]:
    """Part application data behind the handshake into requests and answers."""
    is_http2 = http_version(talks, setting) == "2"
    kept = [talk for talk in talks if talk.n_bytes != _ALERT_BYTES]
    if is_http2:
        kept = _without_control(kept)
    else:
        kept = [t for t in kept if t.is_client or t.n_bytes != _CONTINUE_BYTES]
    has_tickets = setting.is_tls13 and setting.finished_ns > 0
    spoken_before = kept
    if is_http2 or has_tickets:
        kept = _without_preludes(kept, setting)
    turns = _alternate(kept)
    n_doubtful = 0
    if has_tickets:
        left = set(spoken_before) - set(kept)
        n_doubtful = _n_after_tickets(turns, {talk.n_bytes for talk in left}, setting)
    found: list[Turn] = []
    for number, (asked, spoken) in enumerate(turns):
        doubt = _doubt(asked, spoken, setting.rtt_ns) if is_http2 else ""
        if number < n_doubtful:
            doubt = "a session ticket within the upload would look like its answer"
        found.append(_turn(asked, spoken, doubt))
    return found


def _without_control(talks: Sequence[Talk]) -> list[Talk]:
    """What is left of HTTP/2 without its housekeeping and the client's first words."""
    kept: list[Talk] = []
    n_openings, has_asked = 0, False
    for talk in talks:
        if talk.n_bytes in _CONTROL:
            continue
        if talk.is_client and not has_asked and n_openings < _MOST_OPENINGS:
            lengths = {talk.n_bytes, talk.n_bytes - _PREFACE}
            if lengths & _OPENING or talk.n_bytes == _PREFACE:
                n_openings += 1
                continue
        has_asked |= talk.is_client
        kept.append(talk)
    return kept


def _without_preludes(talks: Sequence[Talk], setting: SealedConnection) -> list[Talk]:
    """Leave out tickets, and SETTINGS of the server, by assumptions 1 and 3."""
    soon_ns = setting.finished_ns + 2 * setting.rtt_ns + _TICKET_SLACK_NS
    left_out: set[int] = set()
    last_asked_ns = 0
    for i, talk in enumerate(talks):
        if talk.is_client:
            last_asked_ns = talk.last_ns
            continue
        if not 0 <= talk.n_bytes <= _MOST_TICKET_BYTES:
            break
        is_early = talk.first_ns < last_asked_ns + setting.rtt_ns * 9 // 10
        is_soon = talk.first_ns < soon_ns and _says_more(talks, i, setting.rtt_ns)
        is_alone = _pauses(talks, i, setting.rtt_ns)
        if not (not last_asked_ns or is_early or is_soon or is_alone):
            break
        left_out.add(i)
        if len(left_out) == _MOST_TICKETS + _MOST_OPENINGS:
            break
    return [talk for i, talk in enumerate(talks) if i not in left_out]


def _n_after_tickets(
    turns: Sequence[tuple[Sequence[Talk], Sequence[Talk]]],
    known_bytes: set[int],
    setting: SealedConnection,
) -> int:
    """How many turns may be parts of a request that tickets have cut."""
    latest_ns = setting.finished_ns + 2 * setting.rtt_ns + _LATE_TICKET_NS
    n_pieces = 0
    for _, spoken in turns[:_MOST_PIECES]:
        is_short = bool(spoken) and len(spoken) <= _MOST_TICKETS
        if not is_short or spoken[0].first_ns > latest_ns:
            break
        if not all(_may_be_ticket(talk.n_bytes, known_bytes) for talk in spoken):
            break
        n_pieces += 1
    if n_pieces < len(turns):
        return n_pieces + 1 if n_pieces else 0
    return 0 if setting.is_ended else n_pieces  # who ends has had an answer


def _may_be_ticket(n_bytes: int, known_bytes: set[int]) -> bool:
    """Whether a length is that of a ticket: of those that are known, if there are."""
    if known_bytes:
        return any(
            abs(n_bytes - known) <= _TICKET_SPREAD_BYTES for known in known_bytes
        )
    return _LEAST_TICKET_BYTES <= n_bytes <= _USUAL_TICKET_BYTES


def _says_more(talks: Sequence[Talk], i: int, rtt_ns: int = 0) -> bool:
    """Whether the server says more before the client asks again.

    A client that goes on at once is still at the request that it has begun.
    """
    before = talks[i]
    for talk in talks[i + 1 :]:
        if not talk.is_client:
            return True
        if talk.first_ns - before.last_ns > _pause_ns(rtt_ns):
            return False
        before = talk
    return False


def _pauses(talks: Sequence[Talk], i: int, rtt_ns: int) -> bool:
    """Whether a pause follows behind nothing but what looks like a prelude."""
    for one, other in itertools.pairwise(talks[i : i + _MOST_TICKETS + 1]):
        is_ticket = _LEAST_TICKET_BYTES <= one.n_bytes <= _USUAL_TICKET_BYTES
        if other.is_client or not (is_ticket or one.n_bytes in _OPENING):
            return False
        if other.first_ns - one.last_ns > _pause_ns(rtt_ns):
            return True
    return False


def _alternate(talks: Sequence[Talk]) -> list[tuple[list[Talk], list[Talk]]]:
    """What the client says and what the server says to it, turn by turn."""
    turns: list[tuple[list[Talk], list[Talk]]] = []
    for talk in talks:
        if talk.is_client:
            if not turns or turns[-1][1]:
                turns.append(([], []))
            turns[-1][0].append(talk)
        elif turns:
            turns[-1][1].append(talk)
    return turns


def _turn(asked: Sequence[Talk], spoken: Sequence[Talk], doubt: str) -> Turn:
    answer = _message(spoken) if spoken else None
    return Turn(request=_message(asked), answer=answer, doubt=doubt)


def _message(talks: Sequence[Talk]) -> Message:
    return Message(
        first_ns=talks[0].first_ns,
        last_ns=talks[-1].last_ns,
        begin=talks[0].begin,
        end=talks[-1].end,
        n_bytes=sum(talk.end - talk.begin for talk in talks),
    )


def _doubt(asked: Sequence[Talk], spoken: Sequence[Talk], rtt_ns: int) -> str:
    """What tells that a turn of HTTP/2 may be several streams at once."""
    if _has_pause(spoken, _pause_ns(rtt_ns)):
        return "the answer goes on after a pause: there may be several"
    if _has_pause(asked, 2 * _pause_ns(rtt_ns)):
        return "the request goes on after a pause: there may be several"
    for one, other in itertools.pairwise(asked[1:]):
        if one.n_bytes <= _MOST_HEAD_BYTES < other.n_bytes:
            return "a second head seems to be in the request: there may be several"
    return ""


def _has_pause(talks: Sequence[Talk], pause_ns: int) -> bool:
    return any(
        other.first_ns - one.last_ns > pause_ns
        for one, other in itertools.pairwise(talks)
    )


def _pause_ns(rtt_ns: int) -> int:
    """A time in which an end that has more to say would have said it."""
    return rtt_ns + _PAUSE_NS
