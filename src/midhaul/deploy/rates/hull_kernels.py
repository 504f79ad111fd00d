"""Numba kernels of the hull greedy, on flat arrays.

Options are indices of the flat arrays of steps, and -1 for no step. Each kernel's plain
Python is its attribute ``py_func``; ``rates/reference.py`` has the same written simply.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit  # pyright: ignore[reportUnknownVariableType]

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

    Floats = Float64[np.ndarray, " m"]
    Ints = Int64[np.ndarray, " m"]


@njit(cache=True)  # pyright: ignore[reportUntypedFunctionDecorator]
def segments(
    offsets: Ints, rates: Floats, values: Floats, uplink: float
) -> tuple[Ints, Ints, Floats, Floats, Floats]:
    """Upper concave hull of every table, from rate 0 and value 0, as segments.

    Steps that cost more than the whole uplink are left out. Within a stream slopes fall
    strictly, and the segments of a stream stand together.

    Returns:
        Stream, option at the end, extra rate, extra value and slope of each segment.
    """
    streams = np.empty(len(rates), np.int64)
    ends = np.empty(len(rates), np.int64)
    extra_rates = np.empty(len(rates))
    extra_values = np.empty(len(rates))
    slopes = np.empty(len(rates))
    n = 0
    for stream in range(len(offsets) - 1):
        first = n
        for option in range(offsets[stream], offsets[stream + 1]):
            if rates[option] > uplink:
                break
            while True:
                extra_rate, extra_value = rates[option], values[option]
                if n > first:
                    extra_rate -= rates[ends[n - 1]]
                    extra_value -= values[ends[n - 1]]
                slope = extra_value / extra_rate if extra_rate > 0 else np.inf
                if n > first and slope >= slopes[n - 1]:
                    n -= 1
                else:
                    break
            if extra_value > 0:
                streams[n], ends[n] = stream, option
                extra_rates[n], extra_values[n] = extra_rate, extra_value
                slopes[n] = slope
                n += 1
    return streams[:n], ends[:n], extra_rates[:n], extra_values[:n], slopes[:n]


@njit(cache=True)  # pyright: ignore[reportUntypedFunctionDecorator]
def take(
    order: Ints,
    streams: Ints,
    ends: Ints,
    extra_rates: Floats,
    extra_values: Floats,
    slopes: Floats,
    n_streams: int,
    uplink: float,
) -> tuple[Ints, float, float]:
    """Take segments in an order of falling slopes while they fit.

    The first that does not fit ends the relaxation: its share is the bound. Later ones
    are taken where they fit and all before them in their stream were taken.

    Returns:
        The option of each stream, the bound, and the slope at the break, 0 where
        everything fits.
    """
    chosen = np.full(n_streams, -1, np.int64)
    is_closed = np.zeros(n_streams, np.bool_)
    rest = uplink
    value, bound, price = 0.0, -1.0, 0.0
    for segment in order:
        stream = streams[segment]
        if is_closed[stream]:
            continue
        if extra_rates[segment] <= rest:
            rest -= extra_rates[segment]
            value += extra_values[segment]
            chosen[stream] = ends[segment]
            continue
        is_closed[stream] = True
        if bound < 0:
            price = slopes[segment]
            bound = value + price * rest
    return chosen, float(max(value, bound)), float(price)


@njit(cache=True)  # pyright: ignore[reportUntypedFunctionDecorator]
def core(
    offsets: Ints,
    rates: Floats,
    values: Floats,
    uplink: float,
    price: float,
    gap: float,
) -> tuple[Ints, Ints, Floats]:
    """Options that a solution within a gap of the bound can hold.

    At a price per bit/s the bound is the price of the uplink and the best value less
    price of every stream. An option below the best of its stream by more than the gap
    costs every solution that holds it more than the gap.

    Returns:
        Stream, option and loss against the best of the stream, streams in order. Every
        stream is there, with its best option at least.
    """
    n_streams = len(offsets) - 1
    streams = np.empty(len(rates) + n_streams, np.int64)
    options = np.empty(len(rates) + n_streams, np.int64)
    losses = np.empty(len(rates) + n_streams)
    n = 0
    for stream in range(n_streams):
        best = 0.0
        for option in range(offsets[stream], offsets[stream + 1]):
            if rates[option] > uplink:
                break
            best = max(best, values[option] - price * rates[option])
        if best <= gap:
            streams[n], options[n], losses[n] = stream, -1, best
            n += 1
        for option in range(offsets[stream], offsets[stream + 1]):
            if rates[option] > uplink:
                break
            loss = best - (values[option] - price * rates[option])
            if loss <= gap:
                streams[n], options[n], losses[n] = stream, option, loss
                n += 1
    return streams[:n], options[:n], losses[:n]


@njit(cache=True)  # pyright: ignore[reportUntypedFunctionDecorator]
def best_pair(
    streams: Ints, extra_rates: Floats, extra_values: Floats, rest: float
) -> tuple[int, int, float]:
    """The best one or two moves that fit together, of different streams.

    Args:
        streams: stream of each move.
        extra_rates: rate that each takes, or gives back, rising.
        extra_values: value that each adds, or gives up.
        rest: rate that is free.

    Returns:
        Both moves, -1 for none, and the value that they add.
    """
    n = len(streams)
    best = (-1, -1, 0.0)
    first = second = -1  # of the moves that fit beside this one, of different streams
    partner = 0
    for move in range(n - 1, -1, -1):
        while partner < n and extra_rates[partner] + extra_rates[move] <= rest:
            if first < 0 or extra_values[partner] > extra_values[first]:
                if first >= 0 and streams[first] != streams[partner]:
                    second = first
                first = partner
            elif streams[partner] != streams[first] and (
                second < 0 or extra_values[partner] > extra_values[second]
            ):
                second = partner
            partner += 1
        if extra_rates[move] <= rest and extra_values[move] > best[2]:
            best = (move, -1, extra_values[move])
        other = first
        if other >= 0 and streams[other] == streams[move]:
            other = second
        if other >= 0 and extra_values[move] + extra_values[other] > best[2]:
            best = (move, other, extra_values[move] + extra_values[other])
    return best


@njit(cache=True)  # pyright: ignore[reportUntypedFunctionDecorator]
def pay(
    after: Ints,
    rates: Floats,
    values: Floats,
    hulls: tuple[Ints, Ints, Ints],
    keepers: tuple[int, int],
    balance: tuple[float, float, float],
) -> tuple[float, float]:
    """Have streams go down their hulls until a rate is paid, cheapest segments first.

    Args:
        after: option of each stream, changed in place.
        rates: of all options, and 0 at the end, for the option -1.
        values: likewise.
        hulls: order, stream and end of the segments of all hulls.
        keepers: two streams that do not pay.
        balance: free rate, negative before; gain; and what the gain must exceed:
            segments that would take it below are passed over.

    Returns:
        Free rate, negative where nobody can pay the rest, and gain.
    """
    order, streams, ends = hulls
    free, gain, least = balance
    for segment in order[::-1]:
        payer = streams[segment]
        if free >= 0:
            break
        if payer in keepers or ends[segment] > after[payer]:
            continue
        is_first = segment == 0 or streams[segment - 1] != payer
        lower = -1 if is_first else ends[segment - 1]
        loss = values[after[payer]] - values[lower]
        if gain - loss > least:
            free += rates[after[payer]] - rates[lower]
            gain -= loss
            after[payer] = lower
    return free, gain


@njit(cache=True)  # pyright: ignore[reportUntypedFunctionDecorator]
def best_paid(
    changes: tuple[Ints, Ints, Ints, Ints],
    chosen: Ints,
    rates: Floats,
    values: Floats,
    hulls: tuple[Ints, Ints, Ints],
    rest: float,
) -> tuple[Ints, float]:
    """The best change of one or two streams that others pay by going down their hulls.

    Args:
        changes: stream and option of each, and a second stream and option, or the
            first again.
        chosen: option of each stream now.
        rates: of all options, and 0 at the end, for the option -1.
        values: likewise.
        hulls: order, stream and end of the segments of all hulls.
        rest: rate that is free now.

    Returns:
        The options after the change, and the value that it adds; 0 where none adds any.
    """
    best, most = chosen, 0.0
    for change in range(len(changes[0])):
        one, two = changes[0][change], changes[2][change]
        option, other = changes[1][change], changes[3][change]
        free = rest + rates[chosen[one]] - rates[option]
        gain = values[option] - values[chosen[one]]
        if one != two:
            free += rates[chosen[two]] - rates[other]
            gain += values[other] - values[chosen[two]]
        if gain <= most:
            continue
        after = chosen.copy()
        after[one], after[two] = option, other
        balance = (free, gain, most)
        free, gain = pay(after, rates, values, hulls, (one, two), balance)
        if free >= 0 and gain > most:
            best, most = after, gain
    return best, float(most)
