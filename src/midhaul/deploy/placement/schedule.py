"""In which order the layers of a placement are pulled, and when each pull ends.

A gateway pulls one container image after the other, each with the layers that are
missing still. Of the orders that meet all deadlines, one with little weighted waiting
is taken: from the end backwards, among the pulls that may end last, the one that saves
the least per second of its pull (W. E. Smith, "Various Optimizers for Single-Stage
Production", Naval Research Logistics Quarterly 3, 1956, the rule for 1 | d_j | sum w_j
C_j). Differences from the paper:

1. A pull is as long as the layers that no pull before it carries. Putting one last
   keeps the others feasible, so deadlines are met as in the paper; that the waiting is
   the least is not guaranteed (nor is it for general weights in the paper).
2. Where no pull may end last, deadlines cannot all be met, and the latest goes last.
3. Where gateways share a backhaul, no gateway knows its rate in advance. Pulls are
   then in order of their deadlines, and the rule decides among equal ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.deploy.placement.assembly import present_on
from midhaul.deploy.placement.levels import SLACK
from midhaul.deploy.placement.sharing import share_backhaul

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64, Int64

    from midhaul.deploy.placement.base import Placement
    from midhaul.deploy.placement.building import Built
    from midhaul.deploy.problem import PlacementProblem


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """The layers that one pull carries.

    Attributes:
        gateway: index of the gateway.
        image: number of the image in the catalogue.
        layers: ``(k,)`` numbers of the layers.
        n_bytes: what it carries.
        due_s: when it must have ended.
    """

    gateway: int
    image: int
    layers: Int64[np.ndarray, " k"]
    n_bytes: float
    due_s: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Schedule:
    """All pulls of a placement.

    Attributes:
        batches: in the order in which each gateway pulls them.
        begins_s: ``(b,)`` after the begin of the slot.
        ends_s: ``(b,)`` after the begin of the slot; infinite where a line is dead.
        ready_s: ``(n,)`` by item, when its layers are there; NaN where not chosen.
    """

    batches: tuple[Batch, ...]
    begins_s: Float64[np.ndarray, " b"]
    ends_s: Float64[np.ndarray, " b"]
    ready_s: Float64[np.ndarray, " n"]

    def is_late(self, built: Built) -> Bool[np.ndarray, " n"]:
        """Items that are chosen and whose pull does not end in time, ``(n,)``."""
        return self.ready_s > built.deadlines_s * (1 + SLACK)


def schedule(built: Built, chosen: Bool[np.ndarray, " n"]) -> Schedule:
    """Order and time the pulls of the chosen items."""
    problem = built.problem
    is_shared = len(problem.gateways) > 1 and math.isfinite(problem.backhaul_bps)
    queues = [
        _queue(built, chosen, number, is_shared=is_shared)
        for number in range(len(problem.gateways))
    ]
    batches = tuple(batch for queue in queues for batch in queue)
    if is_shared:
        begins, ends = share_backhaul(problem, built.catalogue, queues)
    else:
        begins, ends = _one_after_the_other(problem, queues)
    n_images = max(1, len(built.catalogue.images))
    ready_of = np.zeros(n_images * len(problem.gateways))
    where = np.array([b.gateway * n_images + b.image for b in batches], np.int64)
    ready_of[where] = ends
    ready = ready_of[built.gateways * n_images + built.images]
    return Schedule(
        batches=batches,
        begins_s=begins,
        ends_s=ends,
        ready_s=np.where(chosen, ready, np.nan),
    )


def _one_after_the_other(
    problem: PlacementProblem, queues: list[list[Batch]]
) -> tuple[Float64[np.ndarray, " b"], Float64[np.ndarray, " b"]]:
    begins, ends = [np.zeros(0)], [np.zeros(0)]
    for gateway, queue in zip(problem.gateways, queues, strict=True):
        rate = min(gateway.downlink_bps, problem.backhaul_bps)
        # Bytes are summed before they are divided: no rounding moves a deadline.
        total = np.cumsum([0.0, *(batch.n_bytes for batch in queue)])
        times = np.zeros(len(total))
        moved = total > 0
        times[moved] = 8 * total[moved] / rate if rate > 0 else math.inf
        begins.append(times[:-1])
        ends.append(times[1:])
    return np.concatenate(begins), np.concatenate(ends)


def _queue(
    built: Built, chosen: Bool[np.ndarray, " n"], number: int, *, is_shared: bool
) -> list[Batch]:
    """The pulls of one gateway, in order."""
    catalogue, gateway = built.catalogue, built.problem.gateways[number]
    mine = np.flatnonzero(chosen & (built.gateways == number))
    images, image_of = np.unique(built.images[mine], return_inverse=True)
    due = np.full(len(images), np.inf)
    np.minimum.at(due, image_of, built.deadlines_s[mine])
    weights = np.bincount(
        image_of, weights=built.instance.values[mine], minlength=len(images)
    )
    is_missing = ~catalogue.marks(present_on(gateway))
    owners, layers = catalogue.refs(images)
    owners, layers = owners[is_missing[layers]], layers[is_missing[layers]]
    rate = min(gateway.downlink_bps, built.problem.backhaul_bps)
    order = _order(
        owners,
        layers,
        catalogue.compressed_bytes,
        due,
        weights,
        rate_bps=0.0 if is_shared else rate,
    )
    there = ~is_missing
    begins = np.searchsorted(owners, np.arange(len(images) + 1))
    queue: list[Batch] = []
    for job in order:
        own = layers[begins[job] : begins[job + 1]]
        if not len(own):
            continue
        carried = own[~there[own]]
        there[carried] = True
        queue.append(
            Batch(
                gateway=number,
                image=int(images[job]),
                layers=carried,
                n_bytes=float(catalogue.compressed_bytes[carried].sum()),
                due_s=float(due[job]),
            )
        )
    return queue


def _order(
    owners: Int64[np.ndarray, " k"],
    layers: Int64[np.ndarray, " k"],
    n_bytes: Float64[np.ndarray, " l"],
    due: Float64[np.ndarray, " j"],
    weights: Float64[np.ndarray, " j"],
    *,
    rate_bps: float,
) -> list[int]:
    """Jobs in order, by the backward rule.

    Args:
        owners: ``(k,)`` job of each need, not falling.
        layers: ``(k,)`` layer of each need.
        n_bytes: ``(l,)`` what each layer carries.
        due: ``(j,)`` deadline of each job.
        weights: ``(j,)`` what waiting costs.
        rate_bps: of the line; 0 where it is not known.
    """
    n = len(due)
    begins = np.searchsorted(owners, np.arange(n + 1))
    users = np.bincount(layers, minlength=len(n_bytes))
    # Where one user is left, the sum of the users is that user.
    last_user = np.bincount(layers, weights=owners, minlength=len(n_bytes))
    alone = np.bincount(
        owners, weights=n_bytes[layers] * (users[layers] == 1), minlength=n
    )
    left = float(n_bytes[users > 0].sum())
    is_open = np.ones(n, np.bool_)
    backwards: list[int] = []
    while len(backwards) < n:
        limit = 8 * left / rate_bps if rate_bps > 0 else math.inf
        may = is_open & (due * (1 + SLACK) >= limit)
        if not may.any():
            may = is_open & (due == due[is_open].max())
        candidates = np.flatnonzero(may)
        # Least saved per byte last; of equal ones the last.
        merit = np.divide(
            weights[candidates],
            alone[candidates],
            out=np.full(len(candidates), np.inf),
            where=alone[candidates] > 0,
        )
        job = int(candidates[len(merit) - 1 - np.argmin(merit[::-1])])
        backwards.append(job)
        is_open[job] = False
        left -= float(alone[job])
        own = layers[begins[job] : begins[job + 1]]
        users[own] -= 1
        last_user[own] -= job
        single = own[users[own] == 1]
        np.add.at(alone, last_user[single].astype(np.int64), n_bytes[single])
    return backwards[::-1]


def planned_saved_bits(problem: PlacementProblem, placement: Placement) -> float:
    """Upload that a placement saves within the slot if all goes as planned, in bits.

    Each analytic saves its rate from the end of its pull and its start until it leaves
    or the slot ends. Infinite where neither ever ends; weights do not count.
    """
    ends = {(pull.gateway, pull.image): pull.ends_s for pull in placement.pulls}
    total = 0.0
    for analytic in problem.analytics:
        gateway = placement.gateway_of.get(analytic.name)
        if gateway is None or analytic.saved_bps == 0:
            continue
        begins_s = ends.get((gateway, analytic.image), 0.0)
        begins_s += problem.startup_s.get(analytic.image, 0.0)
        until_s = min(problem.remaining_s(analytic), problem.slot_s)
        total += analytic.saved_bps * max(0.0, until_s - begins_s)
    return total
