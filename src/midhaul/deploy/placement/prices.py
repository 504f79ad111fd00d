"""Prices at which the Lagrangian bound of a placement is lowest, or nearly so.

One capacity: the line through the best closure that keeps it and the best that breaks
it meets the dual where the next evaluation is worth while; the search ends at the exact
minimum after few steps. This is Dinkelbach's method (Management Science 13, 1967) from
both sides.

Several capacities: cutting planes (Kelley, SIAM Journal 8, 1960) with one cut for each
block of items, in a box that moves and shrinks (Marsten, Hogan and Blankenship,
Operations Research 23, 1975). A block is what touches the same rows: mostly a gateway.

Items that exclude each other: the dual of the linear relaxation gives a price to each
group as well. The solver's duals are not trusted: the bound is the Lagrangian there.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from midhaul.deploy.placement.relaxed import duals, quiet_solver
from midhaul.errors import require

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

    from midhaul.deploy.placement.dual import Evaluation, Relaxation
    from midhaul.deploy.placement.reduction import Reduced

PRECISION = 1e-12
"""Share of the bound by which a step for one row must lower it."""
TARGET = 1e-7
"""Share of the bound that cutting planes may leave to gain."""
MAX_STEPS = 300


def one_row(relaxation: Relaxation) -> tuple[Evaluation, Evaluation | None]:
    """The exact minimum over the price of a single row.

    Returns:
        The Lagrangian at its minimum, and at the best price met whose closure keeps the
        capacity; None when only the empty choice did.
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
    """The minimum over the prices of all rows, to ``TARGET`` or until a time.

    Args:
        relaxation: whose prices.
        group_prices: ``(g,)`` kept as they are.
        end_s: when to stop, on ``time.monotonic``.
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
    model: _Model,
    reduced: Reduced,
    here: Evaluation,
    blocks: Int64[np.ndarray, " t"],
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
