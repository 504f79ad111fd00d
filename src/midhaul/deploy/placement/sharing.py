"""Pulls of several gateways over one backhaul, as a fluid.

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

from midhaul.deploy.placement.assembly import present_on

if TYPE_CHECKING:
    from jaxtyping import Float64

    from midhaul.deploy.placement.catalogue import Catalogue
    from midhaul.deploy.placement.schedule import Batch
    from midhaul.deploy.problem import PlacementProblem

_DONE_BITS = 1e-3


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
    """When each pull begins and ends, in seconds after the begin of the slot.

    Args:
        problem: whose gateways and backhaul carry the pulls.
        catalogue: sizes of the layers.
        queues: by gateway, its pulls in order.
    """
    return _Fluid(problem, catalogue, queues).run()


class _Fluid:
    def __init__(
        self,
        problem: PlacementProblem,
        catalogue: Catalogue,
        queues: list[list[Batch]],
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
