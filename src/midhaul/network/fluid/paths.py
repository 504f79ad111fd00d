"""Max-min fair rates where routes are few: all of them are shared out at each event.

A class is all flows with the same route. They have the same rate at all times, so one
number says what each of them has been sent since the class was last empty (its virtual
time), and a heap of the values of it at which they end says which is next. An event
costs what the classes with flows cost, however many flows they have.

Algorithm: progressive filling (Bertsekas and Gallager, "Data Networks", 2nd edition,
1992, section 6.5.2), with virtual times as in fair queueing (Demers, Keshav and
Shenker, SIGCOMM 1989).

Difference: filling is over classes, weighted by their flows, instead of over flows.

Classes with flows stand side by side, each at a *place*, so that an event reads a few
lines of the cache. Links that a class does not take are added up as 0, as a loop over
all few links is quicker than one whose length no processor can guess.
"""
# pyright: reportArgumentType=false, reportReturnType=false
# An element of an array is a number, which its type does not say.

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from midhaul.network.fluid.arrivals import (
    DONE,
    MORE,
    N_EVENTS,
    NEVER,
    STOPPED,
    end_flow,
    next_start,
    take_start,
)
from midhaul.network.fluid.heaps import pop, push
from midhaul.network.packet.events import compiled, inlined

if TYPE_CHECKING:
    from jaxtyping import Float64, Int32, Int64

    from midhaul.network.fluid.arrivals import Fate, Given


MOST_CLASSES, MOST_LINKS = 64, 63
"""Up to so many this kernel is the quicker one; a set of links is one number."""


class PathState(NamedTuple):
    """What happens on ``k`` classes and ``m`` links that flows share.

    ``active`` has the classes with flows, ``n_active`` of them; ``sent_bytes`` is the
    virtual time of each class, ``masks`` the set of its links and ``takes`` the same as
    0 and 1; ``caps`` is what bounds each of its flows by itself. ``where`` is the place
    of each class with flows. The rest is scratch of the kernel: of places the end of
    the flow that ends next, what is sent, rate, flows, links and bound; of links what
    is left and how many flows have no rate yet.
    """

    flows: Float64[np.ndarray, " k"]
    sent_bytes: Float64[np.ndarray, " k"]
    rates: Float64[np.ndarray, " k"]
    masks: Int64[np.ndarray, " k"]
    takes: Float64[np.ndarray, "k m"]
    loads: Float64[np.ndarray, " m"]
    active: Int32[np.ndarray, " k"]
    n_active: Int64[np.ndarray, " 1"]
    caps: Float64[np.ndarray, " k"]
    where: Int32[np.ndarray, " k"]
    place_ends: Float64[np.ndarray, " k"]
    place_sent: Float64[np.ndarray, " k"]
    place_rates: Float64[np.ndarray, " k"]
    place_flows: Float64[np.ndarray, " k"]
    place_masks: Int64[np.ndarray, " k"]
    place_caps: Float64[np.ndarray, " k"]
    left: Float64[np.ndarray, " m"]
    open_flows: Float64[np.ndarray, " m"]
    todo: Int32[np.ndarray, " k"]
    settled: Int32[np.ndarray, " k"]


def path_state(given: Given) -> PathState:
    """Nothing has started yet."""
    k, m = len(given.slots) - 1, int(np.count_nonzero(~given.is_per_flow))
    masks = np.zeros(k, np.int64)
    owners = np.repeat(np.arange(k), np.diff(given.route_offsets))
    np.bitwise_or.at(masks, owners, np.int64(1) << given.route_links.astype(np.int64))
    caps = np.full(k, np.inf)
    bounds = given.is_per_flow[given.route_links]
    caps[owners[bounds]] = given.capacity[given.route_links[bounds]]
    takes = np.zeros((k, m))
    takes[owners[~bounds], given.route_links[~bounds]] = 1.0
    return PathState(
        flows=np.zeros(k),
        sent_bytes=np.zeros(k),
        rates=np.zeros(k),
        masks=masks,
        takes=takes,
        loads=np.zeros(m),
        active=np.zeros(k, np.int32),
        n_active=np.zeros(1, np.int64),
        caps=caps,
        where=np.zeros(k, np.int32),
        place_ends=np.zeros(k),
        place_sent=np.zeros(k),
        place_rates=np.zeros(k),
        place_flows=np.zeros(k),
        place_masks=np.zeros(k, np.int64),
        place_caps=np.zeros(k),
        left=np.zeros(m),
        open_flows=np.zeros(m),
        todo=np.zeros(k, np.int32),
        settled=np.zeros(k, np.int32),
    )


@inlined
def _fill(  # noqa: C901  a kernel: parts of it would cost calls
    given: Given, state: PathState, n_active: int
) -> None:
    """Give every class with flows its max-min fair rate."""
    left, open_flows, todo = state.left, state.open_flows, state.todo
    n_links = len(left)
    has_caps = n_links < len(given.capacity)
    for link in range(n_links):
        left[link] = given.capacity[link]
        open_flows[link] = state.loads[link]
    n_todo = n_active
    for place in range(n_todo):
        todo[place] = place
    while n_todo > 0:
        share, bottleneck = np.inf, 0
        for link in range(n_links):
            if open_flows[link] > 0 and left[link] < share * open_flows[link]:
                share, bottleneck = left[link] / open_flows[link], link
        is_cap = False
        if has_caps:
            least = np.inf
            for number in range(n_todo):
                least = min(least, state.place_caps[todo[number]])
            is_cap = least < share
            share = min(least, share)
        n_left, n_settled = 0, 0
        for number in range(n_todo):  # no branch: nothing could guess it
            place = todo[number]
            is_held = (state.place_masks[place] >> bottleneck) & 1
            if is_cap:
                is_held = np.int64(state.place_caps[place] <= share)
            state.settled[n_settled] = place
            n_settled += is_held
            todo[n_left] = place
            n_left += 1 - is_held
        n_todo = n_left
        for number in range(n_settled):
            place = state.settled[number]
            one, count = state.active[place], state.place_flows[place]
            state.place_rates[place] = share
            for link in range(n_links):
                left[link] -= state.takes[one, link] * (count * share)
                open_flows[link] -= state.takes[one, link] * count


