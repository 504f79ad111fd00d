"""Max-min fair rates shared out anew among all flows at each event: the reference.

Every flow has its own rate and what is left of it to be sent; nothing is kept from one
event to the next. This is what m3's flowSim does (Li et al., "m3: Accurate Flow-Level
Performance Estimation using Machine Learning", SIGCOMM 2024), on any graph. It is what
the kernels are held against, and what their time is compared with.
"""
# pyright: reportUntypedFunctionDecorator=false, reportArgumentType=false
# pyright: reportReturnType=false
# An element of an array is a number, which its type does not say.

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from midhaul.network.fluid.arrivals import NEVER, end_flow, next_start, take_start

if TYPE_CHECKING:
    from jaxtyping import Float64, Int32

    from midhaul.network.fluid.arrivals import Fate, Given

    Active = Int32[np.ndarray, " n"]


@njit(cache=True, error_model="numpy")
def fair_rates(  # noqa: C901  a kernel: parts of it would cost calls
    given: Given, active: Active, rates: Float64[np.ndarray, " n"]
) -> None:
    """Write the max-min fair rate of each active flow into ``rates``.

    Progressive filling: the link with the least share settles its flows, again and
    again.
    """
    left = given.capacity.copy()
    count = np.zeros(len(left), np.int64)
    for flow in active:
        one = given.class_of[flow]
        for hop in range(given.route_offsets[one], given.route_offsets[one + 1]):
            count[given.route_links[hop]] += 1
    used = np.flatnonzero(count)
    for link in used:
        if given.is_per_flow[link]:
            left[link] *= count[link]
    todo = active.copy()
    while len(todo) > 0:
        share, bottleneck = np.inf, -1
        for link in used:
            if count[link] > 0 and left[link] / count[link] < share:
                share, bottleneck = left[link] / count[link], link
        n_left = 0
        for flow in todo:
            one = given.class_of[flow]
            route = given.route_links[
                given.route_offsets[one] : given.route_offsets[one + 1]
            ]
            is_held = False
            for link in route:
                is_held = is_held or link == bottleneck
            if not is_held:
                todo[n_left] = flow
                n_left += 1
                continue
            rates[flow] = share
            for link in route:
                left[link] -= share
                count[link] -= 1
        todo = todo[:n_left]


@njit(cache=True, error_model="numpy")
def simulate_from_scratch(given: Given, fate: Fate, n_events: int) -> int:
    """Work through events, all rates anew at each; how many there were."""
    n = len(given.wire_bytes)
    to_send = np.zeros(n)
    rates = np.zeros(n)
    active = np.empty(n, np.int32)
    n_active = 0
    now_ns = 0.0
    for event in range(n_events):
        wait_ns, place = np.inf, -1
        for number in range(n_active):
            flow = active[number]
            if to_send[flow] < wait_ns * rates[flow]:
                wait_ns, place = to_send[flow] / rates[flow], number
        start_ns = next_start(given, fate)
        if start_ns == NEVER and place < 0:
            return event
        is_start = start_ns <= now_ns + wait_ns
        event_ns = max(float(start_ns), now_ns) if is_start else now_ns + wait_ns
        for number in range(n_active):
            flow = active[number]
            to_send[flow] -= rates[flow] * (event_ns - now_ns)
        now_ns = event_ns
        if is_start:
            flow = take_start(given, fate)
            one = given.class_of[flow]
            if given.route_offsets[one] == given.route_offsets[one + 1]:
                end_flow(given, fate, flow, now_ns)
                continue
            to_send[flow] = given.wire_bytes[flow]
            active[n_active] = flow
            n_active += 1
        else:
            flow = active[place]
            n_active -= 1
            active[place] = active[n_active]
            end_flow(given, fate, flow, now_ns)
        fair_rates(given, active[:n_active], rates)
    return n_events
