"""The items that the Lagrangian leaves open, solved exactly.

An item is decided when deciding it otherwise lowers the bound to the value of a choice
that is known already (reduced-cost fixing). What remains is a small instance with what
the decided items leave of the capacities: the core (Balas and Zemel, Operations
Research 28, 1980). If it is still large, the items with the smallest losses are taken,
and what is found is a choice like any other; otherwise the whole is solved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from midhaul.deploy.placement.reduction import Reduced
from midhaul.deploy.placement.relaxed import solve_exactly

if TYPE_CHECKING:
    from jaxtyping import Bool, Int64

    from midhaul.deploy.placement.dual import Evaluation


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
    """Solve the core of an instance.

    Args:
        reduced: the instance.
        here: the Lagrangian at good prices.
        known: ``(k,)`` the best feasible choice known.
        n_items: how large the core may be.
        least_gain: differences in value below this do not matter.
        time_limit_s: how long the solver may take.
    """
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

    Args:
        reduced: the instance.
        fixed: ``(k,)`` items that are chosen.
        is_open: ``(k,)`` items that may be, none of them fixed.
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
