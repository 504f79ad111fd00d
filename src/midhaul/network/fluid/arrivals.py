"""Which flow starts next, and what its end sets free: shared by all fluid kernels.

Flows that wait for none stand in the order of their starts. Those that wait for others
come to a heap as soon as the last of these has ended.
"""
# pyright: reportUntypedFunctionDecorator=false, reportArgumentType=false
# pyright: reportReturnType=false
# An element of an array is a number, which its type does not say.

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from midhaul.network.fluid.heaps import pop, push
from midhaul.network.packet.events import compiled

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64, Int32, Int64

NEVER = 1 << 62
"""A time in nanoseconds that does not come."""

NEXT, N_READY, N_EVENTS, N_DONE = range(4)
"""Places in ``Fate.counters``."""

MORE, DONE, STOPPED, FULL = range(4)
"""How a kernel ended: there is more to do, nothing is left, the time to stop has come,
the rows of watched flows are full."""


class Given(NamedTuple):
    """What does not change: ``n`` flows of ``k`` classes on ``m`` links.

    A class is all flows with the same route; links that are infinitely fast are in no
    route. Rates are bytes per nanosecond. What bounds each flow of a class by itself is
    a link of its own, with that rate for every flow.
    """

    wire_bytes: Float64[np.ndarray, " n"]
    base_ns: Float64[np.ndarray, " n"]
    class_of: Int32[np.ndarray, " n"]
    slots: Int64[np.ndarray, " k1"]
    route_offsets: Int64[np.ndarray, " k1"]
    route_links: Int32[np.ndarray, " h"]
    capacity: Float64[np.ndarray, " m"]
    is_per_flow: Bool[np.ndarray, " m"]
    order: Int32[np.ndarray, " n0"]
    delay_ns: Int64[np.ndarray, " n_or_0"]
    waiter_offsets: Int64[np.ndarray, " n1_or_1"]
    waiters: Int32[np.ndarray, " w"]


class Fate(NamedTuple):
    """What has become of the flows so far.

    ``start_ns`` and ``fct_ns`` are -1 where that is not known; ``sent_ns`` is how long
    a flow took to be sent, NaN until it is. The slots of a class hold, as a heap, what
    it will have sent per flow when a flow ends, and which flow that is.
    """

    start_ns: Int64[np.ndarray, " n"]
    fct_ns: Int64[np.ndarray, " n"]
    sent_ns: Float64[np.ndarray, " n"]
    ends_at: Float64[np.ndarray, " n"]
    ending: Int32[np.ndarray, " n"]
    n_missing: Int32[np.ndarray, " n_or_0"]
    ready_ns: Int64[np.ndarray, " n_or_0"]
    ready_keys: Int64[np.ndarray, " r"]
    ready_flows: Int32[np.ndarray, " r"]
    counters: Int64[np.ndarray, " 4"]
    clock: Float64[np.ndarray, " 1"]


@compiled
def next_start(given: Given, fate: Fate) -> int:
    """When the next flow starts; NEVER where none is left that can."""
    time_ns = NEVER
    counters = fate.counters
    if counters[NEXT] < len(given.order):
        time_ns = fate.start_ns[given.order[counters[NEXT]]]
    if counters[N_READY] > 0:
        time_ns = min(time_ns, fate.ready_keys[0])
    return time_ns


@compiled
def take_start(given: Given, fate: Fate) -> int:
    """The flow that starts next; it does not wait any more."""
    counters = fate.counters
    n_ready = counters[N_READY]
    if counters[NEXT] < len(given.order):
        flow = given.order[counters[NEXT]]
        if n_ready == 0 or fate.start_ns[flow] <= fate.ready_keys[0]:
            counters[NEXT] += 1
            return flow
    flow = fate.ready_flows[0]
    pop(fate.ready_keys, fate.ready_flows, 0, n_ready)
    counters[N_READY] = n_ready - 1
    return flow


@compiled
def end_flow(given: Given, fate: Fate, flow: int, now_ns: float) -> None:
    """Note that a flow is sent, and let those go that waited for it."""
    start_ns = fate.start_ns[flow]
    sent_ns = max(now_ns - start_ns, 0.0)
    fate.sent_ns[flow] = sent_ns
    fate.fct_ns[flow] = int(np.floor(sent_ns + given.base_ns[flow] + 0.5))
    fate.counters[N_DONE] += 1
    if len(given.waiters) == 0:
        return
    end_ns = start_ns + fate.fct_ns[flow]
    for place in range(given.waiter_offsets[flow], given.waiter_offsets[flow + 1]):
        waiter = given.waiters[place]
        fate.n_missing[waiter] -= 1
        fate.ready_ns[waiter] = max(fate.ready_ns[waiter], end_ns)
        if fate.n_missing[waiter] == 0:
            start_ns = fate.ready_ns[waiter] + given.delay_ns[waiter]
            fate.start_ns[waiter] = start_ns
            n_ready = fate.counters[N_READY]
            push(fate.ready_keys, fate.ready_flows, 0, n_ready, start_ns, waiter)
            fate.counters[N_READY] = n_ready + 1


@compiled
def _group(
    offsets: Int64[np.ndarray, " n1"],
    links: Int32[np.ndarray, " h"],
    kinds: Int32[np.ndarray, " n"],
    table: Int32[np.ndarray, " s"],
    class_of: Int32[np.ndarray, " n"],
    firsts: Int32[np.ndarray, " n"],
) -> int:
    """Number classes by a hash table whose size is a power of 2; how many there are."""
    last = np.uint64(len(table) - 1)
    n_classes = 0
    for flow in range(len(kinds)):
        begin, end = offsets[flow], offsets[flow + 1]
        mixed = np.uint64(end - begin) + (np.uint64(kinds[flow]) << np.uint64(32))
        for place in range(begin, end):
            mixed = (mixed ^ np.uint64(links[place])) * np.uint64(0x9E3779B97F4A7C15)
            mixed ^= mixed >> np.uint64(29)
        at = mixed & last
        while True:
            known = table[at]
            if known < 0:
                table[at] = n_classes
                firsts[n_classes] = flow
                class_of[flow] = n_classes
                n_classes += 1
                break
            first = offsets[firsts[known]]
            is_same = offsets[firsts[known] + 1] - first == end - begin
            is_same = is_same and kinds[firsts[known]] == kinds[flow]
            for place in range(end - begin):
                if not is_same:
                    break
                is_same = links[first + place] == links[begin + place]
            if is_same:
                class_of[flow] = known
                break
            at = (at + np.uint64(1)) & last
    return n_classes


def group_routes(
    offsets: Int64[np.ndarray, " n1"],
    links: Int32[np.ndarray, " h"],
    kinds: Int32[np.ndarray, " n"],
) -> tuple[Int32[np.ndarray, " n"], Int32[np.ndarray, " k"]]:
    """The class of each flow, all of one route and kind; and a flow of each class.

    Classes are numbered in the order of these flows.
    """
    n = len(kinds)
    table = np.full(1 << max(4, (2 * n - 1).bit_length()), -1, np.int32)
    class_of, firsts = np.empty(n, np.int32), np.empty(n, np.int32)
    n_classes = int(_group(offsets, links, kinds, table, class_of, firsts))
    return class_of, firsts[:n_classes].copy()
