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

from midhaul.deploy.rates.answer import (
    SLACK,
    check_uplink,
    of_options,
    weighted_values,
)
from midhaul.errors import require

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

    from midhaul.deploy.rates.base import Demands, RateAllocation


@dataclass(frozen=True, slots=True, kw_only=True)
class HullGreedy:
    """Marginal greedy on concave hulls, filled up; at least half of the optimum.

    Attributes:
        gap: share of the bound within which an allocation is good enough.
        n_payable: core steps, of least loss, that others may pay, alone or in pairs.
        n_rounds: changes, at most.
    """

    gap: float = 1e-4
    n_payable: int = 200
    n_rounds: int = 200

    @property
    def name(self) -> str:
        """What tables and charts call it."""
        return "hull"

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

    def search(self, problem: FlatProblem) -> Relaxation:
        """The same on flat arrays, for algorithms that build on it."""
        hulls = Hulls.of(problem)
        found = hulls.greedy()
        for _ in range(self.n_rounds):
            value = total(problem.values, found.options)
            if value >= found.bound * (1 - self.gap):
                break
            gain = _swap(problem, found)
            if gain <= SLACK * found.bound:
                gain = _pay(problem, hulls, found, self.n_payable)
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
class Relaxation:
    """Options that fit, and what the linear relaxation says of all others.

    Attributes:
        options: ``(n,)`` index of each stream's option; -1 for none.
        bound: no choice of options has a higher value.
        price_per_bps: slope at the break; 0 where everything fits.
    """

    options: Int64[np.ndarray, " n"]
    bound: float
    price_per_bps: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Hulls:
    """The segments of all hulls.

    Attributes:
        problem: whose hulls they are.
        segments: stream, option at the end, extra rate, extra value and slope of each.
        order: of falling slopes.
    """

    problem: FlatProblem
    segments: tuple[np.ndarray, ...]
    order: Int64[np.ndarray, " m"]

    @classmethod
    def of(cls, problem: FlatProblem) -> Hulls:
        """Build and sort the hulls.

        Raises:
            PrerequisiteError: Numba is not installed.
        """
        segments = hull_kernels().segments(
            problem.offsets, problem.rates_bps, problem.values, problem.uplink_bps
        )
        order = np.argsort(-segments[-1], kind="stable")
        return cls(problem=problem, segments=segments, order=order)

    def greedy(self) -> Relaxation:
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
        return Relaxation(options=options, bound=bound, price_per_bps=price)


def price_of(problem: FlatProblem, found: Relaxation) -> float:
    """What one more bit/s is worth; 0 where everybody has the best option.

    Where all fits but what costs more than the whole uplink, it is the slope towards
    that, which does not count in the bound.
    """
    if found.price_per_bps or total(problem.values, found.options) >= _most(problem):
        return found.price_per_bps
    segments = hull_kernels().segments(
        problem.offsets, problem.rates_bps, problem.values, np.inf
    )
    order = np.argsort(-segments[-1], kind="stable")
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
    """The compiled kernels; imported here because Numba is an extra.

    Raises:
        PrerequisiteError: Numba is not installed.
    """
    require("numba", "deploy")
    return importlib.import_module("midhaul.deploy.rates.hull_kernels")


def _best_single(problem: FlatProblem) -> Int64[np.ndarray, " n"]:
    """The most valuable option that fits alone, and nothing else."""
    options = np.full(len(problem.offsets) - 1, -1)
    fits = problem.rates_bps <= problem.uplink_bps
    if fits.any():
        best = int(np.argmax(np.where(fits, problem.values, -1.0)))
        stream = int(np.searchsorted(problem.offsets, best, side="right")) - 1
        options[stream] = best
    return options


def _core(problem: FlatProblem, found: Relaxation) -> tuple[np.ndarray, ...]:
    """Stream, option and loss of what a better allocation than this one can hold."""
    return hull_kernels().core(
        problem.offsets,
        problem.rates_bps,
        problem.values,
        problem.uplink_bps,
        found.price_per_bps,
        found.bound - total(problem.values, found.options),
    )


def _swap(problem: FlatProblem, found: Relaxation) -> float:
    """Make the best change of one or two options in place; the value that it adds."""
    rates, values, chosen = problem.rates_bps, problem.values, found.options
    streams, options, _ = _core(problem, found)
    extra_rates = at_options(rates, options) - at_options(rates, chosen)[streams]
    extra_values = at_options(values, options) - at_options(values, chosen)[streams]
    order = np.argsort(extra_rates, kind="stable")
    one, other, gain = hull_kernels().best_pair(
        streams[order],
        extra_rates[order],
        extra_values[order],
        problem.uplink_bps - total(rates, chosen),
    )
    for move in (one, other):
        if move >= 0:
            chosen[streams[order[move]]] = options[order[move]]
    return gain


def _pay(problem: FlatProblem, hulls: Hulls, found: Relaxation, n_moves: int) -> float:
    """Make the best change that many others pay in place; the value that it adds."""
    streams, options, losses = _core(problem, found)
    move = np.argsort(losses, kind="stable")[:n_moves]
    one, two = np.triu_indices(len(move))
    one, two = move[one], move[two]
    # Two that lose more than the gap together are in no better allocation.
    missing = found.bound - total(problem.values, found.options)
    may = (losses[one] + losses[two] <= missing) & (streams[one] != streams[two])
    may |= one == two
    one, two = one[may], two[may]
    after, gain = hull_kernels().best_paid(
        (streams[one], options[one], streams[two], options[two]),
        found.options,
        np.append(problem.rates_bps, 0.0),
        np.append(problem.values, 0.0),
        (hulls.order, *hulls.segments[:2]),
        problem.uplink_bps - total(problem.rates_bps, found.options),
    )
    found.options[:] = after
    return gain
