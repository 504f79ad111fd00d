"""Schedule of pulls: in which order layers are pulled, and when each pull ends.

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

Pulls of several gateways share one backhaul as a fluid.

Each gateway pulls its images in order, at most at its downlink. At every moment the
backhaul is divided so: each gateway asks for the constant rate that the most pressing
of its deadlines needs; wishes are served in the order of those deadlines; what remains
is shared evenly. When nobody wishes for more than there is, all deadlines
are met. For one common deadline, or for one gateway, that is exact; for several of both
a plan may exist where this rule finds none.

With peer pulls a layer crosses the backhaul once: for the pull that begins first. A
gateway that has it from another one takes it at its own downlink, and its pull ends no
earlier than the other one has all that it pulls over the backhaul.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from midhaul.deploy.placement.arrays import SLACK, present_on

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64, Int64

    from midhaul.deploy.placement.arrays import Built, Catalogue
    from midhaul.deploy.placement.base import Placement
    from midhaul.deploy.problem import PlacementProblem

_DONE_BITS = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """The layers that one pull carries, by their numbers, and when it must end."""

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


@dataclass(slots=True)
class _Active:
    """The pull that a gateway is at."""

    number: int
    far_bits: float = 0.0
    near_bits: float = 0.0
    waits_for: set[int] = field(default_factory=set[int])


def share_backhaul(
    problem: PlacementProblem, catalogue: Catalogue, queues: list[list[Batch]]
) -> tuple[Float64[np.ndarray, " b"], Float64[np.ndarray, " b"]]:
    """When each pull begins and ends, in s after the begin of the slot, by queue."""
    return _Fluid(problem, catalogue, queues).run()


class _Fluid:
    def __init__(
        self, problem: PlacementProblem, catalogue: Catalogue, queues: list[list[Batch]]
    ) -> None:
        self.queues = queues
        self.downlinks = [g.downlink_bps for g in problem.gateways]
        self.backhaul_bps = problem.backhaul_bps
        self.has_peers = problem.has_peer_pulls
        self.bits = 8 * catalogue.compressed_bytes
        self.firsts = np.cumsum([0, *map(len, queues)])
        n = int(self.firsts[-1])
        self.begins_s = np.full(n, np.inf)
        self.ends_s = np.full(n, np.inf)
        self.next = [0] * len(queues)
        self.active: dict[int, _Active] = {}
        self.has_crossed = np.zeros(n, np.bool_)
        # By layer, the pull that carries it over the backhaul; -1 where it is there.
        self.owner: dict[int, int] = {}
        if self.has_peers:
            there = frozenset().union(*map(present_on, problem.gateways))
            marks = catalogue.marks(there)
            self.owner = {int(layer): -1 for layer in np.flatnonzero(marks)}

    def run(self) -> tuple[Float64[np.ndarray, " b"], Float64[np.ndarray, " b"]]:
        """Go from one end of a pull to the next."""
        now_s = 0.0
        while True:
            self._settle(now_s)
            if not self.active:
                return self.begins_s, self.ends_s
            rates = self._rates(now_s)
            step_s = min(
                (
                    bits / rates[gateway]
                    for gateway, pull in self.active.items()
                    if (bits := pull.far_bits or pull.near_bits) and rates[gateway] > 0
                ),
                default=math.inf,
            )
            if math.isinf(step_s):
                return self.begins_s, self.ends_s
            now_s += step_s
            for gateway, pull in self.active.items():
                moved = rates[gateway] * step_s
                if pull.far_bits:
                    pull.far_bits = _rest(pull.far_bits, moved)
                elif pull.near_bits:
                    pull.near_bits = _rest(pull.near_bits, moved)

    def _settle(self, now_s: float) -> None:
        """End what is done and begin what is next, until nothing changes."""
        has_changed = True
        while has_changed:
            has_changed = False
            for gateway, queue in enumerate(self.queues):
                pull = self.active.get(gateway)
                if pull is not None and not pull.far_bits:
                    has_changed |= not self.has_crossed[pull.number]
                    self.has_crossed[pull.number] = True
                if pull is not None and self._is_done(pull):
                    self.ends_s[pull.number] = now_s
                    del self.active[gateway]
                    pull, has_changed = None, True
                if pull is None and self.next[gateway] < len(queue):
                    self._begin(gateway, now_s)
                    has_changed = True

    def _is_done(self, pull: _Active) -> bool:
        return not (pull.far_bits or pull.near_bits) and all(
            self.has_crossed[other] for other in pull.waits_for
        )

    def _begin(self, gateway: int, now_s: float) -> None:
        batch = self.queues[gateway][self.next[gateway]]
        pull = _Active(number=int(self.firsts[gateway]) + self.next[gateway])
        self.next[gateway] += 1
        self.begins_s[pull.number] = now_s
        for layer in batch.layers.tolist():
            owner = self.owner.get(layer)
            if owner is None:
                pull.far_bits += float(self.bits[layer])
                if self.has_peers:
                    self.owner[layer] = pull.number
            else:
                pull.near_bits += float(self.bits[layer])
                if owner >= 0:
                    pull.waits_for.add(owner)
        self._drop_instant(gateway, pull)
        self.active[gateway] = pull

    def _drop_instant(self, gateway: int, pull: _Active) -> None:
        """Nothing takes time between peers whose lines have no limit."""
        if math.isinf(self.downlinks[gateway]):
            pull.near_bits = 0.0

    def _rates(self, now_s: float) -> dict[int, float]:
        """What each active gateway moves at the moment, bit/s."""
        rates: dict[int, float] = {}
        wishes: list[tuple[float, int, float]] = []
        for gateway, pull in self.active.items():
            if pull.far_bits:
                rate, due_s = self._need(gateway, pull, now_s)
                wishes.append((due_s, gateway, rate))
                rates[gateway] = 0.0
            else:
                rates[gateway] = self.downlinks[gateway] if pull.near_bits else 0.0
        wishes.sort()
        left = self.backhaul_bps
        far = [gateway for _, gateway, _ in wishes]
        for _, gateway, rate in wishes:
            rates[gateway] = min(rate, self.downlinks[gateway], left)
            left -= rates[gateway]
        caps = {gateway: self.downlinks[gateway] - rates[gateway] for gateway in far}
        for n_before, gateway in enumerate(sorted(far, key=caps.__getitem__)):
            more = min(caps[gateway], left / (len(far) - n_before))
            rates[gateway] += more
            left -= more
        return rates

    def _need(self, gateway: int, pull: _Active, now_s: float) -> tuple[float, float]:
        """The constant rate that keeps a gateway's deadlines, and the most pressing."""
        queue = self.queues[gateway]
        bits = pull.far_bits + pull.near_bits
        need, pressing = 0.0, math.inf
        at = pull.number - int(self.firsts[gateway])
        for batch in queue[at:]:
            if batch is not queue[at]:
                bits += 8 * batch.n_bytes
            if math.isinf(batch.due_s):
                continue
            time_s = batch.due_s - now_s
            rate = bits / time_s if time_s > 0 else math.inf
            if rate > need:
                need, pressing = rate, batch.due_s
        return need, pressing


def _rest(bits: float, moved: float) -> float:
    left = bits - moved
    return left if left > _DONE_BITS else 0.0


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
    """Jobs (owners, not falling) in order, by the backward rule; 0 is no known rate."""
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
