"""Greedy on the upper concave hulls of all QoS curves, with a fill of what is left.

The division of an uplink among tables of steps is a multiple-choice knapsack: choose at
most one step per analytic so that the rates fit and the weighted quality is largest.

Algorithm: the greedy solution of its linear relaxation, Sinha and Zoltners, "The
multiple-choice knapsack problem", Operations Research 27(3), 1979, section 2: dominated
steps and steps below the hull of a table are never needed; the segments of all hulls
are taken in order of their slopes. The value at the break is the bound.

Differences from the paper:

1. No class needs to be served: rate 0 with value 0 begins every hull.
2. After the break, later segments are still taken where they fit.
3. Then the best one or two changes of step that fit, of all steps and not only those of
   a hull, are made again and again; where none helps, the best one or two that others
   pay by going down their hulls. Only steps in the core are looked at: those that an
   allocation better than the present one can hold (Pisinger, "A minimal algorithm for
   the multiple-choice knapsack problem", EJOR 83, 1995). It ends when nothing helps,
   when the value is within ``gap`` of the bound, or after ``n_rounds``.
4. The answer is never worse than the best single step, so that it is at least half of
   the optimum: the step at the break fits alone, and it or the greedy has half of the
   bound.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.deploy.rates.base import SLACK, check_uplink, of_options, weighted_values
from midhaul.errors import require

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

    from midhaul.deploy.rates.base import Demands, RateAllocation

POOR_GAP = 0.01
"""Share of the bound from which on the first changes are looked for in all steps."""
FEWEST_PAYABLE, MOST_PAID = 64, 50_000
"""Steps that others may always pay, and what they and the streams may come to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HullGreedy:
    """Marginal greedy on concave hulls, filled up; at least half of the optimum.

    Attributes:
        gap: share of the bound within which an allocation is good enough.
        n_movable: core steps, of least loss, that are changed alone or in pairs; all of
            them in the first round where much is missing to the bound.
        n_payable: core steps, of least loss, that others may pay, alone or in pairs.
            With many streams it is fewer: what they could gain is small against the
            bound, and their time would be all of the time.
        n_rounds: changes, at most.
    """

    name = "hull"
    gap: float = 1e-4
    n_movable: int = 2000
    n_payable: int = 200
    n_rounds: int = 200

    def allocate(self, demands: Demands, uplink_bps: float) -> RateAllocation:
        """Rates with a bound and the price of one more bit/s.

        Raises:
            DataError: the uplink is negative or NaN.
            PrerequisiteError: Numba is not installed.
        """
        check_uplink(uplink_bps)
        problem = FlatProblem(
            offsets=demands.offsets,
            rates_bps=demands.rates_bps,
            values=weighted_values(demands),
            uplink_bps=uplink_bps * (1 + SLACK),
        )
        found = self.search(problem)
        return of_options(
            demands,
            found.options,
            bound=found.bound,
            price_per_bps=price_of(problem, found),
        )

    def search(self, problem: FlatProblem) -> HullRelaxation:
        """The same on flat arrays, for algorithms that build on it."""
        hulls = Hulls.of(problem)
        found = hulls.greedy()
        n = max(1, len(problem.offsets) - 1)
        n_payable = min(self.n_payable, max(FEWEST_PAYABLE, MOST_PAID // n))
        core: _Core | None = None
        for number in range(self.n_rounds):
            value = total(problem.values, found.options)
            if value >= found.bound * (1 - self.gap):
                break
            if core is None:
                is_poor = value < found.bound * (1 - POOR_GAP)
                most = len(problem.values) + n if is_poor else self.n_movable
                core = _Core(problem, found, most)
            gain = _swap(problem, found, core, self.n_movable if number else None)
            if gain <= SLACK * found.bound:
                gain = _pay(problem, hulls, found, core, n_payable)
            if gain <= SLACK * found.bound:
                break
        return found


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FlatProblem:
    """A multiple-choice knapsack in flat arrays.

    Attributes:
        offsets: ``(n + 1,)`` where the options of each stream begin.
        rates_bps: ``(s,)`` of all options, rising within a stream.
        values: ``(s,)`` of all options, not falling within a stream.
        uplink_bps: what is divided.
    """

    offsets: Int64[np.ndarray, " n1"]
    rates_bps: Float64[np.ndarray, " s"]
    values: Float64[np.ndarray, " s"]
    uplink_bps: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HullRelaxation:
    """Options that fit (-1: none), a bound on all others, the slope at the break."""

    options: Int64[np.ndarray, " n"]
    bound: float
    price_per_bps: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Hulls:
    """The segments of all hulls, as the kernel gives them, and their order."""

    problem: FlatProblem
    segments: tuple[np.ndarray, ...]
    order: Int64[np.ndarray, " m"]

    @classmethod
    def of(cls, problem: FlatProblem) -> Hulls:
        """Build and sort the hulls."""
        segments = hull_kernels().segments(
            problem.offsets, problem.rates_bps, problem.values, problem.uplink_bps
        )
        order = falling(segments[-1])
        return cls(problem=problem, segments=segments, order=order)

    def greedy(self) -> HullRelaxation:
        """Segments in order while they fit, or the best single option if better."""
        options, bound, price = hull_kernels().take(
            self.order,
            *self.segments,
            len(self.problem.offsets) - 1,
            self.problem.uplink_bps,
        )
        single = _best_single(self.problem)
        values = self.problem.values
        if total(values, single) > total(values, options):
            options = single
        return HullRelaxation(options=options, bound=bound, price_per_bps=price)


def falling(numbers: Float64[np.ndarray, " m"]) -> Int64[np.ndarray, " m"]:
    """Positions by falling numbers, equal ones in their order.

    A stable sort takes several times as long as the one that NumPy has for its default;
    only runs of equal numbers need to be put in order afterwards.
    """
    order = np.argsort(-numbers)
    ranked = numbers[order]
    is_equal = ranked[1:] == ranked[:-1]
    if not is_equal.any():
        return order
    run = np.concatenate([[0], np.cumsum(~is_equal)])
    return np.sort(run * len(order) + order) - run * len(order)


def price_of(problem: FlatProblem, found: HullRelaxation) -> float:
    """What one more bit/s is worth; 0 where everybody has the best option.

    Where all fits but what costs more than the whole uplink, it is the slope towards
    that, which does not count in the bound.
    """
    if found.price_per_bps or total(problem.values, found.options) >= _most(problem):
        return found.price_per_bps
    segments = hull_kernels().segments(
        problem.offsets, problem.rates_bps, problem.values, np.inf
    )
    order = falling(segments[-1])
    n = len(problem.offsets) - 1
    return hull_kernels().take(order, *segments, n, problem.uplink_bps)[2]


def _most(problem: FlatProblem) -> float:
    """Value of everybody's best option, less what rounding may take away."""
    return float(problem.values[problem.offsets[1:] - 1].sum()) * (1 - SLACK)


def total(flat: Float64[np.ndarray, " s"], options: Int64[np.ndarray, " n"]) -> float:
    """Sum of one of the flat arrays over the options that were chosen."""
    return float(flat[options[options >= 0]].sum())


def at_options(
    flat: Float64[np.ndarray, " s"], options: Int64[np.ndarray, " m"]
) -> Float64[np.ndarray, " m"]:
    """One of the flat arrays at options; 0 where there is none."""
    return np.append(flat, 0.0)[options]  # -1 is the last


def hull_kernels() -> Any:
    """The compiled kernels; imported here because Numba is an extra."""
    require("numba", "deploy")
    return importlib.import_module("midhaul.deploy.rates.kernels")


def _best_single(problem: FlatProblem) -> Int64[np.ndarray, " n"]:
    """The most valuable option that fits alone, and nothing else."""
    options = np.full(len(problem.offsets) - 1, -1)
    fits = problem.rates_bps <= problem.uplink_bps
    if fits.any():
        best = int(np.argmax(np.where(fits, problem.values, -1.0)))
        stream = int(np.searchsorted(problem.offsets, best, side="right")) - 1
        options[stream] = best
    return options


class _Core:
    """The options that a better allocation than the present one can hold.

    What an option loses against the best of its stream depends on the price alone, so
    the core is found once, and only shrinks as the value comes closer to the bound.

    At most ``most`` are kept, those of least loss.
    """

    def __init__(self, problem: FlatProblem, found: HullRelaxation, most: int) -> None:
        # What has no step has rate and value 0: an index of -1 is the last.
        self.rates = np.append(problem.rates_bps, 0.0)
        self.values = np.append(problem.values, 0.0)
        self.bound = found.bound
        core: tuple[np.ndarray, ...] = hull_kernels().core(
            problem.offsets,
            problem.rates_bps,
            problem.values,
            problem.uplink_bps,
            found.price_per_bps,
            found.bound - total(problem.values, found.options),
        )
        if len(core[2]) > most:
            highest = np.partition(core[2], most)[most]
            core = _take(core, np.flatnonzero(core[2] <= highest)[:most])
        self._moves = _take(core, falling(-core[2]))

    def at(self, value: float, most: int | None) -> tuple[np.ndarray, ...]:
        """Stream, option and loss of those that count at a value, by their loss."""
        end = int(np.searchsorted(self._moves[2], self.bound - value, side="right"))
        end = end if most is None else min(end, most)
        return tuple(array[:end] for array in self._moves)


def _take(
    arrays: tuple[np.ndarray, ...], keep: Int64[np.ndarray, " m"]
) -> tuple[np.ndarray, ...]:
    return tuple(array[keep] for array in arrays)


def _swap(
    problem: FlatProblem, found: HullRelaxation, core: _Core, n_moves: int | None
) -> float:
    """Make the best change of one or two options in place; the value that it adds."""
    chosen = found.options
    streams, options, _ = core.at(total(problem.values, chosen), n_moves)
    present = chosen[streams]
    extra_rates = core.rates[options] - core.rates[present]
    extra_values = core.values[options] - core.values[present]
    order = falling(-extra_rates)
    one, other, gain = hull_kernels().best_pair(
        streams[order],
        extra_rates[order],
        extra_values[order],
        problem.uplink_bps - total(problem.rates_bps, chosen),
    )
    for move in (one, other):
        if move >= 0:
            chosen[streams[order[move]]] = options[order[move]]
    return gain


def _pay(
    problem: FlatProblem, hulls: Hulls, found: HullRelaxation, core: _Core, n_moves: int
) -> float:
    """Make the best change that many others pay in place; the value that it adds."""
    value = total(problem.values, found.options)
    streams, options, losses = core.at(value, None)
    # What is there already is no change.
    move = np.flatnonzero(options != found.options[streams])[:n_moves]
    streams, options, losses = _take((streams, options, losses), move)
    one, two = np.triu_indices(len(move))
    # Two that lose more than the gap together are in no better allocation.
    may = (losses[one] + losses[two] <= core.bound - value) & (
        streams[one] != streams[two]
    )
    may |= one == two
    one, two = one[may], two[may]
    kernels = hull_kernels()
    ends = hulls.segments[:2]
    after, gain = kernels.best_paid(
        (streams[one], options[one], streams[two], options[two]),
        found.options,
        core.rates,
        core.values,
        (kernels.payable(found.options, hulls.order, *ends), *ends),
        problem.uplink_bps - total(problem.rates_bps, found.options),
    )
    found.options[:] = after
    return gain
