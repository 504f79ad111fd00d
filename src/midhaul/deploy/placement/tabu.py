"""Tabu search for placements whose images share densely, and after any placer.

Where many items share most of what they need, linear relaxations say little and a
greedy ends far from the best. The literature on set-union knapsacks has local searches
for that: I2PLS (Wei and Hao, Computers & Operations Research, 2019) and kernel based
tabu search (Wei and Hao, Expert Systems with Applications 165, 2021) exchange items and
go back to the better ones of those they met; Glover and Hao (Annals of Operations
Research 183, 2010) let a search cross the border of what is feasible, as the best
choices lie there. This one does the latter:

1. A step toggles one item, the one with the highest value after fines for what is over
   each row. It is then barred for some steps.
2. A row that was broken for ``run`` steps gets dearer, one that was kept gets cheaper,
   so that the walk goes back and forth over the border.
3. After ``patience`` steps without a better choice it begins anew from the best one,
   less a random share of its items.

Differences from the papers:

1. A step looks at single items and not at exchanges of two: what toggling each item
   would take is kept up to date, so that a step costs one look at each item.
   An exchange is two steps, with a broken row between.
2. There are several rows, each with a fine of its own, and items that exclude each
   other: one that enters takes the place of its rival.
3. Items that enter stay longer than those that leave stay away, which here counts for
   more than anything else that was tuned.
4. Work is counted in looks at items, so that an answer does not depend on the speed of
   the machine unless a time limit ends it.
"""
# pyright: reportUntypedFunctionDecorator=false

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba import njit

from midhaul.deploy.placement.reduction import reduce
from midhaul.errors import require

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64, Int64

    from midhaul.deploy.placement.arrays import Choice, Instance
    from midhaul.deploy.placement.reduction import Reduced

