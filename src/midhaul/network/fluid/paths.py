"""Max-min fair rates where routes are few: all of them are shared out at each event.

A class is all flows with the same route. They have the same rate at all times, so one
number says what each of them has been sent since the class was last empty (its virtual
time), and a heap of the values of it at which they end says which is next. An event
costs what the classes with flows cost, however many flows they have.

Algorithm: progressive filling (Bertsekas and Gallager, "Data Networks", 2nd edition,
1992, section 6.5.2), with virtual times as in fair queueing (Demers, Keshav and
Shenker, SIGCOMM 1989).

Difference: filling is over classes, weighted by their flows, instead of over flows.
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
from midhaul.network.packet.events import compiled

if TYPE_CHECKING:
    from jaxtyping import Float64, Int32, Int64

    from midhaul.network.fluid.arrivals import Fate, Given


MOST_CLASSES, MOST_LINKS = 64, 63
"""Up to so many this kernel is the quicker one; a set of links is one number."""


class PathState(NamedTuple):
    """What happens on ``k`` classes and ``m`` links at a moment.

    ``active`` has the classes with flows, ``n_active`` of them; ``sent_bytes`` is the
    virtual time of each class, ``masks`` the set of its links; ``caps`` is what
    bounds each of its flows by itself, and ``cap_links`` that link. ``left``,
    ``open_flows`` and ``todo`` are scratch.
    """

    flows: Float64[np.ndarray, " k"]
    sent_bytes: Float64[np.ndarray, " k"]
    rates: Float64[np.ndarray, " k"]
    masks: Int64[np.ndarray, " k"]
    loads: Float64[np.ndarray, " m"]
    active: Int32[np.ndarray, " k"]
    n_active: Int64[np.ndarray, " 1"]
    left: Float64[np.ndarray, " m"]
    open_flows: Float64[np.ndarray, " m"]
    todo: Int32[np.ndarray, " k"]
    caps: Float64[np.ndarray, " k"]
    cap_links: Int64[np.ndarray, " k"]


def path_state(given: Given) -> PathState:
    """Nothing has started yet."""
    k, m = len(given.slots) - 1, len(given.capacity)
    masks = np.zeros(k, np.int64)
    owners = np.repeat(np.arange(k), np.diff(given.route_offsets))
    np.bitwise_or.at(masks, owners, np.int64(1) << given.route_links.astype(np.int64))
    caps, cap_links = np.full(k, np.inf), np.full(k, -1, np.int64)
    bounds = given.is_per_flow[given.route_links]
    caps[owners[bounds]] = given.capacity[given.route_links[bounds]]
    cap_links[owners[bounds]] = given.route_links[bounds]
    return PathState(
        flows=np.zeros(k),
        sent_bytes=np.zeros(k),
        rates=np.zeros(k),
        masks=masks,
        loads=np.zeros(m),
        active=np.zeros(k, np.int32),
        n_active=np.zeros(1, np.int64),
        left=np.zeros(m),
        open_flows=np.zeros(m),
        todo=np.zeros(k, np.int32),
        caps=caps,
        cap_links=cap_links,
    )


@compiled
def fill(  # noqa: C901  a kernel: parts of it would cost calls
    given: Given, state: PathState
) -> None:
    """Give every class with flows its max-min fair rate."""
    left, open_flows, todo = state.left, state.open_flows, state.todo
    n_links = 0  # that flows share; those that bound single flows are at the end
    while n_links < len(given.capacity) and not given.is_per_flow[n_links]:
        left[n_links] = given.capacity[n_links]
        open_flows[n_links] = state.loads[n_links]
        n_links += 1
    has_caps = n_links < len(given.capacity)
    n_todo = state.n_active[0]
    for place in range(n_todo):
        todo[place] = state.active[place]
    while n_todo > 0:
        share, bottleneck = np.inf, 0
        for link in range(n_links):
            if open_flows[link] > 0 and left[link] < share * open_flows[link]:
                share, bottleneck = left[link] / open_flows[link], link
        if has_caps:
            for place in range(n_todo):
                if state.caps[todo[place]] < share:
                    share = state.caps[todo[place]]
                    bottleneck = state.cap_links[todo[place]]
        n_left = 0
        for place in range(n_todo):
            one = todo[place]
            if not (state.masks[one] >> bottleneck) & 1:
                todo[n_left] = one
                n_left += 1
                continue
            state.rates[one] = share
            count = state.flows[one]
            for hop in range(given.route_offsets[one], given.route_offsets[one + 1]):
                link = given.route_links[hop]
                left[link] -= count * share
                open_flows[link] -= count
        n_todo = n_left


@compiled
def begin_flow(given: Given, fate: Fate, state: PathState, flow: int) -> None:
    """Let a flow into its class."""
    one = given.class_of[flow]
    count = int(state.flows[one])
    if count == 0:
        state.sent_bytes[one] = 0.0
        state.active[state.n_active[0]] = one
        state.n_active[0] += 1
    end = state.sent_bytes[one] + given.wire_bytes[flow]
    push(fate.ends_at, fate.ending, given.slots[one], count, end, flow)
    state.flows[one] = count + 1
    for hop in range(given.route_offsets[one], given.route_offsets[one + 1]):
        state.loads[given.route_links[hop]] += 1


@compiled
def finish_flow(given: Given, fate: Fate, state: PathState, place: int) -> int:
    """Take the flow that ends next out of the class at a place of ``active``."""
    one = state.active[place]
    first, count = given.slots[one], int(state.flows[one])
    state.sent_bytes[one] = fate.ends_at[first]
    flow = fate.ending[first]
    pop(fate.ends_at, fate.ending, first, count)
    state.flows[one] = count - 1
    for hop in range(given.route_offsets[one], given.route_offsets[one + 1]):
        state.loads[given.route_links[hop]] -= 1
    if count == 1:
        state.rates[one] = 0.0
        state.n_active[0] -= 1
        state.active[place] = state.active[state.n_active[0]]
    return flow


@compiled
def advance_paths(
    given: Given, fate: Fate, state: PathState, n_events: int, until_ns: int
) -> int:
    """Work through events; how it ended."""
    active, sent_bytes, rates = state.active, state.sent_bytes, state.rates
    now_ns = fate.clock[0]
    status = MORE
    for _ in range(n_events):
        start_ns = next_start(given, fate)
        wait_ns, place = np.inf, -1
        n_active = state.n_active[0]
        for number in range(n_active):
            one = active[number]
            to_send = fate.ends_at[given.slots[one]] - sent_bytes[one]
            if to_send < wait_ns * rates[one]:
                wait_ns, place = to_send / rates[one], number
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
            sent_bytes[active[number]] += rates[active[number]] * passed_ns
        now_ns = event_ns
        fate.counters[N_EVENTS] += 1
        if not is_start:
            end_flow(given, fate, finish_flow(given, fate, state, place), now_ns)
        else:
            flow = take_start(given, fate)
            one = given.class_of[flow]
            if given.route_offsets[one] == given.route_offsets[one + 1]:
                end_flow(given, fate, flow, now_ns)
                continue
            begin_flow(given, fate, state, flow)
        fill(given, state)
    fate.clock[0] = now_ns
    return status