@inlined
def _begin_flow(
    given: Given, fate: Fate, state: PathState, n_active: int, flow: int
) -> int:
    """Let a flow into its class; how many classes have flows then."""
    one = given.class_of[flow]
    place = state.where[one]
    if place < 0:
        place = n_active
        n_active += 1
        state.where[one] = place
        state.active[place] = one
        state.place_sent[place] = 0.0
        state.place_flows[place] = 0.0
        state.place_masks[place] = state.masks[one]
        state.place_caps[place] = state.caps[one]
    count, first = int(state.place_flows[place]), given.slots[one]
    end = state.place_sent[place] + given.wire_bytes[flow]
    push(fate.ends_at, fate.ending, first, count, end, flow)
    state.place_ends[place] = fate.ends_at[first]
    state.place_flows[place] = count + 1
    for link in range(len(state.loads)):
        state.loads[link] += state.takes[one, link]
    return n_active


@inlined
def _finish_flow(
    given: Given, fate: Fate, state: PathState, n_active: int, place: int
) -> int:
    """Take the flow that ends next out of the class at a place; classes with flows."""
    one = state.active[place]
    first, count = given.slots[one], int(state.place_flows[place])
    state.place_sent[place] = fate.ends_at[first]
    for link in range(len(state.loads)):
        state.loads[link] -= state.takes[one, link]
    if count > 1:
        pop(fate.ends_at, fate.ending, first, count)
        state.place_ends[place] = fate.ends_at[first]
        state.place_flows[place] = count - 1
        return n_active
    state.where[one] = -1
    last = n_active - 1
    moved = state.active[last]
    state.where[moved] = place if last != place else -1
    state.active[place] = moved
    state.place_ends[place] = state.place_ends[last]
    state.place_sent[place] = state.place_sent[last]
    state.place_rates[place] = state.place_rates[last]
    state.place_flows[place] = state.place_flows[last]
    state.place_masks[place] = state.place_masks[last]
    state.place_caps[place] = state.place_caps[last]
    return last


@compiled
def _take_places(given: Given, fate: Fate, state: PathState) -> None:
    """Put what is known of classes with flows at their places."""
    for one in range(len(state.flows)):
        state.where[one] = -1
    for place in range(state.n_active[0]):
        one = state.active[place]
        state.where[one] = place
        state.place_ends[place] = fate.ends_at[given.slots[one]]
        state.place_sent[place] = state.sent_bytes[one]
        state.place_rates[place] = state.rates[one]
        state.place_flows[place] = state.flows[one]
        state.place_masks[place] = state.masks[one]
        state.place_caps[place] = state.caps[one]


@compiled
def _give_places(state: PathState, n_active: int) -> None:
    """Note for each class what stands at its place."""
    state.n_active[0] = n_active
    for one in range(len(state.flows)):
        state.flows[one] = 0.0
        state.rates[one] = 0.0
    for place in range(n_active):
        one = state.active[place]
        state.sent_bytes[one] = state.place_sent[place]
        state.rates[one] = state.place_rates[place]
        state.flows[one] = state.place_flows[place]


@compiled
def advance_paths(
    given: Given, fate: Fate, state: PathState, n_events: int, until_ns: int
) -> int:
    """Work through events; how it ended."""
    sent, rates, ends = state.place_sent, state.place_rates, state.place_ends
    _take_places(given, fate, state)
    n_active = state.n_active[0]
    now_ns = fate.clock[0]
    status = MORE
    for _ in range(n_events):
        start_ns = next_start(given, fate)
        wait_ns, place = np.inf, -1
        for number in range(n_active):
            to_send = ends[number] - sent[number]
            if to_send < wait_ns * rates[number]:
                wait_ns, place = to_send / rates[number], number
        wait_ns = max(wait_ns, 0.0)
        is_start = start_ns <= now_ns + wait_ns
        if is_start and start_ns == NEVER:
            status = DONE
            break
        event_ns = max(float(start_ns), now_ns) if is_start else now_ns + wait_ns
        if event_ns > until_ns:
            status = STOPPED
            break
        passed_ns = event_ns - now_ns
        for number in range(n_active):
            sent[number] += rates[number] * passed_ns
        now_ns = event_ns
        fate.counters[N_EVENTS] += 1
        if not is_start:
            flow = fate.ending[given.slots[state.active[place]]]
            n_active = _finish_flow(given, fate, state, n_active, place)
            end_flow(given, fate, flow, now_ns)
        else:
            flow = take_start(given, fate)
            one = given.class_of[flow]
            if given.route_offsets[one] == given.route_offsets[one + 1]:
                end_flow(given, fate, flow, now_ns)
                continue
            n_active = _begin_flow(given, fate, state, n_active, flow)
        _fill(given, state, n_active)
    fate.clock[0] = now_ns
    _give_places(state, n_active)
    return status
