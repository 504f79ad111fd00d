"""Max-min fair rates on any graph: at an event only what it can change is shared anew.

Problem: a flow starts or ends, and most rates of a large network stay what they were.
Which ones change is not known before they are computed.

Algorithm: progressive filling (Bertsekas and Gallager, "Data Networks", 2nd edition,
1992, section 6.5.2) of a set of *open* classes, while all others keep their rates. It
begins with the classes that the event is about, and links are taken up in rising order
of the level at which something happens on them. That is the lesser of two:

- the link's *share*: what others leave of it over its open flows. There its open
  classes are settled, unless a class that is not open has more: then those with more
  than the level at which all of them are even become open (*pull*);
- the rate of the classes that had their bottleneck there. If the share is higher, they
  have lost it, and become open (*release*).

A class that becomes open has at least the present level, so a level that was passed is
never looked at again: each open class is settled once. In the end every class has a
link that is full and on which nobody has more, which is what max-min fair means
(section 6.5.2, Proposition), and only one allocation is that.

Differences:

1. Filling is over classes, flows with the same route, weighted by their flows.
2. Two rates are the same when they differ by less than ``SAME``, so that rounding does
   not open classes without end. What is left of a link is summed up anew at each event.
3. Events of the same moment are one event.
4. Links may change their rates; then all classes on such a link are open.
"""
# pyright: reportArgumentType=false, reportReturnType=false
# An element of an array is a number, which its type does not say.

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from midhaul.network.fluid.arrivals import (
    DONE,
    FULL,
    MORE,
    N_EVENTS,
    NEVER,
    STOPPED,
    end_flow,
    next_start,
    take_start,
)
from midhaul.network.fluid.heaps import place, pop, push, remove
from midhaul.network.packet.events import compiled

if TYPE_CHECKING:
    from jaxtyping import Float64, Int32, Int64

    from midhaul.network.fluid.arrivals import Fate, Given

SAME = 1e-12
"""Relative difference below which two rates are one."""

_TIE = 1e-15  # relative difference of times that are one

FLOWS, FIRST, END, BOTTLENECK, MARK, DUE_AT, IS_WATCHED = range(7)
"""Columns of ``GraphState.classes``: flows; where its hops begin and end; the link that
holds it; twice the event in which it was last open, plus 1 when settled; its place in
the heap of ends; whether its changes are kept."""

SENT, SINCE, RATE, DUE = range(4)
"""Columns of ``GraphState.moving``: virtual time; when that was so; rate; next end."""

MEMBERS, DEGREE, TOUCHED, QUEUED_AT, IS_TRACKED, IS_PER_FLOW = range(6)
"""Columns of ``GraphState.links``: where its members begin; how many there are; the
event in which it was last looked at; its place in the heap of levels; whether its load
is summed up over time; whether it has its rate for every flow."""

CAPACITY, LEFT, OPEN, LEVEL, KEY, LOAD, LOADED_NS, BUSY_NS, SENT_BYTES = range(9)
"""Columns of ``GraphState.levels``: rate; what others leave to open classes; flows of
these; rate of those that have their bottleneck here; key in the heap; load, since when,
and time and bytes so far of a link that is tracked."""

LINK, OWNER, MEMBER, PLACE = range(4)
"""Columns of ``GraphState.hops``: link and class of a hop; a slot of a link's members;
which slot is this hop's."""

EVENT, N_DUE, N_QUEUED, N_CHANGED, N_TOUCHED, NEXT_CHANGE, N_ROWS = range(7)
"""Places in ``GraphState.totals``."""


class GraphState(NamedTuple):
    """What happens on ``k`` classes, ``m`` links and ``h`` hops at a moment."""

    classes: Int64[np.ndarray, "k 7"]
    moving: Float64[np.ndarray, "k 4"]
    links: Int64[np.ndarray, "m 6"]
    levels: Float64[np.ndarray, "m 9"]
    hops: Int32[np.ndarray, "h 4"]
    due: Int32[np.ndarray, " k"]
    queue: Int32[np.ndarray, " m"]
    changed: Int32[np.ndarray, " k"]
    touched: Int32[np.ndarray, " m"]
    totals: Int64[np.ndarray, " 7"]
    rows: Float64[np.ndarray, "r 4"]


