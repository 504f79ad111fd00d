"""Event heap, packet pool and random numbers of the packet simulator, for its kernels.

A heap is a flat array of int64 with two cells for each event: a time, and an order. The
order has a sequence number in its upper 36 bits, so that what was scheduled first
happens first at equal times (as in ns-3), and what happens in its lower 27: a kind (3
bits) and the index of an object (24 bits). Sequence numbers are unique, so that two
entries never tie.

Nothing here grows: kernels look at ``room`` before they work on an event, and return to
Python where it is short, which makes the arrays larger and calls them again. What is
counted stands in an array ``meta`` that the caller owns, at the indices below; the
indices from ``N_META`` on are the caller's.

What is popped leaves a hole at the root of the binary heap that the next push fills, as
most events schedule one other: ``settle`` closes it where none did. The array must have
room for one event more than there are. Kernels of RDMA pass arrays, those of TCP
pointers; both take an index in brackets, which is all that is asked of them here.
"""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numba import njit  # pyright: ignore[reportUnknownVariableType]

from midhaul.errors import SimulationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Int64, UInt64

    Heap = Any
    Meta = Any

Function = TypeVar("Function", bound="Callable[..., Any]")

HEAP_SIZE, HAS_HOLE, NEXT_SEQUENCE, N_FREE = 0, 1, 2, 3
N_META = 4
"""Indices of ``meta`` that stand for something here; the caller's begin at N_META."""

KIND_BITS, OBJECT_BITS = 3, 24
CODE_BITS = KIND_BITS + OBJECT_BITS
MOST_OBJECTS = 1 << OBJECT_BITS
MOST_SEQUENCES = 1 << (63 - CODE_BITS)
_MOST_CELLS = 1 << 30
_CODE = (1 << CODE_BITS) - 1
_KIND = (1 << KIND_BITS) - 1

# Arrays belong to Python while a kernel runs. Without _nrt=False references to them are
# counted at each assignment and call, which takes over 30 times as long as the work.
_njit: Any = njit
_compiled = _njit(cache=True, _nrt=False, error_model="numpy")
_inlined = _njit(cache=True, _nrt=False, error_model="numpy", inline="always")


def compiled(function: Function) -> Function:
    """Compile a kernel, or what kernels call; nothing in it can make an array."""
    return _compiled(function)


def inlined(function: Function) -> Function:
    """Make a function a part of the kernels that call it, for what few places call."""
    return _inlined(function)


@inlined
def order_of(meta: Meta, kind: int, index: int) -> int:
    """Reserve the next sequence number for an event of this kind on this object."""
    sequence = meta[NEXT_SEQUENCE]
    meta[NEXT_SEQUENCE] = sequence + 1
    return (sequence << CODE_BITS) | (index << KIND_BITS) | kind


@inlined
def kind_of(order: int) -> int:
    """What kind of event this is."""
    return order & _KIND


@inlined
def object_of(order: int) -> int:
    """Which object it happens to."""
    return (order & _CODE) >> KIND_BITS


@compiled
def _sift_down(heap: Heap, entry: int, size: int, time: int, order: int) -> None:
    """Put an entry at a place or below it, and what is earlier above it.

    Which child is earlier is no branch but a sum, as no processor could guess it.
    """
    at, end = np.uint64(2 * entry), np.uint64(2 * size)
    one, two = np.uint64(1), np.uint64(2)
    while True:
        left = at + at + two
        if left >= end:
            break
        right = left + two
        left_time, right_time = heap[left], heap[right]
        has_right = right < end
        child = left + (np.uint64(has_right & (right_time < left_time)) << one)
        if (
            right_time == left_time
            and has_right
            and heap[right + one] < heap[left + one]
        ):
            child = right
        child_time = heap[child]
        if time < child_time or (time == child_time and order < heap[child + one]):
            break
        heap[at] = child_time
        heap[at + one] = heap[child + one]
        at = child
    heap[at] = time
    heap[at + one] = order


