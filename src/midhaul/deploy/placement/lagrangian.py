"""Lagrangian relaxation of a placement: prices, a certified bound, and choices.

*Repair*: the closure next to the minimum leaves a little room. Items are added to it,
the best worth for the price of what they still need first; what a bundle costs is
spread anew after each round, as later items find it paid for.

The *dual* gives capacities prices, and the value a certified bound.

With a price for each row, lambda >= 0, and for each group of items that exclude each
other, mu >= 0, capacities and groups may be broken, at a cost:

    L(lambda, mu) = sum_r lambda_r C_r + sum_a mu_a
                    + max { sum_i (v_i - lambda u_i - mu_a(i)) x_i
                            - sum_e (lambda c_e) y_e :  x_i <= y_e }

What is left is a closure (:mod:`midhaul.deploy.placement.closure`). ``L`` is convex,
at least the optimum wherever it is taken, and at its minimum equal to the bound of the
linear relaxation, as closures are totally unimodular (Geoffrion, Mathematical
Programming Study 2, 1974).

*Prices* are searched for at which this bound is lowest, or nearly so.

One capacity: the line through the best closure that keeps it and the best that breaks
it meets the dual where the next evaluation is worth while; the search ends at the exact
minimum after few steps. This is Dinkelbach's method (Management Science 13, 1967) from
both sides.

Several capacities: cutting planes (Kelley, SIAM Journal 8, 1960) with one cut for each
block of items, in a box that moves and shrinks (Marsten, Hogan and Blankenship,
Operations Research 23, 1975). A block is what touches the same rows: mostly a gateway.

Items that exclude each other: the dual of the linear relaxation gives a price to each
group as well. The solver's duals are not trusted: the bound is the Lagrangian there.

The *core*, the items that the Lagrangian leaves open, is solved exactly.

An item is decided when deciding it otherwise lowers the bound to the value of a choice
that is known already (reduced-cost fixing). What remains is a small instance with what
the decided items leave of the capacities: the core (Balas and Zemel, Operations
Research 28, 1980). If it is still large, the items with the smallest losses are taken,
and what is found is a choice like any other; otherwise the whole is solved.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from midhaul.deploy.placement.closure import Closure, CutNetwork
from midhaul.deploy.placement.reduction import Reduced
from midhaul.deploy.placement.relaxed import duals, quiet_solver, solve_exactly
from midhaul.errors import require

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64, Int64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evaluation:
    """The Lagrangian at some prices.

    Attributes:
        prices: ``(r,)`` value per unit of each row.
        group_prices: ``(g,)`` value of each group.
        bound: the Lagrangian: no feasible choice is worth more.
        profits: ``(k,)`` worth of each item less what it takes for itself.
        closure: the best closure, and its flow.
        chosen: ``(k,)`` items of the smallest best choice; may break capacities.
        value: their worth.
        use: ``(r,)`` what they take.
    """

    prices: Float64[np.ndarray, " r"]
    group_prices: Float64[np.ndarray, " g"]
    bound: float
    profits: Float64[np.ndarray, " k"]
    closure: Closure
    chosen: Bool[np.ndarray, " k"]
    value: float
    use: Float64[np.ndarray, " r"]

    def losses(self, reduced: Reduced) -> Float64[np.ndarray, " k"]:
        """How much the bound falls, at least, when an item is decided otherwise.

        The flow is a dual solution of the closure. With its multipliers the bound is a
        sum over types and bundles, so forcing one item changes few terms: leaving out
        an item costs its profit, or what its type did not send if that is less; taking
        one costs its deficit and what its type's bundles did not receive. ``(k,)``
        """
        per_arc = self.closure.unpaid[reduced.indices]
        owners = np.repeat(np.arange(reduced.n_types), np.diff(reduced.indptr))
        unpaid = np.bincount(owners, per_arc, reduced.n_types)[reduced.types]
        unsent = self.closure.unsent[reduced.types]
        leaving_out = np.minimum(self.profits, unsent)
        taking = np.maximum(-self.profits, 0) + unpaid
        return np.where(self.chosen, leaving_out, taking)


class Relaxation:
    """Evaluates the Lagrangian of a reduced instance, each time from the last flow."""

    def __init__(self, reduced: Reduced) -> None:
        self.reduced = reduced
        self.n_evaluations = 0
        self._network = CutNetwork(reduced.indptr, reduced.indices, reduced.n_bundles)
        self._n_groups = int(reduced.groups.max(initial=-1)) + 1

    def at(
        self,
        prices: Float64[np.ndarray, " r"],
        group_prices: Float64[np.ndarray, " g"] | None = None,
    ) -> Evaluation:
        """The Lagrangian at prices of at least 0; groups are free without prices."""
        reduced = self.reduced
        self.n_evaluations += 1
        profits = reduced.values - reduced.own @ prices
        if group_prices is None:
            group_prices = np.zeros(self._n_groups)
        else:
            profits -= group_prices[reduced.groups]
        weights = np.bincount(reduced.types, np.maximum(profits, 0), reduced.n_types)
        closure = self._network.best(weights, reduced.costs @ prices)
        chosen = closure.types[reduced.types] & (profits > 0)
        constant = float(reduced.capacities @ prices) + float(group_prices.sum())
        bundles = reduced.costs[closure.bundles].sum(axis=0)
        return Evaluation(
            prices=prices,
            group_prices=group_prices,
            bound=constant + closure.weight,
            profits=profits,
            closure=closure,
            chosen=chosen,
            value=float(reduced.values[chosen].sum()),
            use=reduced.own[chosen].sum(axis=0) + bundles,
        )


PRECISION = 1e-12
"""Share of the bound by which a step for one row must lower it."""
TARGET = 1e-7
"""Share of the bound that cutting planes may leave to gain."""
MAX_STEPS = 300


def one_row(relaxation: Relaxation) -> tuple[Evaluation, Evaluation | None]:
    """The exact minimum over the price of a single row.

    The second answer is at the best price met whose closure keeps the capacity; None
    when only the empty choice did.
    """
    capacity = float(relaxation.reduced.capacities[0])
    best = relaxation.at(np.zeros(1))
    over = (best.value, float(best.use[0]))
    under = (0.0, 0.0)
    keeps: Evaluation | None = None
    for _ in range(MAX_STEPS):
        price = (over[0] - under[0]) / (over[1] - under[1])
        here = relaxation.at(np.array([price]))
        point = (here.value, float(here.use[0]))
        if here.bound < best.bound:
            best = here
        if point[1] <= capacity and (keeps is None or here.value > keeps.value):
            keeps = here
        gained = (point[0] - under[0]) - price * (point[1] - under[1])
        if gained <= PRECISION * here.bound or point in {over, under}:
            break
        if point[1] > capacity:
            over = point
        else:
            under = point
    return best, keeps


def several_rows(
    relaxation: Relaxation, group_prices: Float64[np.ndarray, " g"] | None, end_s: float
) -> Evaluation:
    """The minimum over all rows' prices, to ``TARGET`` or a ``time.monotonic``.

    ``group_prices`` are kept as they are.
    """
    reduced = relaxation.reduced
    n_rows = len(reduced.capacities)
    blocks = _blocks(reduced)
    best = relaxation.at(np.zeros(n_rows), group_prices)
    widest = best.bound
    model = _Model(n_rows, int(blocks.max()) + 1, widest)
    center, radius = np.zeros(n_rows), widest / n_rows
    here = best
    for _ in range(MAX_STEPS):
        if time.monotonic() > end_s:
            break
        _cut(model, reduced, here, blocks)
        low, high = np.maximum(center - radius, 0), np.minimum(center + radius, widest)
        point, foreseen = model.lowest(low, high)
        foreseen += float(best.group_prices.sum())
        gain = best.bound - foreseen
        is_at_wall = bool(
            (((point <= low) & (low > 0)) | ((point >= high) & (high < widest))).any()
        )
        if gain <= TARGET * best.bound:
            if not is_at_wall:
                break
            radius *= 4
        here = relaxation.at(point / reduced.scale, group_prices)
        if here.bound < best.bound:
            if best.bound - here.bound > gain / 2 and is_at_wall:
                radius *= 2
            best, center = here, point
        elif gain > TARGET * best.bound:
            radius = max(radius / 2, TARGET * widest)
    return best


def with_groups(relaxation: Relaxation, end_s: float) -> Evaluation:
    """Prices of rows and groups from the linear relaxation; rows alone without time."""
    reduced = relaxation.reduced
    found = duals(reduced, max(0.1, 0.6 * (end_s - time.monotonic())))
    if found is None:
        return several_rows(relaxation, None, end_s)
    prices, group_prices = found
    return relaxation.at(prices, group_prices)


class _Model:
    """The cuts found so far: a linear program over scaled prices and blocks."""

    def __init__(self, n_rows: int, n_blocks: int, highest: float) -> None:
        self._n_rows = n_rows
        self._scale = highest
        self._solver = quiet_solver()
        for name in ("primal_feasibility_tolerance", "dual_feasibility_tolerance"):
            self._solver.setOptionValue(name, 1e-10)
        self._infinity = require("highspy", "deploy").kHighsInf
        for _ in range(n_rows + n_blocks):
            self._solver.addVar(0.0, self._infinity)
        for column in range(n_rows + n_blocks):
            self._solver.changeColCost(column, 1.0)

    def add(self, block: int, value: float, uses: Float64[np.ndarray, " r"]) -> None:
        """A block earns at least ``value`` less the price of what it uses."""
        columns = np.append(np.arange(self._n_rows), self._n_rows + block)
        self._solver.addRow(
            value / self._scale,
            self._infinity,
            len(columns),
            columns.astype(np.int32),
            np.append(uses, 1.0),
        )

    def lowest(
        self, low: Float64[np.ndarray, " r"], high: Float64[np.ndarray, " r"]
    ) -> tuple[Float64[np.ndarray, " r"], float]:
        """Where the model is lowest within a box, and how low."""
        for row in range(self._n_rows):
            self._solver.changeColBounds(
                row, low[row] / self._scale, high[row] / self._scale
            )
        self._solver.run()
        values = np.asarray(self._solver.getSolution().col_value)[: self._n_rows]
        lowest = float(self._solver.getInfo().objective_function_value)
        return np.clip(values * self._scale, low, high), lowest * self._scale


def _cut(
    model: _Model, reduced: Reduced, here: Evaluation, blocks: Int64[np.ndarray, " t"]
) -> None:
    """Add the cuts of an evaluation, one for each block that earns something."""
    n_blocks = int(blocks.max()) + 1
    chosen = here.chosen
    block_of = blocks[reduced.types[chosen]]
    worth = reduced.values - here.group_prices[reduced.groups]
    values = np.bincount(block_of, worth[chosen], n_blocks)
    bundle_block = np.zeros(reduced.n_bundles, np.int64)
    bundle_block[reduced.indices] = np.repeat(blocks, np.diff(reduced.indptr))
    needed = here.closure.bundles
    for block in np.flatnonzero(values > 0):
        own = reduced.own[chosen][block_of == block].sum(axis=0)
        shared = reduced.costs[needed & (bundle_block == block)].sum(axis=0)
        model.add(int(block), float(values[block]), (own + shared) / reduced.scale)


def _blocks(reduced: Reduced) -> Int64[np.ndarray, " t"]:
    """A block for each type, ``(t,)``, from 0 upwards.

    Types that share bundles, or touch the same rows, are in one.
    """
    owners = np.repeat(np.arange(reduced.n_types), np.diff(reduced.indptr))
    label = np.arange(reduced.n_types)
    while True:  # the smallest number spreads over whatever is connected
        lowest = np.full(reduced.n_bundles, reduced.n_types)
        np.minimum.at(lowest, reduced.indices, label[owners])
        spread = label.copy()
        np.minimum.at(spread, owners, lowest[reduced.indices])
        if (spread == label).all():
            break
        label = spread
    n_rows = len(reduced.capacities)
    touched = np.zeros((reduced.n_types, n_rows), np.bool_)
    np.logical_or.at(touched, label[reduced.types], reduced.own > 0)
    np.logical_or.at(touched, label[owners], reduced.costs[reduced.indices] > 0)
    return np.unique(touched[label], axis=0, return_inverse=True)[1].ravel()


ROUGH = 0.05
"""Share of the gap that the best choice of an incomplete core may be off."""


class Improved(NamedTuple):
    """What solving a core gave.

    Attributes:
        chosen: ``(k,)`` the best choice known.
        bound: no feasible choice is worth more.
        is_complete: true when all that was left out is decided.
        is_timed_out: true when the solver was stopped.
    """

    chosen: Bool[np.ndarray, " k"]
    bound: float
    is_complete: bool
    is_timed_out: bool


def improve(
    reduced: Reduced,
    here: Evaluation,
    known: Bool[np.ndarray, " k"],
    *,
    n_items: int,
    least_gain: float,
    time_limit_s: float,
) -> Improved:
    """Solve a core of at most ``n_items``, from good prices and a known choice."""
    value = float(reduced.values[known].sum())
    losses = here.losses(reduced)
    is_open = losses <= here.bound - value + least_gain
    is_complete = int(is_open.sum()) <= n_items
    if not is_complete:
        least_gain = max(least_gain, ROUGH * (here.bound - value))
        is_open = np.zeros(len(losses), np.bool_)
        is_open[np.argpartition(losses, n_items)[:n_items]] = True
    fixed = here.chosen & ~is_open
    core, items = core_of(reduced, fixed, is_open)
    rest = known & ~fixed
    has_start = bool((fixed <= known).all()) and rest.sum() == rest[items].sum()
    solved = solve_exactly(
        core,
        start=known[items] if has_start else None,
        least_gain=least_gain,
        time_limit_s=time_limit_s,
    )
    best, bound = known, here.bound
    base = float(reduced.values[fixed].sum())
    if is_complete:
        bound = min(bound, max(value, base + solved.bound))
    if solved.chosen is not None:
        found = fixed.copy()
        found[items[solved.chosen]] = True
        if reduced.is_feasible(found) and reduced.values[found].sum() > value:
            best = found
    bound = max(bound, float(reduced.values[best].sum()))
    return Improved(best, bound, is_complete, solved.is_timed_out)


def core_of(
    reduced: Reduced, fixed: Bool[np.ndarray, " k"], is_open: Bool[np.ndarray, " k"]
) -> tuple[Reduced, Int64[np.ndarray, " c"]]:
    """The open items with the room that fixed ones leave, and the items' numbers.

    Rows that all open items together keep are left out: with numbers that are far from
    those of the others they slow the solver down many times.
    """
    is_taken = np.zeros(int(reduced.groups.max(initial=-1)) + 1, np.bool_)
    is_taken[reduced.groups[fixed]] = True
    room = reduced.limits - reduced.use(fixed)
    fits = (reduced.own <= room).all(axis=1)
    items = np.flatnonzero(is_open & ~is_taken[reduced.groups] & fits)
    paid = reduced.bundles_of(fixed)
    heads, types = np.unique(reduced.types[items], return_inverse=True)
    owners = np.repeat(np.arange(reduced.n_types), np.diff(reduced.indptr))
    is_kept = np.zeros(reduced.n_types, np.bool_)
    is_kept[heads] = True
    arcs = is_kept[owners] & ~paid[reduced.indices]
    bundles, indices = np.unique(reduced.indices[arcs], return_inverse=True)
    lengths = np.bincount(owners[arcs], minlength=reduced.n_types)[heads]
    own, costs = reduced.own[items], reduced.costs[bundles]
    binds = np.flatnonzero(own.sum(axis=0) + costs.sum(axis=0) > room)
    core = Reduced(
        items=items,
        rows=reduced.rows[binds],
        values=reduced.values[items],
        own=np.ascontiguousarray(own[:, binds]),
        types=types,
        groups=np.unique(reduced.groups[items], return_inverse=True)[1],
        indptr=np.concatenate([[0], np.cumsum(lengths)]),
        indices=indices,
        costs=np.ascontiguousarray(costs[:, binds]),
        capacities=room[binds],
    )
    return core, items


MAX_ROUNDS = 6
N_HALVINGS = 10
HIGHEST_FACTOR = 2.0**20


def fill(
    reduced: Reduced, chosen: Bool[np.ndarray, " k"], prices: Float64[np.ndarray, " r"]
) -> Bool[np.ndarray, " k"]:
    """A feasible choice with as many more items as fit, in order of their merit.

    Prices are the value of a unit of each row; all rows are alike where all are 0.
    """
    chosen = chosen.copy()
    is_paid, is_taken, room = reduced.left_by(chosen)
    if not prices.any():
        prices = 1 / reduced.scale
    own, costs = reduced.own @ prices, reduced.costs @ prices
    owners = np.repeat(np.arange(reduced.n_types), np.diff(reduced.indptr))
    for _ in range(MAX_ROUNDS):
        missing = np.where(is_paid, 0.0, costs)[reduced.indices]
        price = own + np.bincount(owners, missing, reduced.n_types)[reduced.types]
        tried = np.flatnonzero(~chosen & (reduced.own <= room).all(axis=1))
        merit = reduced.values[tried] / np.maximum(price[tried], 1e-300)
        order = tried[np.argsort(-merit, kind="stable")]
        if not reduced.add(order, chosen, is_paid, is_taken, room):
            break
    return chosen


def feasible_part(relaxation: Relaxation, here: Evaluation) -> Bool[np.ndarray, " k"]:
    """A feasible choice near the best closure: higher prices until it is kept.

    All prices rise by one factor; of items that exclude each other the most profitable
    stays.
    """
    reduced = relaxation.reduced
    best = np.zeros(len(reduced.items), np.bool_)
    low, high, factor = 1.0, np.inf, 1.0
    for _ in range(N_HALVINGS):
        there = relaxation.at(here.prices * factor, here.group_prices)
        chosen = _one_of_each(reduced, there)
        if reduced.is_feasible(chosen):
            high = factor
            if reduced.values[chosen].sum() > reduced.values[best].sum():
                best = chosen
            if factor == 1.0:
                break
        else:
            low = factor
        factor = (low + high) / 2 if np.isfinite(high) else 1 + 4 * (factor - 1) + 0.01
        if factor > HIGHEST_FACTOR:
            break
    return best


def _one_of_each(reduced: Reduced, here: Evaluation) -> Bool[np.ndarray, " k"]:
    """The closure's items, of each group only the most profitable."""
    if not reduced.has_choices:
        return here.chosen
    items = np.flatnonzero(here.chosen)
    items = items[np.lexsort((-here.profits[items], reduced.groups[items]))]
    kept = np.zeros(len(reduced.items), np.bool_)
    kept[items[np.unique(reduced.groups[items], return_index=True)[1]]] = True
    return kept
