"""Segments become bytes in order, whatever the network did to them."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from midhaul.captures.streams import Chunk, Stream

NUMBERS = st.integers(0, (1 << 32) - 1)


class Kept:
    """Keeps all chunks."""

    def __init__(self) -> None:
        self.chunks: list[Chunk] = []

    def feed(self, chunk: Chunk) -> None:
        """Keep one."""
        self.chunks.append(chunk)

    @property
    def data(self) -> bytes:
        """What was captured of the stream."""
        return b"".join(chunk.data for chunk in self.chunks)


def opened(seq: int) -> tuple[Stream, Kept]:
    """A stream whose SYN had this number."""
    kept = Kept()
    stream = Stream(kept)
    stream.begin(seq)
    return stream, kept


@st.composite
def journeys(draw: st.DrawFn) -> tuple[bytes, list[tuple[int, int]]]:
    """Bytes, and the ranges in which they arrive: in any order, overlapping, twice."""
    data = draw(st.binary(min_size=1, max_size=300))
    n = len(data)
    cuts = sorted({0, n, *draw(st.lists(st.integers(0, n), max_size=12))})
    ranges = list(itertools.pairwise(cuts))
    extra = draw(st.lists(st.tuples(st.integers(0, n), st.integers(0, n)), max_size=8))
    ranges += [(min(pair), max(pair)) for pair in extra if pair[0] != pair[1]]
    return data, draw(st.permutations(ranges))


@given(NUMBERS, journeys())
def test_bytes_come_out_once_and_in_order(
    seq: int, journey: tuple[bytes, list[tuple[int, int]]]
) -> None:
    """Reordered, repeated, overlapping, and over the wrap of the numbers."""
    data, ranges = journey
    stream, kept = opened(seq)
    for time_ns, (begin, end) in enumerate(ranges):
        first = (seq + 1 + begin) % (1 << 32)
        stream.add(time_ns, first, data[begin:end], end - begin)
    stream.finish()
    assert kept.data == data
    assert stream.n_missing_bytes == 0
    ends = [chunk.end for chunk in kept.chunks]
    assert [chunk.begin for chunk in kept.chunks] == [0, *ends[:-1]]


def test_a_wrap_of_numbers_is_no_jump() -> None:
    """Behind 2**32 - 1 comes 0."""
    stream, kept = opened((1 << 32) - 5)
    stream.add(1, (1 << 32) - 4, b"abc", 3)
    stream.add(2, (1 << 32) - 1, b"def", 3)
    stream.add(3, 2, b"ghi", 3)
    assert kept.data == b"abcdefghi"


def test_what_was_acknowledged_but_not_captured_is_a_hole() -> None:
    """The stream goes on behind it, with its length counted."""
    stream, kept = opened(99)
    stream.add(1, 100, b"aaaa", 4)
    stream.add(2, 110, b"cccc", 4)
    assert kept.data == b"aaaa"
    stream.acknowledge(3, 114)
    assert kept.data == b"aaaacccc"
    assert stream.n_missing_bytes == 6
    assert [chunk.end - chunk.begin for chunk in kept.chunks] == [4, 6, 4]


def test_what_waits_at_the_end_comes_out() -> None:
    """A capture that ends early keeps what it has."""
    stream, kept = opened(99)
    stream.add(1, 110, b"cccc", 4)
    stream.finish()
    assert kept.data == b"cccc"
    assert stream.n_missing_bytes == 10


def test_asking_whether_the_other_end_is_alive_sends_nothing() -> None:
    """A keep-alive repeats one byte; it must not look like a request sent again."""
    stream, _ = opened(99)
    stream.add(1, 100, b"aaaa", 4)
    stream.add(9, 103, b"\0", 1)
    assert stream.times().sent_ns.tolist() == [1]


def test_a_stream_without_its_begin_starts_where_it_is_seen() -> None:
    """It is not whole, and what is older is left out."""
    kept = Kept()
    stream = Stream(kept)
    stream.add(1, 5000, b"bbbb", 4)
    stream.add(2, 4996, b"aaaa", 4)
    stream.add(3, 5004, b"cccc", 4)
    assert kept.data == b"bbbbcccc"
    assert not stream.is_whole


def test_acknowledgements_only_rise() -> None:
    """Late and repeated ones say nothing new."""
    stream, _ = opened(99)
    stream.add(1, 100, b"a" * 50, 50)
    for time_ns, ack in ((2, 120), (3, 110), (4, 120), (5, 150)):
        stream.acknowledge(time_ns, ack)
    times = stream.times()
    assert times.acked.tolist() == [20, 50]
    assert times.acked_ns.tolist() == [2, 5]
    assert np.all(np.diff(times.acked) > 0)
