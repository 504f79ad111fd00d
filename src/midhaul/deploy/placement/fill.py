"""From the Lagrangian to a choice that keeps all capacities.

The closure next to the minimum leaves a little room. Items are added to it, the best
worth for the price of what they still need first; what a bundle costs is spread anew
after each round, as later items find it paid for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64, Int64

    from midhaul.deploy.placement.dual import Evaluation, Relaxation
    from midhaul.deploy.placement.reduction import Reduced

MAX_ROUNDS = 6
N_HALVINGS = 10
HIGHEST_FACTOR = 2.0**20


def fill(
    reduced: Reduced,
    chosen: Bool[np.ndarray, " k"],
    prices: Float64[np.ndarray, " r"],
) -> Bool[np.ndarray, " k"]:
    """A feasible choice with as many more items as fit, in order of their merit.

    Args:
        reduced: the instance.
        chosen: ``(k,)`` what to start from; feasible.
        prices: ``(r,)`` value of a unit of each row; all rows alike where all are 0.
    """
    from midhaul.deploy.placement.mincut_kernels import (  # noqa: PLC0415
        add_in_order,
    )

    chosen = chosen.copy()
    is_taken = np.zeros(int(reduced.groups.max(initial=-1)) + 1, np.bool_)
    is_taken[reduced.groups[chosen]] = True
    is_paid = reduced.bundles_of(chosen)
    room = reduced.limits - reduced.use(chosen)
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
        added = add_in_order(
            order,
            reduced.types,
            reduced.indptr,
            reduced.indices,
            reduced.own,
            reduced.costs,
            reduced.groups,
            chosen,
            is_paid,
            is_taken,
            room,
        )
        if not added:
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


def add_in_order_reference(
    reduced: Reduced, order: Int64[np.ndarray, " m"], chosen: Bool[np.ndarray, " k"]
) -> Bool[np.ndarray, " k"]:
    """What the compiled loop does, from the definition; for tests."""
    chosen = chosen.copy()
    for item in order:
        tried = chosen.copy()
        tried[item] = True
        if reduced.is_feasible(tried):
            chosen = tried
    return chosen