class RateChanges(NamedTuple):
    """When which link gets which rate, in bytes per nanosecond, in order of time."""

    time_ns: Int64[np.ndarray, " c"]
    link: Int32[np.ndarray, " c"]
    capacity: Float64[np.ndarray, " c"]


def graph_state(
    given: Given, changes: RateChanges, is_watched: np.ndarray, n_rows: int
) -> GraphState:
    """Nothing has started yet; ``is_watched`` is of classes."""
    k, m, h = len(given.slots) - 1, len(given.capacity), len(given.route_links)
    classes = np.zeros((k, 7), np.int64)
    classes[:, FIRST] = given.route_offsets[:-1]
    classes[:, END] = given.route_offsets[1:]
    classes[:, BOTTLENECK] = classes[:, DUE_AT] = -1
    classes[:, IS_WATCHED] = is_watched
    moving = np.zeros((k, 4))
    moving[:, DUE] = np.inf
    links = np.zeros((m, 6), np.int64)
    degrees = np.bincount(given.route_links, minlength=m)
    links[:, MEMBERS] = np.cumsum(degrees) - degrees
    links[:, QUEUED_AT] = -1
    links[changes.link, IS_TRACKED] = 1
    links[:, IS_PER_FLOW] = given.is_per_flow
    levels = np.zeros((m, 9))
    levels[:, CAPACITY] = given.capacity
    hops = np.zeros((h, 4), np.int32)
    hops[:, LINK] = given.route_links
    hops[:, OWNER] = np.repeat(np.arange(k), np.diff(given.route_offsets))
    return GraphState(
        classes=classes,
        moving=moving,
        links=links,
        levels=levels,
        hops=hops,
        due=np.zeros(k, np.int32),
        queue=np.zeros(m, np.int32),
        changed=np.zeros(k, np.int32),
        touched=np.zeros(m, np.int32),
        totals=np.zeros(7, np.int64),
        rows=np.zeros((n_rows, 4)),
    )


@compiled
def _share(state: GraphState, link: int) -> float:
    """What an open flow of a link would get; infinite where none is open."""
    n_open = state.levels[link, OPEN]
    if n_open == 0:
        return np.inf
    if state.links[link, IS_PER_FLOW]:
        return state.levels[link, CAPACITY]
    return max(state.levels[link, LEFT], 0.0) / n_open


@compiled
def _key(state: GraphState, link: int) -> float:
    """The level at which something happens on a link; infinite for none."""
    levels = state.levels
    if levels[link, OPEN] > 0:
        return min(_share(state, link), levels[link, LEVEL])
    if levels[link, LEFT] > SAME * levels[link, CAPACITY]:  # others may have more
        return levels[link, LEVEL]
    return np.inf


@compiled
def _queue(state: GraphState, link: int) -> None:
    """Bring a link to its place in the heap of levels, or out of it."""
    where, keys, totals = state.links[:, QUEUED_AT], state.levels[:, KEY], state.totals
    key = _key(state, link)
    if key < np.inf:
        keys[link] = key
        totals[N_QUEUED] = place(state.queue, where, keys, totals[N_QUEUED], link)
    else:
        totals[N_QUEUED] = remove(state.queue, where, keys, totals[N_QUEUED], link)


@compiled
def _touch(state: GraphState, link: int) -> None:
    """Sum up what a link carries, unless that was done in this event."""
    classes, links, levels, hops = state.classes, state.links, state.levels, state.hops
    totals = state.totals
    if links[link, TOUCHED] == totals[EVENT]:
        return
    links[link, TOUCHED] = totals[EVENT]
    state.touched[totals[N_TOUCHED]] = link
    totals[N_TOUCHED] += 1
    left, level = levels[link, CAPACITY], np.inf
    first = links[link, MEMBERS]
    for slot in range(first, first + links[link, DEGREE]):
        one = hops[hops[slot, MEMBER], OWNER]
        rate = state.moving[one, RATE]
        left -= classes[one, FLOWS] * rate
        if classes[one, BOTTLENECK] == link:
            level = min(level, rate)
    levels[link, LEFT], levels[link, OPEN], levels[link, LEVEL] = left, 0.0, level


