"""HTTP in the clear: every message, exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midhaul.captures.http import Http1Reader, Http2Reader
from midhaul.captures.streams import Chunk

if TYPE_CHECKING:
    from midhaul.captures.http import Message

REQUEST = b"POST /detect HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nimage"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5;x=y\r\nhello\r\n3\r\n123\r\n0\r\nTrailer: t\r\n\r\n"
)


def feed(reader: Http1Reader | Http2Reader, stream: bytes, cuts: list[int]) -> None:
    """Give a reader a stream in pieces."""
    ends = sorted({*(cut for cut in cuts if cut < len(stream)), len(stream)} - {0})
    for time_ns, (begin, end) in enumerate(zip([0, *ends], ends, strict=False)):
        reader.feed(Chunk(time_ns, time_ns, begin, end, stream[begin:end]))
    reader.finish()


def http1(stream: bytes, cuts: list[int], *, is_client: bool) -> list[Message]:
    """The messages of one direction of HTTP/1.1."""
    reader = Http1Reader(["POST"] * 20, is_client=is_client)
    feed(reader, stream, cuts)
    assert not reader.is_lost
    return reader.found


CUTS = st.lists(st.integers(0, 400), max_size=12)


@given(st.integers(1, 4), CUTS)
def test_requests_are_counted_to_the_byte(n: int, cuts: list[int]) -> None:
    """Several in a row, cut into segments anywhere."""
    found = http1(REQUEST * n, cuts, is_client=True)
    assert [m.n_bytes for m in found] == [len(REQUEST)] * n
    assert [m.begin for m in found] == [len(REQUEST) * i for i in range(n)]
    assert all(m.is_whole for m in found)


@given(CUTS)
def test_chunked_and_interim_answers_are_read(cuts: list[int]) -> None:
    """100 Continue is no answer; a body in chunks ends behind its trailer."""
    found = http1(CONTINUE + CHUNKED + ANSWER, cuts, is_client=False)
    assert [m.code for m in found] == [200, 200]
    assert [m.n_bytes for m in found] == [len(CHUNKED), len(ANSWER)]


def test_an_answer_to_head_has_no_body() -> None:
    """Its length is that of the body that it would have."""
    reader = Http1Reader(["HEAD", "POST"], is_client=False)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n"
    feed(reader, head + ANSWER, [])
    assert [m.n_bytes for m in reader.found] == [len(head), len(ANSWER)]


def test_an_answer_without_a_length_ends_with_the_stream() -> None:
    """As HTTP/1.0 servers do it."""
    stream = b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\n" + b"y" * 100
    (found,) = http1(stream, [60], is_client=False)
    assert found.n_bytes == len(stream)
    assert found.is_whole


def test_an_answer_that_is_cut_off_says_so() -> None:
    """The capture may end within it."""
    (found,) = http1(ANSWER[:-1], [], is_client=False)
    assert not found.is_whole


def test_something_else_loses_the_reader_without_an_error() -> None:
    """Whatever was found before stands."""
    reader = Http1Reader([], is_client=True)
    feed(reader, REQUEST + b"\x16\x03\x01 what is this\r\n\r\n", [])
    assert reader.is_lost
    assert len(reader.found) == 1


def test_a_hole_in_a_body_is_only_counted() -> None:
    """Bodies need not be captured, heads must."""
    reader = Http1Reader([], is_client=True)
    head = b"POST / HTTP/1.1\r\nContent-Length: 1000\r\n\r\n"
    reader.feed(Chunk(1, 1, 0, len(head) + 500, head))
    reader.feed(Chunk(2, 2, len(head) + 500, len(head) + 1000, b""))
    assert not reader.is_lost
    assert reader.found[0].n_bytes == len(head) + 1000
    reader.feed(Chunk(3, 3, 2000, 2100, b""))
    assert reader.is_lost


@given(CUTS)
def test_streams_of_http2_are_told_apart(cuts: list[int]) -> None:
    """Against the bytes of another implementation: two streams, interleaved."""
    connection = pytest.importorskip("h2.connection", reason="h2 is not installed")
    config = pytest.importorskip("h2.config").H2Configuration(client_side=True)
    http = connection.H2Connection(config=config)
    http.initiate_connection()
    fields = [(":method", "POST"), (":scheme", "https"), (":path", "/")]
    for stream in (1, 3):
        http.send_headers(stream, [*fields, (":authority", "x")])
    for stream, is_last in ((1, False), (3, False), (1, True), (3, True)):
        http.send_data(stream, b"x" * 50, end_stream=is_last)
    http.ping(b"12345678")
    reader = Http2Reader(is_client=True)
    feed(reader, http.data_to_send(), cuts)
    assert [m.stream for m in reader.found] == [1, 3]
    assert all(m.is_whole for m in reader.found)
    one, other = reader.found
    assert one.begin < other.begin
    assert one.end <= other.end


@given(st.binary(max_size=200), CUTS, st.booleans())
def test_no_bytes_can_break_a_reader(
    data: bytes,
    cuts: list[int],
    is_client: bool,  # noqa: FBT001 - drawn
) -> None:
    """Noise is survived by both."""
    feed(Http1Reader([], is_client=is_client), b"POST " + data, cuts)
    feed(Http2Reader(is_client=is_client), data, cuts)
