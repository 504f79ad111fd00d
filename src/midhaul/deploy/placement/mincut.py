"""Placement by minimum cuts: a value, a bound, and what each resource is worth.

The steps: reduce the instance (:mod:`~midhaul.deploy.placement.reduction`), find the
prices at which the Lagrangian bound is lowest
(:mod:`~midhaul.deploy.placement.lagrangian`; each evaluation is a minimum cut,
:mod:`~midhaul.deploy.placement.closure`), fill up the closure that keeps the
capacities, and solve what the bound leaves open while that is worth it.

*Several gateways*: one or two of them are planned anew while the others stay. Rows fall
into parts that no item and no bundle joins: one for each gateway, where there is no
common backhaul. Only the exclusion between items joins them. On gateways that are alike
the relaxation leaves nearly all open, and a search that moves single items cannot carry
an image with all its analytics from one gateway to another. So

1. parts are filled one after the other. What a part is worth is a placement on one
   gateway, with the worth of each item less the price that its group has in the
   relaxation of all parts still empty: an analytic that is needed elsewhere is left
   there. The last part takes what is worth most. (Relax-and-fix: Pochet and Wolsey,
   Production Planning by Mixed Integer Programming, 2006, section 3.6; the prices are
   those of Dantzig and Wolfe, Operations Research 8, 1960.)
2. Two parts are emptied and filled in the same way, with prices a little off, and each
   is then solved once more beside the others.
3. Random groups of items of two parts are decided anew together (large neighbourhood
   search: Shaw, CP 1998; as many as the solver just manages).

The steps 2 and 3 take turns, one to two, until nothing was gained for a while. Work is
counted in nodes of the solver, so only a time limit makes answers depend on the
machine. The rest of the time goes into the bound: with the prices of the groups, each
part is solved for itself, as a whole; parts that are alike once. What the solver has
shown when it is stopped is a bound as well (Geoffrion 1974: at the same prices never
above that of the relaxation).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.deploy.placement.arrays import Choice
from midhaul.deploy.placement.building import place_by
from midhaul.deploy.placement.lagrangian import (
    Relaxation,
    core_of,
    feasible_part,
    fill,
    improve,
    one_row,
    several_rows,
    with_groups,
)
from midhaul.deploy.placement.marginal_greedy import solve_greedily
from midhaul.deploy.placement.reduction import reduce
from midhaul.deploy.placement.relaxed import duals, solve_exactly, spectral_bound
from midhaul.deploy.placement.tabu import TabuSearch
from midhaul.deploy.problem import (
    Analytic,
    ContainerImage,
    Gateway,
    Layer,
    PlacementProblem,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from jaxtyping import Bool, Float64, Int64

    from midhaul.deploy.placement.arrays import Built, Instance
    from midhaul.deploy.placement.base import Placement
    from midhaul.deploy.placement.lagrangian import Evaluation
    from midhaul.deploy.placement.reduction import Reduced

OPTIMAL_GAP = 1e-7
"""Share of the bound up to which a value counts as optimal."""
SMALL_CORE, LARGE_CORE = 300, 3000
"""Items that the first core may have, which is solved to the end, and the last."""
FIRST_SHARE = 0.2
"""Share of the time that the first core may take."""
POOR_GAP = 0.01
"""Share of the bound from which on other beginnings and a local search are tried."""
SEARCH_SHARE = 0.5
"""Share of the time that the local search may take."""
LAST_SHARE = 0.1
"""Share of the time that is kept for it where it comes after the cores."""
DENSE = 0.05
"""Share of all bundles that a type needs from which on sharing is dense."""
FAR_GAP = 0.05
"""Share of the bound from which on another sort of bound is tried."""
BOUND_SHARE = 0.6
"""Share of the time left that this bound may take."""
SEARCH_S, PARTS_SHARE = 30.0, 0.6
"""Time that a search over parts has to itself, and its share where there is more; the
rest is for their bound."""
DEFAULT_SEARCH = TabuSearch()


@dataclass(frozen=True, slots=True, kw_only=True)
class MinCutPlacer:
    """Lagrangian minimum cuts; large problems in little time, with bound and prices.

    Attributes:
        max_gap: share of the bound that the value may be below it; cores are solved
            only while it is more.
        time_limit_s: when to stop looking for a better placement.
        search: what betters a choice that is far from the bound; none when None.
        clock: measures the time of the search, in seconds.
    """

    name = "mincut"
    max_gap: float = 1e-5
    time_limit_s: float = 60.0
    search: TabuSearch | None = field(default_factory=TabuSearch)
    clock: Callable[[], float] = time.perf_counter

    def place(self, problem: PlacementProblem) -> Placement:
        """A placement that keeps every limit of the problem.

        Raises:
            PrerequisiteError: Numba or highspy is not installed.
        """
        return place_by(
            problem,
            lambda built: solve(
                built.instance,
                max_gap=self.max_gap,
                time_limit_s=self.time_limit_s,
                search=self.search,
            ),
            clock=self.clock,
        )


def solve(
    instance: Instance,
    *,
    max_gap: float = 1e-5,
    time_limit_s: float = 60.0,
    search: TabuSearch | None = DEFAULT_SEARCH,
) -> Choice:
    """A choice, a bound and prices; the first of each whatever ``time_limit_s`` says.

    Cores are solved only while the value is more than ``max_gap`` of the bound below
    it.
    """
    end_s = time.monotonic() + time_limit_s
    prices = np.zeros(len(instance.capacities))
    reduced = reduce(instance)
    if len(reduced.rows) == 0 or len(reduced.items) == 0:
        known = reduced.best_of_each()
        bound, is_timed_out = float(reduced.values[known].sum()), False
    else:
        relaxation = Relaxation(reduced)
        here, known = _first(instance, relaxation, end_s)
        is_dense = _shares_densely(reduced)
        if is_dense:
            known = _searched(search, reduced, known, here.bound, end_s)
        left_s = end_s - time.monotonic()
        until_s = end_s if is_dense else end_s - LAST_SHARE * left_s
        prices[reduced.rows] = here.prices
        known, bound, is_timed_out = _close(reduced, here, known, max_gap, until_s)
        if not is_dense:
            known = _searched(search, reduced, known, bound, end_s)
    value = float(reduced.values[known].sum())
    return Choice(
        chosen=reduced.lift(known, instance.n_items),
        bound=max(bound, value),
        is_optimal=bound - value <= OPTIMAL_GAP * bound,
        is_timed_out=is_timed_out,
        prices=prices,
    )


def load_kernels() -> None:
    """Load all that a placement may need; the first use on a machine compiles it.

    That takes seconds, and some of it only hard problems need: without this, they would
    come in the middle of a run.
    """
    sizes = {name: 10 + number for number, name in enumerate("abcdef")}
    problem = PlacementProblem(
        analytics=tuple(
            Analytic(name=name, image=name, saved_bps=float(size), n_cores=1.0)
            for name, size in sizes.items()
        ),
        images={
            name: ContainerImage(
                name=name,
                layers=tuple(
                    Layer(digest=digest, compressed_bytes=n, uncompressed_bytes=n)
                    for digest, n in ((name, size), ("all", 20))
                ),
            )
            for name, size in sizes.items()
        },
        gateways=(Gateway(name="gateway", disk_bytes=60.0, n_cores=3.0),),
    )

    def hard(built: Built) -> Choice:
        found, reduced = solve_greedily(built.instance), reduce(built.instance)
        TabuSearch(n_steps=1).improve(reduced, found.chosen[reduced.items])
        return solve(built.instance)

    place_by(problem, hard)


def _first(
    instance: Instance, relaxation: Relaxation, end_s: float
) -> tuple[Evaluation, Bool[np.ndarray, " k"]]:
    """The Lagrangian near its minimum, and a choice filled up from its closure."""
    reduced = relaxation.reduced
    keeps: Evaluation | None = None
    if reduced.has_choices:
        here = with_groups(relaxation, end_s)
    elif len(reduced.rows) == 1:
        here, keeps = one_row(relaxation)
    else:
        here = several_rows(relaxation, None, end_s)
    start = feasible_part(relaxation, here) if keeps is None else keeps.chosen
    best = fill(reduced, start, here.prices)
    if _is_poor(reduced, here.bound, best):
        greedy = solve_greedily(instance).chosen[reduced.items]
        if reduced.values[greedy].sum() > reduced.values[best].sum():
            best = greedy
    return here, best


def _shares_densely(reduced: Reduced) -> bool:
    """Whether a type needs so many bundles that cores are of no use at first."""
    cells = reduced.n_types * reduced.n_bundles
    return not reduced.has_choices and len(reduced.indices) >= DENSE * max(1, cells)


def _searched(
    search: TabuSearch | None,
    reduced: Reduced,
    known: Bool[np.ndarray, " k"],
    bound: float,
    end_s: float,
) -> Bool[np.ndarray, " k"]:
    """A better choice, where the known one is far from the bound and time is left."""
    left_s = SEARCH_SHARE * (end_s - time.monotonic())
    if search is None or left_s <= 0 or not _is_poor(reduced, bound, known):
        return known
    limit_s = min(search.time_limit_s, left_s)
    return replace(search, time_limit_s=limit_s).improve(reduced, known)


def _is_poor(reduced: Reduced, bound: float, known: Bool[np.ndarray, " k"]) -> bool:
    return bound - float(reduced.values[known].sum()) > POOR_GAP * bound


def _by_parts(
    reduced: Reduced,
    here: Evaluation,
    known: Bool[np.ndarray, " k"],
    max_gap: float,
    end_s: float,
) -> tuple[Bool[np.ndarray, " k"], float]:
    """A better choice and bound where gateways have nothing in common but the items."""
    parts = parts_of(reduced)
    if parts.max() == 0:
        return known, here.bound
    now_s = time.monotonic()
    left_s = end_s - now_s
    search = PartSearch(
        reduced=reduced,
        parts=parts,
        bound=here.bound,
        end_s=now_s + min(left_s, max(SEARCH_S, PARTS_SHARE * left_s)),
        rng=np.random.default_rng(0),
    )
    known = search.improve(known, enough=(1 - max_gap) * here.bound)
    if left_s <= SEARCH_S:
        return known, here.bound
    return known, min(here.bound, bound_of_parts(reduced, here, parts, end_s))


def bound_of_parts(
    reduced: Reduced, here: Evaluation, parts: Int64[np.ndarray, " k"], end_s: float
) -> float:
    """A bound: the prices of all groups, and the best of each part at these prices."""
    worth = reduced.values - here.group_prices[reduced.groups]
    known: dict[bytes, float] = {}
    bound = float(here.group_prices.sum())
    for part in range(int(parts.max()) + 1):
        is_open = (parts == part) & (worth > 0)
        core, items = core_of(reduced, np.zeros(len(worth), np.bool_), is_open)
        core = replace(core, values=worth[items])
        key = _form(core)
        if key not in known:
            solved = solve_exactly(
                core,
                start=None,
                least_gain=PRECISION * here.bound,
                time_limit_s=end_s - time.monotonic(),
            )
            known[key] = min(solved.bound, float(core.values.sum()))
        bound += known[key]
    return bound


def _form(core: Reduced) -> bytes:
    """All of a core but the numbers of its types and bundles, which follow its items.

    Equal forms are the same problem; the same problem has equal forms unless bundles of
    one type cost the same.
    """
    first = np.unique(core.types, return_index=True)[1]
    order = np.argsort(first)
    number: dict[int, int] = {}
    arcs: list[int] = []
    for kind in order:
        own = core.indices[core.indptr[kind] : core.indptr[kind + 1]].tolist()
        own.sort(key=lambda bundle: core.costs[bundle].tolist())
        arcs += [number.setdefault(bundle, len(number)) for bundle in own]
    arrays = (
        core.values,
        core.own,
        np.argsort(order)[core.types],
        np.diff(core.indptr)[order],
        np.array(arcs, np.int64),
        core.costs[list(number)],
        core.capacities,
    )
    return b"".join(array.tobytes() for array in arrays)


def _close(
    reduced: Reduced,
    here: Evaluation,
    known: Bool[np.ndarray, " k"],
    max_gap: float,
    end_s: float,
) -> tuple[Bool[np.ndarray, " k"], float, bool]:
    """Solve cores until the gap is small, the core was the whole, or time is up."""
    bound, is_timed_out = here.bound, False
    value = float(reduced.values[known].sum())
    is_dense = _shares_densely(reduced)
    if is_dense and bound - value > FAR_GAP * bound:
        limit_s = BOUND_SHARE * (end_s - time.monotonic())
        bound = min(bound, spectral_bound(reduced, here.prices, time_limit_s=limit_s))
    n_open = int((here.losses(reduced) <= here.bound - value).sum())
    if n_open > SMALL_CORE and _is_poor(reduced, bound, known):
        known, bound = _by_parts(reduced, here, known, max_gap, end_s)
        value = float(reduced.values[known].sum())
        n_open = int((here.losses(reduced) <= here.bound - value).sum())
    for n_items, share, precision in (
        (SMALL_CORE, FIRST_SHARE, OPTIMAL_GAP),
        (LARGE_CORE, 1.0, max(max_gap, OPTIMAL_GAP)),
    ):
        gap = bound - float(reduced.values[known].sum())
        left_s = end_s - time.monotonic()
        if gap <= max_gap * bound:
            break
        if left_s <= 0:
            is_timed_out = True
            break
        if is_dense and n_open > SMALL_CORE and gap > FAR_GAP * bound:
            # So far away the solver would not end, and its choices are found already.
            break
        known, closer, is_complete, is_timed_out = improve(
            reduced,
            here,
            known,
            n_items=n_items,
            least_gain=precision / 2 * bound,
            time_limit_s=share * left_s,
        )
        bound = min(bound, closer)
        if is_complete and not is_timed_out:
            break
    return known, bound, is_timed_out


PATTERN_NODES, POLISH_NODES, PAIR_NODES = 300, 100, 1000
"""Nodes of the solver for filling a part, for solving it once more, and for two."""
FIRST_GROUPS, FEWEST_GROUPS = 200, 40
"""Groups that are decided anew together at first, and at the least."""
STEP = 1.05
"""By what their number changes, as the solver comes to an end or not."""
NOISE = 0.02
"""Share by which prices of groups are off."""
PRECISION = 1e-4
"""Share of the bound that a part may be below its best."""
MOST_IDLE = 20
"""Steps without gain after which it ends."""


def parts_of(reduced: Reduced) -> Int64[np.ndarray, " k"]:
    """The part of each item, from 0 upwards, ``(k,)``."""
    touched = reduced.own > 0
    owners = np.repeat(np.arange(reduced.n_types), np.diff(reduced.indptr))
    by_type = np.zeros((reduced.n_types, touched.shape[1]), np.bool_)
    np.logical_or.at(by_type, owners, reduced.costs[reduced.indices] > 0)
    touched |= by_type[reduced.types]
    label = np.arange(touched.shape[1])
    while True:  # the smallest number spreads over rows that an item joins
        lowest = np.where(touched, label, len(label)).min(axis=1, initial=len(label))
        spread = label.copy()
        item, row = np.nonzero(touched)
        np.minimum.at(spread, row, lowest[item])
        if (spread == label).all():
            break
        label = spread
    # An item that takes nothing may stand anywhere.
    return np.unique(lowest % len(label), return_inverse=True)[1].ravel()


@dataclass(slots=True, kw_only=True)
class PartSearch:
    """A search over the parts of one reduced instance.

    Attributes:
        reduced: the instance.
        parts: ``(k,)`` the part of each item.
        bound: no choice is worth more.
        end_s: when to stop, on ``time.monotonic``.
        rng: of all chance.
    """

    reduced: Reduced
    parts: Int64[np.ndarray, " k"]
    bound: float
    end_s: float
    rng: np.random.Generator

    def improve(
        self, known: Bool[np.ndarray, " k"], *, enough: float
    ) -> Bool[np.ndarray, " k"]:
        """A feasible choice that is worth at least as much as a feasible one.

        From a worth of ``enough`` on it looks no further.
        """
        n_parts = int(self.parts.max()) + 1
        empty = np.zeros(len(known), np.bool_)
        best = self._better(known, self._filled(empty, range(n_parts)))
        n_groups = float(FIRST_GROUPS)
        n_idle = step = 0
        while (
            n_idle < MOST_IDLE
            and self._left_s() > 0
            and self._worth(best) < enough
            and n_parts > 1
        ):
            pair = self.rng.permutation(n_parts)[:2].tolist()
            if step % 3 == 0:
                others = best & ~np.isin(self.parts, pair)
                found = self._filled(others, pair)
            else:
                found, is_complete = self._together(best, pair, int(n_groups))
                n_groups = n_groups * STEP if is_complete else n_groups / STEP
                n_groups = max(FEWEST_GROUPS, min(n_groups, len(known)))
            has_gained = self._worth(found) > self._worth(best)
            best = self._better(best, found)
            n_idle = 0 if has_gained else n_idle + 1
            step += 1
        return best

    def _filled(
        self, chosen: Bool[np.ndarray, " k"], empty: Iterable[int]
    ) -> Bool[np.ndarray, " k"]:
        """The choice with some empty parts filled, one after the other."""
        left = list(empty)
        order = left.copy()
        while left and self._left_s() > 0:
            is_open = np.isin(self.parts, left) & ~self._taken(chosen)
            part = left.pop(0)
            worth = self.reduced.values
            if left:
                worth = worth - self._group_prices(chosen, is_open)[self.reduced.groups]
            is_open &= (self.parts == part) & (worth > 0)
            chosen, _ = self._solved(chosen, is_open, PATTERN_NODES, worth)
        for part in order:
            is_open = (self.parts == part) & ~self._taken(chosen & (self.parts != part))
            chosen, _ = self._solved(chosen, is_open, POLISH_NODES)
        return chosen

    def _group_prices(
        self, chosen: Bool[np.ndarray, " k"], is_open: Bool[np.ndarray, " k"]
    ) -> Float64[np.ndarray, " g"]:
        """Prices of the groups where open items are relaxed; 0 without time."""
        prices = np.zeros(int(self.reduced.groups.max()) + 1)
        rest, items = core_of(self.reduced, chosen, is_open)
        if len(items) == 0 or len(rest.rows) == 0:
            return prices
        found = duals(rest, self._left_s())
        if found is not None:
            off = 1 + NOISE * self.rng.standard_normal(len(found[1]))
            prices[self.reduced.groups[items]] = (found[1] * off)[rest.groups]
        return prices

    def _together(
        self, known: Bool[np.ndarray, " k"], pair: list[int], n_groups: int
    ) -> tuple[Bool[np.ndarray, " k"], bool]:
        """Groups of two parts decided anew, and whether the solver came to an end."""
        here = np.isin(self.parts, pair)
        is_free = here & ~self._taken(known & ~here)
        groups = np.unique(self.reduced.groups[is_free])
        drawn = self.rng.permutation(groups)[:n_groups]
        is_open = is_free & np.isin(self.reduced.groups, drawn)
        return self._solved(known, is_open, PAIR_NODES)

    def _solved(
        self,
        known: Bool[np.ndarray, " k"],
        is_open: Bool[np.ndarray, " k"],
        n_nodes: int,
        worth: Float64[np.ndarray, " k"] | None = None,
    ) -> tuple[Bool[np.ndarray, " k"], bool]:
        """The choice with open items decided anew; the same if that is no better."""
        left_s = self._left_s()
        if left_s <= 0:
            return known, False
        values = self.reduced.values if worth is None else worth
        fixed = known & ~is_open
        core, items = core_of(self.reduced, fixed, is_open)
        start = known[items]
        solved = solve_exactly(
            replace(core, values=values[items]),
            start=start if (known & is_open).sum() == start.sum() else None,
            least_gain=PRECISION * self.bound,
            time_limit_s=left_s,
            n_nodes=n_nodes,
        )
        if solved.chosen is None:
            return known, not solved.is_timed_out
        found = fixed.copy()
        found[items[solved.chosen]] = True
        is_better = values[found].sum() > values[known].sum()
        if is_better and self.reduced.is_feasible(found):
            known = found
        return known, not solved.is_timed_out

    def _taken(self, chosen: Bool[np.ndarray, " k"]) -> Bool[np.ndarray, " k"]:
        """Items whose group has a chosen one, ``(k,)``."""
        groups = self.reduced.groups
        is_taken = np.zeros(int(groups.max()) + 1, np.bool_)
        is_taken[groups[chosen]] = True
        return is_taken[groups]

    def _better(
        self, one: Bool[np.ndarray, " k"], other: Bool[np.ndarray, " k"]
    ) -> Bool[np.ndarray, " k"]:
        return other if self._worth(other) > self._worth(one) else one

    def _worth(self, chosen: Bool[np.ndarray, " k"]) -> float:
        return float(self.reduced.values[chosen].sum())

    def _left_s(self) -> float:
        return self.end_s - time.monotonic()
