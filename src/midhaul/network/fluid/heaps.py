"""Binary heaps on flat arrays: many heaps in one array, and heaps of numbered items.

The first kind holds pairs of key and value; each heap has a range of slots of its own
in the same two arrays. The second kind orders items by keys that change: each item
knows its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.network.packet.events import compiled

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float64, Int32, Int64

    Keys = Float64[np.ndarray, " s"] | Int64[np.ndarray, " s"]
    Items = Int32[np.ndarray, " s"]
    Places = Int64[np.ndarray, " i"]
    ItemKeys = Float64[np.ndarray, " i"]


@compiled
def push(
    keys: Keys, values: Items, first: int, size: int, key: float, value: int
) -> None:
    """Add a pair to the heap of ``size`` pairs whose slots begin at ``first``."""
    at = size
    while at > 0:
        parent = (at - 1) >> 1
        if keys[first + parent] <= key:
            break
        keys[first + at] = keys[first + parent]
        values[first + at] = values[first + parent]
        at = parent
    keys[first + at] = key
    values[first + at] = value


@compiled
def pop(keys: Keys, values: Items, first: int, size: int) -> None:
    """Take the least pair, which stands at ``first``, out of a heap of ``size``."""
    last = size - 1
    key, value = keys[first + last], values[first + last]
    at = 0
    while True:
        child = 2 * at + 1
        if child >= last:
            break
        if child + 1 < last and keys[first + child + 1] < keys[first + child]:
            child += 1
        if keys[first + child] >= key:
            break
        keys[first + at] = keys[first + child]
        values[first + at] = values[first + child]
        at = child
    keys[first + at] = key
    values[first + at] = value


@compiled
def place(heap: Items, where: Places, keys: ItemKeys, size: int, item: int) -> int:
    """Take an item in, or move it after its key has changed; how many there are then.

    ``where`` is -1 for items that are not in the heap.
    """
    at = where[item]
    if at < 0:
        at = size
        size += 1
    key = keys[item]
    while at > 0:
        above = heap[(at - 1) >> 1]
        if keys[above] <= key:
            break
        heap[at] = above
        where[above] = at
        at = (at - 1) >> 1
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and keys[heap[child + 1]] < keys[heap[child]]:
            child += 1
        below = heap[child]
        if keys[below] >= key:
            break
        heap[at] = below
        where[below] = at
        at = child
    heap[at] = item
    where[item] = at
    return size


@compiled
def remove(heap: Items, where: Places, keys: ItemKeys, size: int, item: int) -> int:
    """Take an item out, wherever it stands; how many are left."""
    at = where[item]
    if at < 0:
        return size
    where[item] = -1
    size -= 1
    last = heap[size]
    if last != item:
        heap[at] = last
        where[last] = at
        place(heap, where, keys, size, last)
    return size
