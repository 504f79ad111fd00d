"""What the kernels of placement do, in plain Python and from their definitions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64, Int64

    from midhaul.deploy.placement.arrays import Instance
    from midhaul.deploy.placement.reduction import Reduced
    from midhaul.deploy.placement.tabu import Rules


def closure_reference(
    weights: list[float], costs: list[float], needs: list[list[int]]
) -> tuple[float, set[int]]:
    """Weight and types of the smallest best closure, in plain Python.

    Ford and Fulkerson's search for one path after the other.
    """
    unsent, unpaid = list(weights), list(costs)
    flow = [dict.fromkeys(bundles, 0.0) for bundles in needs]
    dead: set[int] = set()
    for t in range(len(needs)):
        while unsent[t] > 0:
            seen: set[int] = set()
            sent = _push(t, unsent[t], needs, flow, unpaid, seen)
            unsent[t] -= sent
            if sent == 0:  # nothing unpaid can be reached from here, now or later
                dead |= seen
                break
    chosen = {
        t
        for t in range(len(needs))
        if unsent[t] > 0 or any(flow[t][b] > 0 and b in dead for b in needs[t])
    }
    return sum(unsent), chosen


def _push(
    t: int,
    amount: float,
    needs: list[list[int]],
    flow: list[dict[int, float]],
    unpaid: list[float],
    seen: set[int],
) -> float:
    """Send along one path that avoids bundles seen before; how much was sent."""
    for b in needs[t]:
        if b in seen:
            continue
        seen.add(b)
        sent = min(amount, unpaid[b])
        unpaid[b] -= sent
        for u, sends in enumerate(flow):
            if sent == 0 and sends.get(b, 0.0) > 0:
                sent = _push(u, min(amount, sends[b]), needs, flow, unpaid, seen)
                sends[b] -= sent
        if sent > 0:
            flow[t][b] += sent
            return sent
    return 0.0


def add_in_order_reference(
    reduced: Reduced, order: Int64[np.ndarray, " m"], chosen: Bool[np.ndarray, " k"]
) -> Bool[np.ndarray, " k"]:
    """What the compiled loop of ``add_in_order`` does."""
    chosen = chosen.copy()
    for item in order:
        tried = chosen.copy()
        tried[item] = True
        if reduced.is_feasible(tried):
            chosen = tried
    return chosen


def in_order_of_merit(instance: Instance) -> Bool[np.ndarray, " n"]:
    """The same as ``take_by_merit``, computed anew in each step."""
    chosen = np.zeros(instance.n_items, np.bool_)
    scale = np.where(instance.capacities > 0, instance.capacities, np.nan)
    while True:
        best, best_merit = -1, -1.0
        before = instance.use(chosen)
        for i in np.flatnonzero(~chosen):
            trial = chosen.copy()
            trial[i] = True
            if not instance.is_feasible(trial):
                continue
            share = np.nanmax((instance.use(trial) - before) / scale, initial=0.0)
            merit = instance.values[i] / share if share > 0 else math.inf
            if merit > best_merit:
                best, best_merit = int(i), merit
        if best < 0:
            return chosen
        chosen[best] = True


def lightest_reference(
    quanta: Int64[np.ndarray, " k"],
    shares: Float64[np.ndarray, " k"],
    n_quanta: int,
    full: float,
) -> Float64[np.ndarray, " q"]:
    """The smallest shares of ``lightest``, from all subsets' sums."""
    least = {0: 0.0}
    for step, share in zip(quanta.tolist(), shares.tolist(), strict=True):
        for q, before in list(least.items()):
            trial = before + share
            if q + step <= n_quanta and trial <= full:
                least[q + step] = min(least.get(q + step, math.inf), trial)
    return np.array([least.get(q, math.inf) for q in range(n_quanta + 1)])


def walk_reference(  # noqa: C901 - as the compiled one
    reduced: Reduced,
    rules: Rules,
    start: Bool[np.ndarray, " k"],
    *,
    limits: Float64[np.ndarray, " r"],
    barred: Int64[np.ndarray, " k"],
    prices: Float64[np.ndarray, " r"],
    best_value: float,
    n_flips: int,
    rng: np.random.Generator,
) -> tuple[Bool[np.ndarray, " k"] | None, float, int]:
    """What the compiled walk does.

    The choice is None where none was better; then its worth, and how many flips were
    made. Sums stand in another order here, so that ties are the same ones only where
    nothing is rounded.
    """
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