@compiled
def push(heap: Heap, meta: Meta, time: int, order: int) -> None:
    """Schedule an event; into the hole of the last one popped, where that is open."""
    size = meta[HEAP_SIZE]
    if meta[HAS_HOLE] != 0:
        meta[HAS_HOLE] = 0
        _sift_down(heap, 0, size, time, order)
        return
    meta[HEAP_SIZE] = size + 1
    at = size
    while at > 0:
        parent = (at - 1) >> 1
        parent_time = heap[2 * parent]
        if parent_time < time or (parent_time == time and heap[2 * parent + 1] < order):
            break
        heap[2 * at] = parent_time
        heap[2 * at + 1] = heap[2 * parent + 1]
        at = parent
    heap[2 * at] = time
    heap[2 * at + 1] = order


@inlined
def settle(heap: Heap, meta: Meta) -> int:
    """Close the hole of the last event, and say how many are left.

    The next one is in the first two cells then; ``meta[HAS_HOLE] = 1`` takes it out.
    """
    size = meta[HEAP_SIZE]
    if meta[HAS_HOLE] != 0:
        meta[HAS_HOLE] = 0
        size -= 1
        meta[HEAP_SIZE] = size
        if size > 0:
            _sift_down(heap, 0, size, heap[2 * size], heap[2 * size + 1])
    return size


@compiled
def restore(heap: Heap, size: int) -> None:
    """Make a heap again of entries whose times were changed, without a hole."""
    for entry in range(size // 2 - 1, -1, -1):
        _sift_down(heap, entry, size, heap[2 * entry], heap[2 * entry + 1])


@inlined
def take(free: Heap, meta: Meta) -> int:
    """An index that nobody uses; the last that was given back, while its row is near.

    The caller has made sure that ``meta[N_FREE]`` is above 0.
    """
    left = meta[N_FREE] - 1
    meta[N_FREE] = left
    return free[left]


@inlined
def give_back(free: Int64[np.ndarray, " n"], meta: Meta, index: int) -> None:
    """Say that an index is no longer used."""
    left = meta[N_FREE]
    free[left] = index
    meta[N_FREE] = left + 1


@compiled
def draw(random: UInt64[np.ndarray, " 1"]) -> float:
    """A number from [0, 1): xorshift64* (Vigna, 2016), the same on every machine."""
    x = random[0]
    x ^= x >> np.uint64(12)
    x ^= x << np.uint64(25)
    x ^= x >> np.uint64(27)
    random[0] = x
    high = (x * np.uint64(2685821657736338717)) >> np.uint64(11)
    return float(high) / 9007199254740992.0


def chance_of(seed: int) -> UInt64[np.ndarray, " 1"]:
    """A state of ``draw`` that is never 0, and far from those of near seeds."""
    low = (1 << 64) - 1
    x = (seed * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15) & low
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & low
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & low
    return np.array([(x ^ (x >> 31)) or 1], np.uint64)


def empty_heap(n: int) -> Heap:
    """A heap with room for ``n`` events."""
    return np.zeros(2 * n, np.int64)


def larger(array: np.ndarray, n: int) -> np.ndarray:
    """A copy with ``n`` rows, zeros below those that there were.

    SimulationError where that is more than what is under way at once ever takes, or
    than the machine has.
    """
    shape = (n, *array.shape[1:])
    n_cells, grown = math.prod(shape), None
    if n_cells <= _MOST_CELLS:
        with contextlib.suppress(MemoryError):
            grown = np.zeros(shape, array.dtype)
    if grown is None:
        message = (
            f"a table of the simulation of {n_cells:,} cells does not fit into memory"
        )
        hint = "look at queues less often (sample_s), watch fewer flows, or lower the "
        raise SimulationError(message, hint + "load")
    grown[: len(array)] = array
    return grown


def more_free(
    free: Int64[np.ndarray, " n"], meta: Meta, n_before: int, n_after: int
) -> Int64[np.ndarray, " m"]:
    """The list of free indices after its objects became more."""
    grown = np.zeros(n_after, np.int64)
    n_new, n_free = n_after - n_before, int(meta[N_FREE])
    grown[:n_new] = np.arange(n_after - 1, n_before - 1, -1)
    grown[n_new : n_new + n_free] = free[:n_free]
    meta[N_FREE] = n_new + n_free
    return grown
