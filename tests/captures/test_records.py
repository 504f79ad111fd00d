"""Records of TLS are found in streams, however those are cut."""

from __future__ import annotations

import itertools
import struct

from hypothesis import given
from hypothesis import strategies as st

from midhaul.captures.streams import Chunk
from midhaul.captures.tls import APPLICATION, Record, RecordReader


def record(kind: int, body: bytes) -> bytes:
    """One record."""
    return struct.pack(">BBBH", kind, 3, 3, len(body)) + body


def read(
    pieces: list[tuple[bytes, int]], *, keeps: bool = False, is_lost: bool = False
) -> list[Record]:
    """The records of a stream: what was captured of each piece, and its length."""
    found: list[Record] = []
    reader = RecordReader(found.append, keeps_application_data=keeps, is_lost=is_lost)
    at = 0
    for time_ns, (data, n_bytes) in enumerate(pieces):
        reader.feed(Chunk(time_ns, time_ns, at, at + n_bytes, data))
        at += n_bytes
    reader.finish()
    return found


BODIES = st.lists(
    st.tuples(st.sampled_from([20, 21, 22, 23]), st.binary(min_size=1, max_size=60)),
    min_size=1,
    max_size=6,
)


@given(BODIES, st.lists(st.integers(0, 400), max_size=20))
def test_records_do_not_depend_on_segments(
    bodies: list[tuple[int, bytes]], cuts: list[int]
) -> None:
    """Types, lengths, places and contents come out as they went in."""
    stream = b"".join(record(kind, body) for kind, body in bodies)
    ends = sorted({*(cut for cut in cuts if cut < len(stream)), len(stream)} - {0})
    pieces = [
        (stream[begin:end], end - begin)
        for begin, end in zip([0, *ends], ends, strict=False)
    ]
    found = read(pieces, keeps=True)
    assert [(r.type, r.body) for r in found] == bodies
    assert [r.n_bytes for r in found] == [len(body) for _, body in bodies]
    assert found[-1].end == len(stream)
    assert all(a.end == b.begin for a, b in itertools.pairwise(found))
    assert all(r.first_ns <= r.last_ns for r in found)


def test_a_body_that_was_cut_off_does_not_hide_the_next_record() -> None:
    """Lengths are in the heads, so only heads must be captured."""
    first, second = record(23, b"x" * 500), record(23, b"y" * 40)
    found = read([(first[:60], len(first)), (second, len(second))])
    assert [(r.type, r.n_bytes, r.is_framed) for r in found] == [
        (23, 500, True),
        (23, 40, True),
    ]


def test_a_lost_head_is_made_up_for_at_the_next_segment() -> None:
    """Until then, bytes are application data without parts."""
    first, second = record(23, b"x" * 500), record(23, b"y" * 40)
    both = first + second[:20]
    found = read(
        [(both[:60], len(both)), (second[20:], len(second) - 20), (first, len(first))]
    )
    assert [r.is_framed for r in found] == [True, False, False, True]
    assert sum(r.n_bytes for r in found if not r.is_framed) == len(second)
    assert found[1].begin == len(first)


def test_a_stream_from_its_middle_is_framed_from_the_next_record_on() -> None:
    """Captures may begin anywhere."""
    whole = record(23, b"y" * 40)
    found = read([(b"\x88" * 100, 100), (whole, len(whole))], is_lost=True)
    assert [(r.type, r.n_bytes, r.is_framed) for r in found] == [
        (APPLICATION, 100, False),
        (APPLICATION, 40, True),
    ]


@given(st.lists(st.tuples(st.binary(max_size=40), st.integers(0, 60)), max_size=12))
def test_any_bytes_are_accounted_for(pieces: list[tuple[bytes, int]]) -> None:
    """Noise and holes never raise, and no byte is told twice."""
    noisy = [(data, len(data) + more) for data, more in pieces if len(data) + more]
    found = read(noisy)
    assert sum(r.end - r.begin for r in found) <= sum(n for _, n in noisy)
