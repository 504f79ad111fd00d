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

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.deploy.placement.reduction import reduce
from midhaul.errors import require

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64, Int64

    from midhaul.deploy.placement.arrays import Choice, Instance
    from midhaul.deploy.placement.reduction import Reduced
    from midhaul.deploy.placement.tabu_kernels import Arrays, Rules

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
        from midhaul.deploy.placement.tabu_kernels import walk  # noqa: PLC0415

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
        from midhaul.deploy.placement.tabu_kernels import Rules  # noqa: PLC0415

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
    from midhaul.deploy.placement.tabu_kernels import Arrays  # noqa: PLC0415

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


def walk_reference(  # noqa: C901 - as the compiled one
    reduced: Reduced,
    rules: Rules,
    start: Bool[np.ndarray, " k"],
    *,
    barred: Int64[np.ndarray, " k"],
    prices: Float64[np.ndarray, " r"],
    best_value: float,
    n_flips: int,
    rng: np.random.Generator,
) -> tuple[Bool[np.ndarray, " k"] | None, float, int]:
    """What the compiled walk does, from the definition; for tests.

    The choice is None where none was better; then its worth, and how many flips were
    made.
    """
    limits = arrays_of(reduced).limits
    here, best, barred, prices = start.copy(), None, barred.copy(), prices.copy()
    kept_for, broken_for = np.zeros(len(limits)), np.zeros(len(limits))
    highest, last = -math.inf, 0

    def worth(chosen: Bool[np.ndarray, " k"]) -> float:
        return float(reduced.values[chosen].sum())

    def toggled(chosen: Bool[np.ndarray, " k"], *items: int) -> Bool[np.ndarray, " k"]:
        other = chosen.copy()
        other[list(items)] ^= True
        return other

    for now in range(n_flips):
        use = reduced.use(here)
        fines = float((prices * np.maximum(use - limits, 0)).sum())
        found, most, n_equal, out = -1, -math.inf, 0, -1
        for i in range(len(here)):
            rivals = np.flatnonzero(here & (reduced.groups == reduced.groups[i]))
            rival = int(rivals[0]) if len(rivals) and not here[i] else -1
            after = reduced.use(toggled(here, i))
            gain = -reduced.values[i] if here[i] else reduced.values[i]
            if rival >= 0:
                after = after - (use - reduced.use(toggled(here, rival)))
                gain -= reduced.values[rival]
            is_kept = bool((after <= limits).all())
            is_better = is_kept and worth(here) + gain > best_value
            if barred[i] > now and not is_better:
                continue
            more = float((prices * np.maximum(after - limits, 0)).sum()) - fines
            if gain - more > most:
                found, most, n_equal, out = i, gain - more, 1, rival
            elif gain - more == most:
                n_equal += 1
                if rng.random() * n_equal < 1:
                    found, out = i, rival
        if now - last > rules.patience:
            return best, best_value, now
        if found < 0:
            continue
        if out >= 0:
            here = toggled(here, out)
            barred[out] = now + rules.away + int(rng.random() * rules.spread)
        steps = rules.away if here[found] else rules.stay
        here = toggled(here, found)
        barred[found] = now + steps + int(rng.random() * rules.spread)
        is_over = reduced.use(here) > limits
        broken_for = np.where(is_over, broken_for + 1, 0)
        kept_for = np.where(is_over, 0, kept_for + 1)
        dearer, cheaper = broken_for == rules.run, kept_for == rules.run
        prices = np.where(dearer, prices * rules.factor, prices)
        prices = np.where(cheaper, prices / rules.factor, prices)
        broken_for[dearer], kept_for[cheaper] = 0, 0
        if not is_over.any() and worth(here) > highest:
            highest, last = worth(here), now
            if highest > best_value:
                best, best_value = here.copy(), highest
    return best, best_value, n_flips
