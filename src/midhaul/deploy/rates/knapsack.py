"""The best division of an uplink, exactly: a multiple-choice knapsack.

Algorithm: dynamic programming by lists of undominated states (rate, value), from the
core outwards, after Pisinger, "A minimal algorithm for the multiple-choice knapsack
problem", European Journal of Operational Research 83, 1995, sections 3 to 5. A state
says how a choice differs from the best options at the price of the linear relaxation;
it is dropped when it has lost more than the gap between bound and incumbent.

Differences from the paper:

1. The incumbent to begin with is that of :class:`~midhaul.deploy.rates.hull.HullGreedy`
   with its swaps, so that gap and core are small from the start.
2. States are pruned by one price, not by one for each side of the break; and by the
   uplink that the streams to come cannot fill any more.
3. Rates may be rounded up to a grid (1 kbit/s gives the table of the textbooks, as
   undominated cells only). The answer never exceeds the uplink, and is the optimum of
   the rounded problem. Without a grid it is the optimum.
4. Lists of more than ``n_states`` are cut to the states that lost least, and so are
   those that would bring all lists together over ``n_kept``; the answer is then
   feasible, with the bound of the relaxation.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.deploy.rates.base import SLACK, check_uplink, of_options, weighted_values
from midhaul.deploy.rates.hull import (
    FlatProblem,
    HullGreedy,
    HullRelaxation,
    at_options,
    hull_kernels,
    price_of,
    total,
)
from midhaul.errors import DataError

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

    from midhaul.deploy.rates.base import Demands, RateAllocation

_RESERVED = 1000
"""States that earlier lists leave to each later one, where so many are allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactKnapsack:
    """The optimum of the multiple-choice knapsack.

    Attributes:
        grid_bps: rates are rounded up to multiples of it; 0 for rates as they are.
        n_states: states of a list, at most.
        n_kept: states of all lists together, at most, of 16 bytes each; there is one
            list for each stream that is not decided.

    Raises:
        DataError: the grid is negative, or no state is allowed.
    """

    name = "exact"
    grid_bps: float = 0.0
    n_states: int = 2_000_000
    n_kept: int = 100_000_000

    def __post_init__(self) -> None:
        """Check the settings."""
        if not self.grid_bps >= 0 or min(self.n_states, self.n_kept) < 1:
            message = (
                "expected a grid of at least 0 bit/s and at least one state, found "
                f"{self.grid_bps}, {self.n_states} and {self.n_kept}"
            )
            raise DataError(message)

    def allocate(self, demands: Demands, uplink_bps: float) -> RateAllocation:
        """The rates of highest weighted quality.

        The bound is the value itself without a grid, and that of the linear relaxation
        with one.

        Raises:
            DataError: the uplink is negative or NaN.
            PrerequisiteError: Numba is not installed.
        """
        check_uplink(uplink_bps)
        values = weighted_values(demands)
        problem = FlatProblem(
            offsets=demands.offsets,
            rates_bps=demands.rates_bps,
            values=values,
            uplink_bps=uplink_bps * (1 + SLACK),
        )
        greedy = HullGreedy(gap=0.0, n_payable=0)  # payments take longer than they save
        true = greedy.search(problem)
        rounded = _on_grid(problem, self.grid_bps)
        start = greedy.search(rounded) if self.grid_bps else true
        is_complete = _search(rounded, start, self.n_states, self.n_kept)
        is_optimal = is_complete and not self.grid_bps
        return of_options(
            demands,
            start.options,
            bound=total(values, start.options) if is_optimal else true.bound,
            price_per_bps=price_of(problem, true),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Choice:
    """A stream's core options against its best; the least loss of another one."""

    stream: int
    options: Int64[np.ndarray, " k"]
    rates: Float64[np.ndarray, " k"]
    values: Float64[np.ndarray, " k"]
    loss: float


def _on_grid(problem: FlatProblem, grid_bps: float) -> FlatProblem:
    """Rates rounded up, in multiples of the grid; the uplink rounded down."""
    if not grid_bps:
        return problem
    return FlatProblem(
        offsets=problem.offsets,
        rates_bps=np.ceil(problem.rates_bps / grid_bps * (1 - SLACK)),
        values=problem.values,
        uplink_bps=np.floor(problem.uplink_bps / grid_bps),
    )


def _search(
    problem: FlatProblem, found: HullRelaxation, n_states: int, n_kept: int
) -> bool:
    """Improve the options in place until they are optimal; False if lists were cut."""
    price_per_bps = found.price_per_bps
    tolerance = SLACK * found.bound
    best = total(problem.values, found.options)
    gap = found.bound - best
    if gap <= tolerance:
        return True
    base, choices = _choices(problem, price_per_bps, gap)
    room = problem.uplink_bps - total(problem.rates_bps, base)
    # What the streams to come can still take and give back, at most.
    more = _to_come([choice.rates.max() for choice in choices])
    less = _to_come([choice.rates.min() for choice in choices])
    rates, values = np.zeros(1), np.zeros(1)
    base_value = total(problem.values, base)
    stages: list[tuple[Int64[np.ndarray, " m"], Int64[np.ndarray, " m"]]] = []
    best_at: tuple[int, int] | None = None
    is_complete = True
    for stage, choice in enumerate(choices):
        limits = (
            room - less[stage],
            price_per_bps,
            gap - tolerance,
            room - more[stage],
            tolerance / 1000,
        )
        rates, values, origins, options = _extend(rates, values, choice, limits)
        n_left = len(choices) - stage
        spare = max(n_kept - _RESERVED * n_left, n_kept // n_left)
        most = max(1, min(n_states, spare))
        if len(rates) > most:
            losses = price_per_bps * rates - values
            keep = np.sort(np.argpartition(losses, most)[:most])
            rates, values = rates[keep], values[keep]
            origins, options = origins[keep], options[keep]
            is_complete = False
        stages.append((origins, options))
        n_kept -= len(origins)
        n_fitting = int(np.searchsorted(rates, room, side="right"))
        if n_fitting and base_value + values[n_fitting - 1] > best:
            best = base_value + float(values[n_fitting - 1])
            best_at = (stage, n_fitting - 1)
            gap = found.bound - best
        if not len(rates):
            break
    if best_at is not None:
        _trace(found.options, base, choices, stages, best_at)
    return is_complete


def _choices(
    problem: FlatProblem, price_per_bps: float, gap: float
) -> tuple[Int64[np.ndarray, " n"], list[_Choice]]:
    """The best option of each stream at a price, and the streams that have others.

    Those that lose least by changing come first: they make good incumbents early.
    """
    streams, options, losses = hull_kernels().core(
        problem.offsets,
        problem.rates_bps,
        problem.values,
        problem.uplink_bps,
        price_per_bps,
        gap,
    )
    begins = np.searchsorted(streams, np.arange(len(problem.offsets)))
    # Sorted by loss within each stream, so that its best option comes first.
    order = np.lexsort((losses, streams))
    base = options[order[begins[:-1]]]
    rates = at_options(problem.rates_bps, options)
    values = at_options(problem.values, options)
    choices: list[_Choice] = []
    for stream in np.flatnonzero(np.diff(begins) > 1):
        own = order[begins[stream] : begins[stream + 1]]
        choices.append(
            _Choice(
                stream=int(stream),
                options=options[own],
                rates=rates[own] - rates[own[0]],
                values=values[own] - values[own[0]],
                loss=float(losses[own[1]]),
            )
        )
    return base, sorted(choices, key=lambda choice: choice.loss)


def _to_come(extremes: list[float]) -> Float64[np.ndarray, " n"]:
    """For every stage, the sum over the stages after it."""
    after = np.cumsum([0.0, *extremes[:0:-1]])
    return after[::-1][: len(extremes)]


def _extend(
    rates: Float64[np.ndarray, " m"],
    values: Float64[np.ndarray, " m"],
    choice: _Choice,
    limits: tuple[float, float, float, float, float],
) -> tuple[
    Float64[np.ndarray, " l"],
    Float64[np.ndarray, " l"],
    Int64[np.ndarray, " l"],
    Int64[np.ndarray, " l"],
]:
    """The undominated states after one more stream chose."""
    none = np.empty(0), np.empty(0), np.empty(0, np.int64), np.empty(0, np.int64)
    kept = none
    merge = _kernels().merge
    for option, rate, value in zip(
        choice.options, choice.rates, choice.values, strict=True
    ):
        move = (int(option), float(rate), float(value))
        kept = merge(kept, rates, values, move, limits)
    return kept


def _trace(
    chosen: Int64[np.ndarray, " n"],
    base: Int64[np.ndarray, " n"],
    choices: list[_Choice],
    stages: list[tuple[Int64[np.ndarray, " m"], Int64[np.ndarray, " m"]]],
    best_at: tuple[int, int],
) -> None:
    """Write the options that lead to a state; streams after its stage stay at best."""
    chosen[:] = base
    stage, state = best_at
    for choice, (origins, options) in zip(
        choices[stage::-1], stages[stage::-1], strict=True
    ):
        chosen[choice.stream] = options[state]
        state = origins[state]


def _kernels() -> Any:
    hull_kernels()  # says what to install where Numba is missing
    return importlib.import_module("midhaul.deploy.rates.kernels")
