"""Sealed records are parted into requests and answers by the stated assumptions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from midhaul.captures.sealed_http import (
    SealedConnection,
    Talk,
    Turn,
    http_version,
    take_turns,
)
from midhaul.captures.tls import Hello, Record, TlsCourse, read_hello

MS = 1_000_000
TLS13 = SealedConnection(is_tls13=True, finished_ns=100 * MS, rtt_ns=20 * MS)
HTTP2 = SealedConnection(
    is_tls13=True, finished_ns=100 * MS, rtt_ns=20 * MS, offers_http2=True
)
TICKET = 234


def talks(*said: tuple[float, str, int]) -> list[Talk]:
    """Records as (ms, who, bytes), one behind the other in each stream."""
    ends = {"c": 0, "s": 0}
    found: list[Talk] = []
    for ms, who, n_bytes in said:
        begin, ends[who] = ends[who], ends[who] + n_bytes + 22
        time_ns = round(ms * MS)
        found.append(Talk(time_ns, time_ns, begin, ends[who], n_bytes, who == "c"))
    return found


def sizes(turns: list[Turn]) -> list[tuple[int, int, float]]:
    """Bytes sent, bytes told, and ms when the answer began, of every turn."""
    return [
        (
            turn.request.n_bytes,
            turn.answer.n_bytes if turn.answer else 0,
            turn.answer.first_ns / MS if turn.answer else 0,
        )
        for turn in turns
    ]


def test_turns_follow_each_other() -> None:
    """A request is what the client says until the server speaks."""
    said = talks(
        (200, "c", 978), (201, "c", 978), (400, "s", 478), (401, "s", 78),
        (500, "c", 1978), (700, "s", 278),
    )  # fmt: skip
    assert sizes(take_turns(said, SealedConnection())) == [
        (2000, 600, 400),
        (2000, 300, 700),
    ]


def test_tickets_are_no_answer() -> None:
    """Not before the request, not while it is sent, not right behind the handshake."""
    first = (120, "s", TICKET)
    asked = [(200, "c", 16000), (210, "c", 8000)]
    for tickets in (
        [first, (120, "s", TICKET), *asked],
        [asked[0], (205, "s", TICKET), asked[1]],
        [*asked, (215, "s", TICKET), (215, "s", TICKET)],
        [*asked, (295, "s", TICKET), (295, "s", TICKET)],
    ):
        found = take_turns(talks(*tickets, (430, "s", 500)), TLS13)
        assert sizes(found) == [(24044, 522, 430)]


def test_an_answer_that_is_small_is_still_one() -> None:
    """It is alone, and comes when an answer can come."""
    found = take_turns(talks((200, "c", 16000), (400, "s", TICKET)), TLS13)
    assert sizes(found) == [(16022, 256, 400)]


def test_an_alert_and_an_interim_answer_are_nothing() -> None:
    """Two bytes end a connection, 25 say that the client may go on."""
    said = talks(
        (200, "c", 300), (225, "s", 25), (226, "c", 9000), (400, "s", 500),
        (500, "c", 2), (520, "s", 2),
    )  # fmt: skip
    assert sizes(take_turns(said, TLS13)) == [(9344, 522, 400)]


OPENING = [
    (101, "c", 24 + 9 + 12 + 13), (121, "s", TICKET), (121, "s", 9 + 24),
    (122, "c", 9), (122, "s", 9),
]  # fmt: skip


@pytest.mark.parametrize("first", [24 + 45, 24, 24 + 27 + 13])
def test_http2_shows_in_its_first_records(first: int) -> None:
    """Preface and SETTINGS have lengths that requests of HTTP/1.1 do not have."""
    assert http_version(talks((101, "c", first)), HTTP2) == "2"
    assert http_version(talks((101, "c", first)), TLS13) == "1.1"
    assert http_version(talks((101, "c", 310), (300, "s", 120)), HTTP2) == "1.1"
    known = SealedConnection(chosen="h2")
    assert http_version(talks((101, "c", 310)), known) == "2"


def test_housekeeping_of_http2_is_no_turn() -> None:
    """Settings, windows and pings, in front, between and behind."""
    said = talks(
        *OPENING,
        (200, "c", 120), (200, "c", 16384), (201, "c", 9000), (210, "s", 13),
        (225, "s", 26), (226, "c", 17), (246, "s", 17),
        (400, "s", 60), (401, "s", 700), (402, "c", 13),
        (500, "c", 45), (500, "c", 16384), (521, "s", 13), (650, "s", 41),
        (650, "s", 800),
    )  # fmt: skip
    found = take_turns(said, HTTP2)
    assert [size[2] for size in sizes(found)] == [400, 650]
    assert [turn.doubt for turn in found] == ["", ""]


@pytest.mark.parametrize(
    "more",
    [
        [(400, "s", 60), (400, "s", 700), (470, "s", 50), (470, "s", 700)],
        [(300, "c", 110), (300, "c", 16384), (400, "s", 60), (400, "s", 700)],
        [(201, "c", 60), (201, "c", 16384), (400, "s", 60), (400, "s", 700)],
    ],
    ids=["answers apart", "requests apart", "a second head"],
)
def test_concurrent_streams_are_doubted(more: list[tuple[float, str, int]]) -> None:
    """What may be several requests is not measured as one."""
    said = talks(*OPENING, (200, "c", 120), (200, "c", 16384), (200, "c", 500), *more)
    found = take_turns(said, HTTP2)
    assert found[0].doubt.endswith("there may be several")


def record(kind: int, n_bytes: int, ms: float, body: bytes = b"") -> Record:
    """A record that was seen at a time."""
    time_ns = round(ms * MS)
    return Record(
        type=kind,
        n_bytes=n_bytes,
        first_ns=time_ns,
        last_ns=time_ns,
        begin=0,
        end=n_bytes + 5,
        body=body or None,
    )


def hello(kind: int, *, version: int, extensions: bytes = b"") -> bytes:
    """A ClientHello (1) or ServerHello (2) as a handshake message."""
    suite = b"\xc0\x2f" if version == 0x0303 else b"\x13\x02"
    versions = (
        b"\x00\x2b\x00\x03\x02\x03\x04" if kind == 1 else b"\x00\x2b\x00\x02\x03\x04"
    )
    more = extensions + (versions if version == 0x0304 else b"")
    body = b"\x03\x03" + bytes(32) + b"\0"
    body += b"\0\x02" + suite + b"\x01\0" if kind == 1 else suite + b"\0"
    body += len(more).to_bytes(2, "big") + more
    return bytes((kind,)) + len(body).to_bytes(3, "big") + body


def course() -> TlsCourse:
    """A course that nobody listens to."""
    return TlsCourse(lambda _client, _server: None)


def say(
    one: TlsCourse, who: str, kind: int, ms: float, n: int = 0, body: bytes = b""
) -> None:
    """Let an end send a record."""
    one.take(record(kind, n or len(body), ms, body), is_client=who == "c")


def test_a_full_handshake_of_tls12_ends_with_the_servers_finished() -> None:
    """A certificate in the clear says that nothing was resumed."""
    one = course()
    say(one, "c", 22, 0, body=hello(1, version=0x0303))
    certificate = b"\x0b\0\0\x02xx"
    say(one, "s", 22, 20, body=hello(2, version=0x0303) + certificate)
    say(one, "c", 20, 22, 1)
    say(one, "c", 22, 22, 40)
    say(one, "s", 20, 42, 1)
    say(one, "s", 22, 43, 40)
    say(one, "c", 23, 50, 1024)
    assert (one.begun_ns, one.finished_ns) == (0, 43 * MS)
    assert not one.is_resumed
    assert [(t.is_client, t.n_bytes) for t in one.talks] == [(True, 1000)]


def test_a_resumed_handshake_of_tls12_ends_with_the_clients_finished() -> None:
    """The server finishes first, and sends no certificate."""
    one = course()
    say(one, "c", 22, 1, body=hello(1, version=0x0303))
    say(one, "s", 22, 20, body=hello(2, version=0x0303))
    say(one, "s", 20, 20, 1)
    say(one, "s", 22, 20, 40)
    say(one, "c", 20, 22, 1)
    say(one, "c", 22, 22, 40)
    assert one.finished_ns == 22 * MS
    assert one.is_resumed


def test_the_flight_of_a_client_with_a_certificate_is_no_request() -> None:
    """Its Finished is known by its length, 52 bytes with SHA-384."""
    one = course()
    say(one, "c", 22, 1, body=hello(1, version=0x0304))
    say(one, "s", 22, 20, body=hello(2, version=0x0304))
    say(one, "s", 23, 20, 2000)
    say(one, "c", 23, 22, 1200)
    say(one, "c", 23, 22, 300)
    say(one, "c", 23, 22, 52 + 17)
    say(one, "c", 23, 30, 1017)
    assert one.finished_ns == 22 * MS
    assert [t.n_bytes for t in one.talks] == [1000]


def test_early_data_are_noted() -> None:
    """0-RTT is sent before the handshake has ended."""
    early = b"\x00\x2a\x00\x00"
    one = course()
    say(one, "c", 22, 1, body=hello(1, version=0x0304, extensions=early))
    say(one, "c", 23, 2, 1017)
    say(one, "s", 22, 20, body=hello(2, version=0x0304, extensions=b"\0\x29\0\x02\0\0"))
    say(one, "s", 23, 20, 200)
    say(one, "c", 23, 22, 4 + 17)
    say(one, "c", 23, 22, 52 + 17)
    assert one.n_early_bytes == 1017
    assert one.is_resumed
    assert one.finished_ns == 22 * MS
    assert [t.n_bytes for t in one.talks] == [-1]


def test_a_hello_that_is_cut_off_says_what_it_can() -> None:
    """The name stands early; what is behind the cut is not known."""
    name = b"\0\0\0\x0e\0\x0c\0\0\x09localhost"
    whole = hello(1, version=0x0304, extensions=name)[4:]
    found = read_hello(whole[:-4], is_client=True)
    assert found is not None
    assert found.server_name == "localhost"
    assert not found.is_tls13
    complete = read_hello(whole, is_client=True)
    assert complete is not None
    assert complete.is_tls13
    assert read_hello(whole[:10], is_client=True) is None


def test_lengths_of_seals_are_known_by_suite() -> None:
    """So that the length of what is sealed is exact."""
    assert Hello(version=0x0304, suites=(0x1301,)).sealing_bytes == 17
    assert Hello(version=0x0303, suites=(0xC02F,)).sealing_bytes == 24
    assert Hello(version=0x0303, suites=(0xCCA8,)).sealing_bytes == 16
    assert Hello(version=0x0303, suites=(0xC013,)).sealing_bytes is None


@pytest.mark.parametrize(
    ("said", "statuses"),
    [
        # an upload that stops for 40 ms, and one or two tickets meanwhile
        ([(101, "c", 16384), (121, "s", TICKET), (161, "c", 9000), (400, "s", 978)],
         [True, True]),
        ([(101, "c", 16384), (121, "s", TICKET), (121, "s", TICKET),
          (180, "c", 9000), (400, "s", 978), (500, "c", 9000), (800, "s", 978)],
         [True, True, False]),
        ([(101, "c", 16384), (121, "s", TICKET), (161, "c", 8000),
          (171, "s", TICKET), (240, "c", 8000), (500, "s", 978)],
         [True, True, True]),
        # the first ticket is known for one, so an answer of another length is none
        ([(121, "s", TICKET), (200, "c", 9000), (300, "s", TICKET + 90),
          (301, "c", 9000), (500, "s", TICKET + 90)],
         [False, False]),
        # too late for a ticket, and too long for one
        ([(101, "c", 9000), (600, "s", TICKET), (700, "c", 9000), (999, "s", 300)],
         [False, False]),
        ([(101, "c", 9000), (180, "s", 978), (300, "c", 9000), (500, "s", 978)],
         [False, False]),
        # nothing follows, and the client has ended: it had its answer
        ([(101, "c", 9000), (180, "s", TICKET)], [False]),
    ],
)  # fmt: skip
def test_a_ticket_within_an_upload_leaves_a_doubt(
    said: list[tuple[float, str, int]], statuses: list[bool]
) -> None:
    """What a ticket may have cut is never two requests without a doubt."""
    turns = take_turns(talks(*said), TLS13)
    assert [bool(turn.doubt) for turn in turns] == statuses


def test_an_upload_that_the_capture_cuts_leaves_a_doubt() -> None:
    """Where the end was not seen, a ticket may be all that there is of an answer."""
    said = talks((101, "c", 9000), (121, "s", TICKET))
    cut = replace(TLS13, is_ended=False)
    assert [bool(turn.doubt) for turn in take_turns(said, cut)] == [True]
    late = talks((101, "c", 9000), (700, "s", TICKET))
    assert [bool(turn.doubt) for turn in take_turns(late, cut)] == [False]
