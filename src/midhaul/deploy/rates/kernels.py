"""Numba kernels of the hull greedy and of the exact knapsack, on flat arrays.

Options are indices of the flat arrays of steps, and -1 for no step. Each kernel's plain
Python is its attribute ``py_func``; ``tests/support/rates_reference.py`` has it simply.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit  # pyright: ignore[reportUnknownVariableType]

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

    Floats = Float64[np.ndarray, " m"]
    Ints = Int64[np.ndarray, " m"]
    States = tuple[Floats, Floats, Ints, Ints]

MOST_DEAR = 32
"""Segments that are passed over before a change counts as too dear."""


@njit(cache=True)  # pyright: ignore[reportUntypedFunctionDecorator]
def segments(
    offsets: Ints, rates: Floats, values: Floats, uplink: float
) -> tuple[Ints, Ints, Floats, Floats, Floats]:
    """Upper concave hull of every table, from rate 0 and value 0, as segments.

    Steps that cost more than the whole uplink are left out. Within a stream slopes fall
    strictly, and the segments of a stream stand together.

    The answer is stream, option at the end, extra rate, extra value and slope of each.
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

    The answer is the option of each stream, the bound, and the slope at the break, 0
    where everything fits.
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

    The answer is stream, option and loss against the best of the stream, in order;
    every stream is there, with its best option at least.
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
    """The best one or two moves of different streams (-1: none), and their gain.

    Moves take or give back rate, rising, and add or give up value; ``rest`` is free.
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
def payable(chosen: Ints, order: Ints, streams: Ints, ends: Ints) -> Ints:
    """Segments that streams can go down from where they are, cheapest first.

    A stream's first one begins at its present option, which need not be on its hull.
    """
    able = np.empty(len(order), np.int64)
    n = 0
    for segment in order[::-1]:
        if ends[segment] <= chosen[streams[segment]]:
            able[n] = segment
            n += 1
    return able[:n]


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

    Others pay with their cheapest segments first; a segment that would take the gain
    below the best one known is passed over, but not many of them. Nothing as long as
    all streams is copied or looked through for a change, only what pays for it.

    Changes are streams and options, twice; rates and values end in a 0 for option -1;
    hulls are as of :func:`payable`. The answer is the options after the change, and the
    value that it adds; 0 where none adds any.
    """
    able, streams, ends = hulls
    after, best = chosen.copy(), chosen.copy()
    payers = np.empty(len(able), np.int64)
    most = 0.0
    for change in range(len(changes[0])):
        one, two = changes[0][change], changes[2][change]
        option, other = changes[1][change], changes[3][change]
        free = rest + rates[chosen[one]] - rates[option]
        gain = values[option] - values[chosen[one]]
        if one != two:
            free += rates[chosen[two]] - rates[other]
            gain += values[other] - values[chosen[two]]
        n_payers, n_dear = 0, 0
        for segment in able:
            if free >= 0 or gain <= most or n_dear > MOST_DEAR:
                break
            payer = streams[segment]
            if payer in (one, two) or ends[segment] > after[payer]:
                continue
            is_first = segment == 0 or streams[segment - 1] != payer
            lower = -1 if is_first else ends[segment - 1]
            loss = values[after[payer]] - values[lower]
            if gain - loss <= most:
                n_dear += 1
            else:
                free += rates[after[payer]] - rates[lower]
                gain -= loss
                after[payer] = lower
                payers[n_payers] = payer
                n_payers += 1
        if free >= 0 and gain > most:
            most = gain
            best[:] = after
            best[one], best[two] = option, other
        for n in range(n_payers):
            after[payers[n]] = chosen[payers[n]]
    return best, float(most)


@njit(cache=True)  # pyright: ignore[reportUntypedFunctionDecorator]
def merge(
    kept: States,
    rates: Floats,
    values: Floats,
    move: tuple[int, float, float],
    limits: tuple[float, float, float, float, float],
) -> States:
    """The undominated states among those kept and those that one move leads to.

    A state is dominated when another takes no more rate and has no less value. States
    are sorted by rate, so the values of undominated ones rise.

    States are rate, value, origin and option; a move is option, extra rate and extra
    value. Limits: the highest rate, price, highest loss, rate up to which slack can
    still be filled, and tolerance of values.
    """
    kept_rates, kept_values, kept_origins, kept_options = kept
    option, extra_rate, extra_value = move
    max_rate, price, max_loss, fillable, tolerance = limits
    n = len(kept_rates) + len(rates)
    out_rates, out_values = np.empty(n), np.empty(n)
    origins, options = np.empty(n, np.int64), np.empty(n, np.int64)
    count = i = j = 0
    best = -np.inf
    while i < len(kept_rates) or j < len(rates):
        is_kept = j == len(rates) or (
            i < len(kept_rates) and kept_rates[i] <= rates[j] + extra_rate
        )
        if is_kept:
            rate, value = kept_rates[i], kept_values[i]
            origin, taken = kept_origins[i], kept_options[i]
            i += 1
        else:
            rate, value = rates[j] + extra_rate, values[j] + extra_value
            origin, taken = j, option
            j += 1
        if rate > max_rate:
            continue
        loss = price * rate - value + price * max(0.0, fillable - rate)
        if loss > max_loss or value <= best + tolerance:
            continue
        best = value
        if count > 0 and rate <= out_rates[count - 1]:
            count -= 1
        out_rates[count], out_values[count] = rate, value
        origins[count], options[count] = origin, taken
        count += 1
    return out_rates[:count], out_values[:count], origins[:count], options[:count]
