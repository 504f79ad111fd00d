"""Heap, pool and chance of the packet simulator."""

from __future__ import annotations

import heapq

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midhaul.errors import SimulationError
from midhaul.network.packet import events


@settings(max_examples=60)
@given(steps=st.lists(st.integers(-3, 30), max_size=400))
def test_heap_gives_what_heapq_gives(steps: list[int]) -> None:
    """Whatever is pushed and popped, the earliest comes first, ties as they came."""
    heap, meta = events.empty_heap(500), np.zeros(events.N_META, np.int64)
    expected: list[tuple[int, int]] = []
    for i, step in enumerate(steps):
        if step >= 0:
            order = int(events.order_of(meta, i % 8, i))
            events.push(heap, meta, step, order)
            heapq.heappush(expected, (step, order))
        elif expected:
            assert int(events.settle(heap, meta)) == len(expected)
            assert (int(heap[0]), int(heap[1])) == heapq.heappop(expected)
            meta[events.HAS_HOLE] = 1
    assert int(events.settle(heap, meta)) == len(expected)


@given(kind=st.integers(0, 7), index=st.integers(0, events.MOST_OBJECTS - 1))
def test_order_keeps_kind_and_object(kind: int, index: int) -> None:
    """What was put into an order comes out, at the last sequence number as well."""
    meta = np.zeros(events.N_META, np.int64)
    meta[events.NEXT_SEQUENCE] = events.MOST_SEQUENCES - 1
    order = int(events.order_of(meta, kind, index))
    assert order > 0
    assert int(events.kind_of(order)) == kind
    assert int(events.object_of(order)) == index


def test_pool_gives_each_index_once_also_when_it_grows() -> None:
    """An index is given to one only, and all of them are after more were added."""
    meta = np.zeros(events.N_META, np.int64)
    meta[events.N_FREE] = 4
    free = np.arange(3, -1, -1, dtype=np.int64)
    taken = [int(events.take(free, meta)) for _ in range(3)]
    events.give_back(free, meta, taken.pop())
    free = events.more_free(free, meta, 4, 9)
    taken += [int(events.take(free, meta)) for _ in range(7)]
    assert sorted(taken) == list(range(9))
    assert int(meta[events.N_FREE]) == 0


def test_a_table_that_never_stops_growing_is_the_end() -> None:
    """It is said, with what makes it smaller, before the machine is full."""
    with pytest.raises(SimulationError, match="cells does not fit") as caught:
        events.larger(np.zeros((4, 5), np.int64), 1 << 40)
    assert "sample_s" in caught.value.hint


def test_chance_is_even_and_the_same_for_a_seed() -> None:
    """Draws lie in [0, 1), fill it evenly, and depend on the seed alone."""
    state = events.chance_of(5)
    drawn = np.array([events.draw(state) for _ in range(20_000)])
    assert drawn.min() >= 0
    assert drawn.max() < 1
    counts = np.histogram(drawn, 20, (0, 1))[0]
    assert abs(counts - 1000).max() < 150
    again = events.chance_of(5)
    assert [events.draw(again) for _ in range(5)] == drawn[:5].tolist()
    assert len({int(events.chance_of(seed)[0]) for seed in range(1000)}) == 1000