_WALK_LOOKS = 1e7
"""Looks at items after which a walk ends at the latest, to look at the clock."""
_BARRED_AGAIN = 50
"""Steps for which items that a new beginning leaves out stay away."""
_MARGIN = 0.25
"""Share of the tolerance of a row that a walk may use; the rest is for rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TabuSearch:
    """How long to look for a better choice, and how.

    Attributes:
        time_limit_s: when to stop, on ``time.monotonic``.
        idle_looks: looks at items without a better choice after which it stops.
        idle_steps: the same in steps for each item, which is less for small problems.
        n_steps: steps, at most; without a limit when None.
        seed: of all chance.
        stay: steps for which an item that entered may not leave; fewer where there are
            few items, as the next two.
        away: steps for which an item that left may not enter.
        spread: random steps that are added to both.
        run: steps after which a fine changes.
        factor: by what it changes.
        patience: steps without a better choice after which it begins anew.
        share: of the best choice that is left out then.
    """

    time_limit_s: float = 10.0
    idle_looks: float = 4e8
    idle_steps: float = 4e3
    n_steps: int | None = None
    seed: int = 0
    stay: int = 20
    away: int = 5
    spread: int = 10
    run: int = 5
    factor: float = 1.1
    patience: int = 20_000
    share: float = 0.3

    def better(self, instance: Instance, choice: Choice) -> Choice:
        """The choice, or a better one; bound and prices stay.

        Args:
            instance: what to choose from.
            choice: feasible.

        Raises:
            PrerequisiteError: Numba is not installed.
        """
        if choice.is_optimal:
            return choice
        reduced = reduce(instance)
        start = choice.chosen[reduced.items]
        found = reduced.lift(self.improve(reduced, start), instance.n_items)
        if instance.value(found) <= instance.value(choice.chosen):
            return choice
        bound = max(choice.bound, instance.value(found))
        return replace(choice, chosen=found, bound=bound)

    def improve(
        self, reduced: Reduced, start: Bool[np.ndarray, " k"]
    ) -> Bool[np.ndarray, " k"]:
        """A feasible choice that is worth at least as much as the first one.

        Args:
            reduced: what to choose from.
            start: ``(k,)`` feasible.

        Raises:
            PrerequisiteError: Numba is not installed.
        """
        require("numba", "deploy")
        n_items = len(reduced.items)
        if not n_items or not len(reduced.rows):
            return reduced.best_of_each()
        rng = np.random.default_rng(self.seed)
        arrays, rules = arrays_of(reduced), self._rules(n_items)
        prices = first_fines(reduced)
        best, value = start.copy(), float(reduced.values[start].sum())
        begin, barred = start.copy(), np.zeros(n_items, np.int64)
        most = max(1, int(_WALK_LOOKS / n_items))
        left = math.inf if self.n_steps is None else self.n_steps
        # Loading what is compiled, once in a process, is none of the search's time.
        walk(arrays, rules, begin, barred, prices, best, value, 0, rng)
        end_s = time.monotonic() + self.time_limit_s
        idle = most_idle = min(self.idle_looks / n_items, self.idle_steps * n_items)
        while left > 0 and idle > 0 and time.monotonic() < end_s:
            n_steps = int(min(most, left))
            known = best.copy()
            higher, n_done = walk(
                arrays, rules, begin, barred, prices, best, value, n_steps, rng
            )
            left -= n_done
            idle -= n_done
            if higher > value:
                # Sums that were kept up to date step by step must not be trusted.
                if reduced.is_feasible(best):
                    value, idle = higher, most_idle
                else:
                    best = known
            begin = best & (rng.random(n_items) >= self.share)
            barred = np.where(best & ~begin, _BARRED_AGAIN, 0)
        return best

    def _rules(self, n_items: int) -> Rules:
        return Rules(
            stay=min(self.stay, n_items // 4),
            away=min(self.away, n_items // 8),
            spread=min(self.spread, n_items // 4),
            run=self.run,
            factor=self.factor,
            patience=min(self.patience, 200 * n_items),
        )


def arrays_of(reduced: Reduced) -> Arrays:
    """A reduced instance as the walk wants it."""
    lengths = np.diff(reduced.indptr)[reduced.types]
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    owners = np.repeat(np.arange(len(lengths)), lengths)
    within = np.arange(indptr[-1]) - np.repeat(indptr[:-1], lengths)
    bundles = reduced.indices[
        np.repeat(reduced.indptr[reduced.types], lengths) + within
    ]
    order = np.argsort(bundles, kind="stable")
    touches = reduced.own > 0
    np.logical_or.at(touches, owners, reduced.costs[bundles] > 0)
    item, rows = np.nonzero(touches)
    bundle, cost_rows = np.nonzero(reduced.costs > 0)
    slack = reduced.limits - reduced.capacities
    # What is nonzero comes with or without gaps, and each would be compiled by itself.
    return Arrays(
        values=reduced.values,
        groups=reduced.groups,
        own=np.ascontiguousarray(reduced.own),
        costs=np.ascontiguousarray(reduced.costs),
        limits=reduced.capacities + _MARGIN * slack,
        indptr=indptr,
        bundles=bundles,
        user_indptr=_starts(bundles, reduced.n_bundles),
        users=owners[order],
        row_indptr=_starts(item, len(touches)),
        rows=np.ascontiguousarray(rows),
        cost_indptr=_starts(bundle, reduced.n_bundles),
        cost_rows=np.ascontiguousarray(cost_rows),
    )


def _starts(owners: Int64[np.ndarray, " m"], n: int) -> Int64[np.ndarray, " n1"]:
    return np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=n))])


def first_fines(reduced: Reduced) -> Float64[np.ndarray, " r"]:
    """A fine for a unit over each row: half of what all are worth for all they take."""
    total = reduced.own.sum(axis=0) + reduced.costs.sum(axis=0)
    return reduced.values.sum() / np.maximum(total, 1e-300) / 2


class Arrays(NamedTuple):
    """A reduced instance by item, with everything that a walk looks up.

    Attributes:
        values: ``(k,)`` worth of each item.
        groups: ``(k,)`` items with the same number exclude each other.
        own: ``(k, r)`` what an item takes for itself.
        costs: ``(b, r)`` what a bundle takes, once.
        limits: ``(r,)`` what there is.
        indptr: ``(k + 1,)`` where each item's bundles begin.
        bundles: ``(m,)`` bundles by item.
        user_indptr: ``(b + 1,)`` where each bundle's items begin.
        users: ``(m,)`` items by bundle.
        row_indptr: ``(k + 1,)`` where the rows that an item may touch begin.
        rows: those rows by item.
        cost_indptr: ``(b + 1,)`` where the rows that a bundle touches begin.
        cost_rows: those rows by bundle.
    """

    values: Float64[np.ndarray, " k"]
    groups: Int64[np.ndarray, " k"]
    own: Float64[np.ndarray, "k r"]
    costs: Float64[np.ndarray, "b r"]
    limits: Float64[np.ndarray, " r"]
    indptr: Int64[np.ndarray, " k1"]
    bundles: Int64[np.ndarray, " m"]
    user_indptr: Int64[np.ndarray, " b1"]
    users: Int64[np.ndarray, " m"]
    row_indptr: Int64[np.ndarray, " k1"]
    rows: Int64[np.ndarray, " p"]
    cost_indptr: Int64[np.ndarray, " b1"]
    cost_rows: Int64[np.ndarray, " q"]


class Rules(NamedTuple):
    """How a walk goes; see :class:`TabuSearch`."""

    stay: int
    away: int
    spread: int
    run: int
    factor: float
    patience: int


class _State(NamedTuple):
    """Where a walk is.

    Attributes:
        is_in: ``(k,)`` items that are chosen.
        owner: by group its item, or -1.
        n_users: ``(b,)`` chosen items that need each bundle.
        need: ``(k, r)`` what toggling an item takes, or frees if it is in.
        use: ``(r,)`` what is taken.
    """

    is_in: Bool[np.ndarray, " k"]
    owner: Int64[np.ndarray, " g"]
    n_users: Int64[np.ndarray, " b"]
    need: Float64[np.ndarray, "k r"]
    use: Float64[np.ndarray, " r"]


@njit(cache=True)
def _begin(arrays: Arrays, start: Bool[np.ndarray, " k"]) -> _State:
    n_items, n_rows = arrays.own.shape
    state = _State(
        np.zeros(n_items, np.bool_),
        np.full(arrays.groups.max() + 1, -1),
        np.zeros(len(arrays.costs), np.int64),
        arrays.own.copy(),
        np.zeros(n_rows),
    )
    for i in range(n_items):
        for a in range(arrays.indptr[i], arrays.indptr[i + 1]):
            b = arrays.bundles[a]
            for c in range(arrays.cost_indptr[b], arrays.cost_indptr[b + 1]):
                r = arrays.cost_rows[c]
                state.need[i, r] += arrays.costs[b, r]
    for i in range(n_items):
        if start[i]:
            _enter(arrays, state, i)
    return state


@njit(cache=True)
def _change(
    arrays: Arrays, state: _State, bundle: int, sign: int, but: int, only: int
) -> None:
    """Charge a bundle to all who need it but one, or to ``only`` if that is one."""
    users, need = arrays.users, state.need
    first, end = arrays.user_indptr[bundle], arrays.user_indptr[bundle + 1]
    for c in range(arrays.cost_indptr[bundle], arrays.cost_indptr[bundle + 1]):
        r = arrays.cost_rows[c]
        cost = sign * arrays.costs[bundle, r]
        if only >= 0:
            need[only, r] += cost
        else:
            for u in range(first, end):
                if users[u] != but:
                    need[users[u], r] += cost


@njit(cache=True)
def _sole_user(arrays: Arrays, state: _State, bundle: int, but: int) -> int:
    users, is_in = arrays.users, state.is_in
    for u in range(arrays.user_indptr[bundle], arrays.user_indptr[bundle + 1]):
        if is_in[users[u]] and users[u] != but:
            return int(users[u])
    return -1


@njit(cache=True)
def _enter(arrays: Arrays, state: _State, item: int) -> None:
    state.owner[arrays.groups[item]] = item
    for p in range(arrays.row_indptr[item], arrays.row_indptr[item + 1]):
        state.use[arrays.rows[p]] += state.need[item, arrays.rows[p]]
    for a in range(arrays.indptr[item], arrays.indptr[item + 1]):
        b = arrays.bundles[a]
        state.n_users[b] += 1
        if state.n_users[b] == 1:  # the others find it paid
            _change(arrays, state, b, -1, item, -1)
        elif state.n_users[b] == 2:  # noqa: PLR2004 - nobody frees it alone any more
            _change(arrays, state, b, -1, item, _sole_user(arrays, state, b, item))
    state.is_in[item] = True


@njit(cache=True)
def _leave(arrays: Arrays, state: _State, item: int) -> None:
    state.owner[arrays.groups[item]] = -1
    state.is_in[item] = False
    for p in range(arrays.row_indptr[item], arrays.row_indptr[item + 1]):
        state.use[arrays.rows[p]] -= state.need[item, arrays.rows[p]]
    for a in range(arrays.indptr[item], arrays.indptr[item + 1]):
        b = arrays.bundles[a]
        state.n_users[b] -= 1
        if state.n_users[b] == 0:
            _change(arrays, state, b, 1, item, -1)
        elif state.n_users[b] == 1:
            _change(arrays, state, b, 1, item, _sole_user(arrays, state, b, item))


@njit(cache=True)
def _fine_after(
    arrays: Arrays,
    state: _State,
    prices: Float64[np.ndarray, " r"],
    item: int,
    rival: int,
    freed: Float64[np.ndarray, " r"],
) -> tuple[float, int]:
    """By how much fines rise, and rows are broken, if an item takes a rival's place.

    What both need is charged as if the item paid for it; the walk itself keeps exact
    count.
    """
    row_indptr, rows = arrays.row_indptr, arrays.rows
    more, n_more = 0.0, 0
    for p in range(row_indptr[rival], row_indptr[rival + 1]):
        freed[rows[p]] = state.need[rival, rows[p]]
    for who in (item, rival):
        for p in range(row_indptr[who], row_indptr[who + 1]):
            r = rows[p]
            before = float(state.use[r] - arrays.limits[r])
            after = before - float(freed[r])
            if who == item:
                after += float(state.need[item, r])
            freed[r] = 0.0
            price = float(prices[r])
            more += price * (max(after, 0.0) - max(before, 0.0))
            n_more += int(after > 0) - int(before > 0)
    return more, n_more


@njit(cache=True)
def _best_flip(  # noqa: C901, PLR0912 - one compiled loop
    arrays: Arrays,
    state: _State,
    prices: Float64[np.ndarray, " r"],
    barred: Int64[np.ndarray, " k"],
    now: int,
    missing: float,
    freed: Float64[np.ndarray, " r"],
    rng: np.random.Generator,
) -> int:
    """The item whose toggling is worth most after fines; -1 where all are barred.

    ``missing`` is what a flip must bring to be better than the best choice known: one
    that does, and breaks no row, is not barred.
    """
    # Fields of a tuple are counted references: in a loop each look-up would cost.
    values, groups, limits = arrays.values, arrays.groups, arrays.limits
    row_indptr, rows = arrays.row_indptr, arrays.rows
    is_in, owner, need, use = state.is_in, state.owner, state.need, state.use
    fines, n_broken = 0.0, 0
    for r in range(len(limits)):
        fines += prices[r] * max(use[r] - limits[r], 0.0)
        n_broken += int(use[r] > limits[r])
    best, most, n_equal = -1, -np.inf, 0
    for i in range(len(values)):
        rival = -1
        if is_in[i]:
            gain, sign = -values[i], -1.0
        else:
            gain, sign = values[i], 1.0
            rival = owner[groups[i]]
            if rival >= 0:
                gain -= values[rival]
        if gain + fines < most:
            continue
        is_barred = barred[i] > now
        if is_barred and gain <= missing:
            continue
        more, n_more = 0.0, 0
        if rival >= 0:
            more, n_more = _fine_after(arrays, state, prices, i, int(rival), freed)
        else:
            for p in range(row_indptr[i], row_indptr[i + 1]):
                r = rows[p]
                before, after = use[r], use[r] + sign * need[i, r]
                if before > limits[r]:
                    more -= prices[r] * (before - limits[r])
                    n_more -= 1
                if after > limits[r]:
                    more += prices[r] * (after - limits[r])
                    n_more += 1
        if is_barred and n_broken + n_more > 0:
            continue
        merit = gain - more
        if merit > most:
            best, most, n_equal = i, merit, 1
        elif merit == most:
            n_equal += 1
            if rng.random() * n_equal < 1:
                best = i
    return best


@njit(cache=True)
def walk(  # noqa: C901, PLR0912, PLR0913, PLR0917 - one compiled loop
    arrays: Arrays,
    rules: Rules,
    start: Bool[np.ndarray, " k"],
    barred: Int64[np.ndarray, " k"],
    prices: Float64[np.ndarray, " r"],
    best: Bool[np.ndarray, " k"],
    best_value: float,
    n_flips: int,
    rng: np.random.Generator,
) -> tuple[float, int]:
    """Toggle items from ``start``; the worth of the best choice, and flips made.

    ``best``, ``barred`` (flip until which an item stays) and ``prices`` (fine for a
    unit over a row) change. The start may break rows, but no group.
    """
    state = _begin(arrays, start)
    n_rows = len(arrays.limits)
    freed, kept_for, broken_for = np.zeros(n_rows), np.zeros(n_rows), np.zeros(n_rows)
    value, highest, last = 0.0, -np.inf, 0
    for i in range(len(start)):
        if start[i]:
            value += arrays.values[i]
    for now in range(n_flips):
        missing = best_value - value
        i = _best_flip(arrays, state, prices, barred, now, missing, freed, rng)
        if now - last > rules.patience:
            return best_value, now
        if i < 0:
            continue
        if state.is_in[i]:
            _leave(arrays, state, i)
            value -= arrays.values[i]
            barred[i] = now + rules.away + int(rng.random() * rules.spread)
        else:
            rival = state.owner[arrays.groups[i]]
            if rival >= 0:
                _leave(arrays, state, int(rival))
                value -= arrays.values[rival]
                barred[rival] = now + rules.away + int(rng.random() * rules.spread)
            _enter(arrays, state, i)
            value += arrays.values[i]
            barred[i] = now + rules.stay + int(rng.random() * rules.spread)
        is_kept = True
        for r in range(n_rows):
            if state.use[r] > arrays.limits[r]:
                is_kept = False
                kept_for[r], broken_for[r] = 0, broken_for[r] + 1
            else:
                kept_for[r], broken_for[r] = kept_for[r] + 1, 0
            if broken_for[r] == rules.run:
                prices[r], broken_for[r] = prices[r] * rules.factor, 0
            elif kept_for[r] == rules.run:
                prices[r], kept_for[r] = prices[r] / rules.factor, 0
        if is_kept and value > highest:
            highest, last = value, now
            if value > best_value:
                best_value = value
                best[:] = state.is_in
    return best_value, n_flips