@compiled
def _open(state: GraphState, one: int) -> None:
    """Let a class have a new rate; its links are to be queued anew."""
    classes, levels, totals = state.classes, state.levels, state.totals
    classes[one, MARK] = 2 * totals[EVENT]
    state.changed[totals[N_CHANGED]] = one
    totals[N_CHANGED] += 1
    count = classes[one, FLOWS]
    for hop in range(classes[one, FIRST], classes[one, END]):
        link = state.hops[hop, LINK]
        _touch(state, link)
        levels[link, LEFT] += count * state.moving[one, RATE]
        levels[link, OPEN] += count


@compiled
def _open_and_queue(state: GraphState, one: int) -> None:
    _open(state, one)
    for hop in range(state.classes[one, FIRST], state.classes[one, END]):
        _queue(state, state.hops[hop, LINK])


@compiled
def _set_rate(state: GraphState, one: int, rate: float, now_ns: float) -> None:
    """Give a class another rate from now on."""
    moving, totals = state.moving, state.totals
    if rate == moving[one, RATE]:
        return
    moving[one, SENT] += moving[one, RATE] * (now_ns - moving[one, SINCE])
    moving[one, SINCE] = now_ns
    moving[one, RATE] = rate
    if state.classes[one, IS_WATCHED]:
        row = state.rows[totals[N_ROWS]]
        row[0], row[1], row[2], row[3] = now_ns, one, rate, moving[one, SENT]
        totals[N_ROWS] += 1


@compiled
def _pull(state: GraphState, link: int, share: float) -> bool:
    """Open those that have more than an even level of a link; whether there are any."""
    classes, links, levels, hops = state.classes, state.links, state.levels, state.hops
    first = links[link, MEMBERS]
    end = first + links[link, DEGREE]
    closed = 2 * state.totals[EVENT]
    level = share
    while True:
        left, count, n_more = levels[link, LEFT], levels[link, OPEN], 0
        for slot in range(first, end):
            one = hops[hops[slot, MEMBER], OWNER]
            rate = state.moving[one, RATE]
            if classes[one, MARK] < closed and rate > level * (1 + SAME):
                left += classes[one, FLOWS] * rate
                count += classes[one, FLOWS]
                n_more += 1
        if n_more == 0 or left <= level * count * (1 + SAME):
            break
        level = left / count
    if n_more == 0:
        level = share  # rounding: nobody has more than the level with those who have
    n_opened = 0
    for slot in range(first, end):
        one = hops[hops[slot, MEMBER], OWNER]
        if classes[one, MARK] < closed and state.moving[one, RATE] > level * (1 + SAME):
            _open_and_queue(state, one)
            n_opened += 1
    return n_opened > 0


@compiled
def _release(state: GraphState, link: int) -> None:
    """Open those that had their bottleneck at a link which has more for them now."""
    classes, links, hops = state.classes, state.links, state.hops
    first = links[link, MEMBERS]
    state.levels[link, LEVEL] = np.inf
    for slot in range(first, first + links[link, DEGREE]):
        one = hops[hops[slot, MEMBER], OWNER]
        is_closed = classes[one, MARK] < 2 * state.totals[EVENT]
        if is_closed and classes[one, BOTTLENECK] == link:
            _open_and_queue(state, one)
    _queue(state, link)


@compiled
def _settle(state: GraphState, link: int, share: float, now_ns: float) -> None:
    """Give the open classes of a link its share."""
    classes, links, levels, hops = state.classes, state.links, state.levels, state.hops
    first, open_mark = links[link, MEMBERS], 2 * state.totals[EVENT]
    for slot in range(first, first + links[link, DEGREE]):
        one = hops[hops[slot, MEMBER], OWNER]
        if classes[one, MARK] != open_mark:
            continue
        classes[one, MARK] = open_mark + 1
        classes[one, BOTTLENECK] = link
        _set_rate(state, one, share, now_ns)
        count = classes[one, FLOWS]
        for hop in range(classes[one, FIRST], classes[one, END]):
            other = hops[hop, LINK]
            levels[other, LEFT] -= count * share
            levels[other, OPEN] -= count
    levels[link, LEVEL] = np.inf
    levels[link, LEFT] = 0.0
    _queue(state, link)


