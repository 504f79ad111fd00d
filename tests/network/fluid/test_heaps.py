"""Heaps on flat arrays do what the standard library's do."""

from __future__ import annotations

import heapq

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from midhaul.network.fluid.heaps import place, pop, push, remove


@given(st.lists(st.none() | st.integers(0, 50), max_size=60), st.integers(0, 5))
def test_pairs_come_out_in_the_order_of_keys(
    steps: list[int | None], first: int
) -> None:
    """None takes one out; what stands before the heap's slots is left alone."""
    keys, values = np.full(80, -1.0), np.full(80, -1, np.int32)
    plain: list[int] = []
    for step in steps:
        if step is not None:
            push(keys, values, first, len(plain), float(step), step)
            heapq.heappush(plain, step)
        elif plain:
            assert keys[first] == values[first] == plain[0]
            pop(keys, values, first, len(plain))
            heapq.heappop(plain)
    assert (keys[:first] == -1).all()


@given(
    st.lists(st.tuples(st.integers(0, 9), st.none() | st.integers(0, 20)), max_size=80)
)
def test_items_whose_keys_change_stay_in_order(
    steps: list[tuple[int, int | None]],
) -> None:
    """The first is always one of the least; None takes an item out."""
    heap, where = np.zeros(10, np.int32), np.full(10, -1, np.int64)
    keys, size = np.zeros(10), 0
    plain: dict[int, int] = {}
    for item, key in steps:
        if key is None:
            size = remove(heap, where, keys, size, item)
            plain.pop(item, None)
        else:
            keys[item] = key
            size = place(heap, where, keys, size, item)
            plain[item] = key
        assert size == len(plain)
        assert all(heap[where[item]] == item for item in plain)
        if plain:
            assert keys[heap[0]] == min(plain.values())