@compiled
def share_out(state: GraphState, now_ns: float) -> None:
    """Settle every open class, and all that this opens."""
    levels, totals = state.levels, state.totals
    for number in range(totals[N_TOUCHED]):
        _queue(state, state.touched[number])
    while totals[N_QUEUED] > 0:
        link = state.queue[0]
        if _key(state, link) > levels[link, KEY]:
            _queue(state, link)
            continue
        share = _share(state, link)
        if share > levels[link, LEVEL] * (1 + SAME):
            _release(state, link)
        elif not _pull(state, link, share):
            _settle(state, link, share, now_ns)


@compiled
def _enter(state: GraphState, one: int) -> None:
    """Make a class a member of its links."""
    links, hops = state.links, state.hops
    for hop in range(state.classes[one, FIRST], state.classes[one, END]):
        link = hops[hop, LINK]
        slot = links[link, MEMBERS] + links[link, DEGREE]
        hops[slot, MEMBER] = hop
        hops[hop, PLACE] = slot
        links[link, DEGREE] += 1


@compiled
def _leave(state: GraphState, one: int) -> None:
    """Take a class out of the members of its links."""
    links, hops = state.links, state.hops
    for hop in range(state.classes[one, FIRST], state.classes[one, END]):
        link = hops[hop, LINK]
        links[link, DEGREE] -= 1
        last = hops[links[link, MEMBERS] + links[link, DEGREE], MEMBER]
        hops[hops[hop, PLACE], MEMBER] = last
        hops[last, PLACE] = hops[hop, PLACE]


@compiled
def _add(state: GraphState, one: int, count: int) -> None:
    """Open a class, and change how many flows it has."""
    classes = state.classes
    if classes[one, MARK] < 2 * state.totals[EVENT]:
        _open(state, one)
        if classes[one, FLOWS] == 0:
            _enter(state, one)
    classes[one, FLOWS] += count
    for hop in range(classes[one, FIRST], classes[one, END]):
        state.levels[state.hops[hop, LINK], OPEN] += count


@compiled
def _reschedule(given: Given, fate: Fate, state: GraphState, now_ns: float) -> None:
    """Find the next end of each class that was open."""
    classes, moving, totals = state.classes, state.moving, state.totals
    where, keys = classes[:, DUE_AT], moving[:, DUE]
    for number in range(totals[N_CHANGED]):
        one = state.changed[number]
        if classes[one, FLOWS] == 0:
            moving[one, SENT], moving[one, SINCE] = 0.0, now_ns
            _set_rate(state, one, 0.0, now_ns)
            _leave(state, one)
            classes[one, BOTTLENECK] = -1
            totals[N_DUE] = remove(state.due, where, keys, totals[N_DUE], one)
            continue
        to_send = max(fate.ends_at[given.slots[one]] - moving[one, SENT], 0.0)
        rate = moving[one, RATE]
        due_ns = moving[one, SINCE] + to_send / rate if rate > 0 else np.inf
        if due_ns != keys[one] or where[one] < 0:
            keys[one] = due_ns
            totals[N_DUE] = place(state.due, where, keys, totals[N_DUE], one)


@compiled
def _start_flows(given: Given, fate: Fate, state: GraphState, now_ns: float) -> int:
    """Let in all flows that start now; how many they are."""
    moving, n = state.moving, 0
    while next_start(given, fate) <= now_ns:
        flow = take_start(given, fate)
        one = given.class_of[flow]
        n += 1
        if state.classes[one, FIRST] == state.classes[one, END]:
            end_flow(given, fate, flow, now_ns)
            continue
        moving[one, SENT] += moving[one, RATE] * (now_ns - moving[one, SINCE])
        moving[one, SINCE] = now_ns
        end = moving[one, SENT] + given.wire_bytes[flow]
        first, count = given.slots[one], state.classes[one, FLOWS]
        push(fate.ends_at, fate.ending, first, count, end, flow)
        _add(state, one, 1)
    return n


@compiled
def _end_flows(given: Given, fate: Fate, state: GraphState, now_ns: float) -> int:
    """Let out all flows that end now; how many they are."""
    classes, moving, n = state.classes, state.moving, 0
    where, keys = classes[:, DUE_AT], moving[:, DUE]
    while state.totals[N_DUE] > 0 and keys[state.due[0]] <= now_ns * (1 + _TIE):
        one = state.due[0]
        first = given.slots[one]
        moving[one, SENT], moving[one, SINCE] = fate.ends_at[first], now_ns
        while classes[one, FLOWS] > 0 and fate.ends_at[first] <= moving[one, SENT]:
            flow = fate.ending[first]
            pop(fate.ends_at, fate.ending, first, classes[one, FLOWS])
            _add(state, one, -1)
            end_flow(given, fate, flow, now_ns)
            n += 1
        state.totals[N_DUE] = remove(state.due, where, keys, state.totals[N_DUE], one)
    return n


@compiled
def _carry(state: GraphState, link: int, now_ns: float) -> None:
    """Add what a link has carried since its load changed."""
    levels = state.levels
    carried = levels[link, LOAD] * (now_ns - levels[link, LOADED_NS])
    levels[link, LOADED_NS] = now_ns
    levels[link, SENT_BYTES] += carried
    if carried > 0:
        levels[link, BUSY_NS] += carried / levels[link, CAPACITY]


@compiled
def _change_rates(state: GraphState, changes: RateChanges, now_ns: float) -> int:
    """Give links the rates that they have from now on; how many they are."""
    links, hops, totals, n = state.links, state.hops, state.totals, 0
    at = totals[NEXT_CHANGE]
    while at < len(changes.time_ns) and changes.time_ns[at] <= now_ns:
        link = changes.link[at]
        _touch(state, link)
        _carry(state, link, now_ns)
        state.levels[link, LEFT] += changes.capacity[at] - state.levels[link, CAPACITY]
        state.levels[link, CAPACITY] = changes.capacity[at]
        first = links[link, MEMBERS]
        for slot in range(first, first + links[link, DEGREE]):
            one = hops[hops[slot, MEMBER], OWNER]
            if state.classes[one, MARK] < 2 * totals[EVENT]:
                _open(state, one)
        at += 1
        n += 1
    totals[NEXT_CHANGE] = at
    return n


@compiled
def _sum_up_loads(state: GraphState, now_ns: float) -> None:
    """Add what tracked links have carried, and note their loads from now on."""
    links, levels, hops = state.links, state.levels, state.hops
    for number in range(state.totals[N_TOUCHED]):
        link = state.touched[number]
        if not links[link, IS_TRACKED]:
            continue
        _carry(state, link, now_ns)
        load, first = 0.0, links[link, MEMBERS]
        for slot in range(first, first + links[link, DEGREE]):
            one = hops[hops[slot, MEMBER], OWNER]
            load += state.classes[one, FLOWS] * state.moving[one, RATE]
        levels[link, LOAD] = load


@compiled
def advance_graph(
    given: Given,
    fate: Fate,
    state: GraphState,
    changes: RateChanges,
    n_events: int,
    until_ns: int,
) -> int:
    """Work through events; how it ended."""
    totals, n_done, status = state.totals, 0, MORE
    n_watched = 0
    for one in range(len(state.classes)):
        n_watched += state.classes[one, IS_WATCHED]
    while n_done < n_events:
        if totals[N_ROWS] + 2 * n_watched > len(state.rows):
            status = FULL
            break
        event_ns = max(float(next_start(given, fate)), fate.clock[0])
        if totals[N_DUE] > 0:
            event_ns = min(event_ns, state.moving[state.due[0], DUE])
        is_last = event_ns >= NEVER
        if totals[NEXT_CHANGE] < len(changes.time_ns):
            is_last = is_last and totals[N_DUE] == 0
            event_ns = min(event_ns, float(changes.time_ns[totals[NEXT_CHANGE]]))
        if is_last:
            status = DONE
            break
        if event_ns > until_ns:
            status = STOPPED
            break
        totals[EVENT] += 1
        totals[N_CHANGED] = totals[N_TOUCHED] = 0
        fate.clock[0] = event_ns
        n = _end_flows(given, fate, state, event_ns)
        n += _change_rates(state, changes, event_ns)
        n += _start_flows(given, fate, state, event_ns)
        share_out(state, event_ns)
        _reschedule(given, fate, state, event_ns)
        _sum_up_loads(state, event_ns)
        fate.counters[N_EVENTS] += n
        n_done += n
    return status
