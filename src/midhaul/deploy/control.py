"""The decision loop of a gateway: what to move, who gets how much, what to delete.

Functions of a state and a policy, without clocks and without effects, so that a
simulated gateway and a real one decide alike. Each slot: :func:`plan_slot`, then
:func:`make_room`, then pulls in the order of the placement. Each rate period:
:func:`plan_rates`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from midhaul.deploy.problem import Gateway, PlacementProblem
from midhaul.deploy.rates.base import Demands
from midhaul.deploy.store.store_index import StoreState
from midhaul.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from midhaul.deploy.curves.qos_curve import QosCurve
    from midhaul.deploy.eviction.base import EvictionPolicy
    from midhaul.deploy.placement.base import Placement, Placer
    from midhaul.deploy.problem import Analytic, ContainerImage
    from midhaul.deploy.rates.base import RateAllocation, RateAllocator
    from midhaul.deploy.uplink_control import ForecastName


@dataclass(frozen=True, slots=True, kw_only=True)
class Startup:
    """Time between the end of a pull and the first answer: unpacking and starting.

    Attributes:
        fixed_s: the same for every image.
        s_per_gb: seconds per 10^9 uncompressed bytes.
        by_image: by image name, what was measured; it comes before the other two.

    Raises:
        DataError: a number is negative, infinite or NaN.
    """

    fixed_s: float = 0.0
    s_per_gb: float = 0.0
    by_image: Mapping[str, float] = field(default_factory=dict[str, float])

    def __post_init__(self) -> None:
        """Check the numbers."""
        for value in (self.fixed_s, self.s_per_gb, *self.by_image.values()):
            if not (math.isfinite(value) and value >= 0):
                message = f"expected startup times of at least 0 s, found {value}"
                raise DataError(message)

    def of(self, image: ContainerImage) -> float:
        """Seconds that an image takes."""
        if image.name in self.by_image:
            return self.by_image[image.name]
        return self.fixed_s + self.s_per_gb * image.uncompressed_bytes / 1e9


def payload_only(curve: QosCurve) -> QosCurve:
    """Charge nothing beside the payload."""
    return curve


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How a gateway decides.

    Attributes:
        name: what tables and charts call it.
        placer: decides each slot what moves from the cloud to the gateway.
        allocator: divides the uplink each rate period.
        eviction: decides which layers go.
        slot_s: time between two placements.
        rate_period_s: time between two allocations.
        sees_lifetimes: false where the placer takes everybody to stay for ever.
        horizon_s: with one, an analytic is worth its saved rate times the share of the
            horizon for which it would run if it came first, so that bits count;
            without, it is worth its saved rate however soon it leaves.
        startup: what the placer believes of startup times.
        charge: makes a curve of payload rates one of rates on the link.
        high_water: share of the disk beyond which layers are deleted.
        low_water: share of the disk down to which they are.
        downlink_share: share of the downlink that the placer counts on.
        uplink_share: share of what is forecast of the uplink that is given away.
        forecast: what is counted on of an uplink that changes.
        max_over_share: share of rate periods in which the uplink may carry less than
            ``conformal`` counts on.
        has_back_pressure: whether knobs go down within a rate period while messages
            wait, and what is late is dropped rather than sent.

    Raises:
        DataError: a time is not above 0, a share not above 0 and at most 1 (below 1 for
            that of periods), or the low water mark is above the high one.
    """

    name: str
    placer: Placer
    allocator: RateAllocator
    eviction: EvictionPolicy
    slot_s: float = 300.0
    rate_period_s: float = 60.0
    sees_lifetimes: bool = True
    horizon_s: float | None = None
    startup: Startup = field(default_factory=Startup)
    charge: Callable[[QosCurve], QosCurve] = payload_only
    high_water: float = 0.8
    low_water: float = 0.6
    downlink_share: float = 1.0
    uplink_share: float = 1.0
    forecast: ForecastName = "conformal"
    max_over_share: float = 0.05
    has_back_pressure: bool = True

    def __post_init__(self) -> None:
        """Check times and shares."""
        for name in ("slot_s", "rate_period_s"):
            if not getattr(self, name) > 0:
                message = f"policy {self.name}: expected {name} above 0"
                raise DataError(message)
        for name in ("high_water", "low_water", "downlink_share", "uplink_share"):
            if not 0 < getattr(self, name) <= 1:
                message = f"policy {self.name}: expected {name} above 0, at most 1"
                raise DataError(message)
        if not 0 < self.max_over_share < 1:
            message = f"policy {self.name}: expected max_over_share in (0, 1)"
            raise DataError(message)
        if self.horizon_s is not None and not self.horizon_s > 0:
            message = f"policy {self.name}: expected horizon_s above 0"
            raise DataError(message)
        if self.low_water > self.high_water:
            message = f"policy {self.name}: low_water is above high_water"
            raise DataError(message, "deleting down to a mark above the other is none")


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a policy knows when it decides.

    Attributes:
        now_s: the time, on the clock of the analytics and of the store.
        gateway: the whole of it: all of its disk, cores and memory, nothing taken.
        images: container images by name.
        in_cloud: analytics that run in the cloud and that nothing is being done about.
        moving: analytics that still run in the cloud while their image is pulled or
            started on the gateway.
        on_gateway: analytics that run on the gateway.
        store: the layers on its disk.
    """

    now_s: float
    gateway: Gateway
    images: Mapping[str, ContainerImage]
    in_cloud: tuple[Analytic, ...] = ()
    moving: tuple[Analytic, ...] = ()
    on_gateway: tuple[Analytic, ...] = ()
    store: StoreState = field(default_factory=StoreState)

    @property
    def held(self) -> frozenset[str]:
        """Digests that stay: of analytics that run on the gateway or are on their way.

        Some of them may still have to be pulled.
        """
        used = digests_of(self.images, [*self.on_gateway, *self.moving])
        return used | self.store.held


def digests_of(
    images: Mapping[str, ContainerImage], analytics: Iterable[Analytic]
) -> frozenset[str]:
    """The layers that some analytics need."""
    names = {analytic.image for analytic in analytics}
    return frozenset(layer.digest for n in names for layer in images[n].layers)


def plan_slot(state: State, policy: Policy) -> Placement:
    """What to move to the gateway in the slot that begins now."""
    return policy.placer.place(placement_problem(state, policy))


def placement_problem(state: State, policy: Policy) -> PlacementProblem:
    """What :func:`plan_slot` asks: the cloud's analytics, and what is still free."""
    busy = [*state.on_gateway, *state.moving]
    whole, held = state.gateway, state.held
    sizes = uncompressed_sizes(state)
    gateway = Gateway(
        name=whole.name,
        disk_bytes=max(0.0, whole.disk_bytes - sum(sizes[digest] for digest in held)),
        n_cores=max(0.0, whole.n_cores - sum(a.n_cores for a in busy)),
        memory_bytes=max(0.0, whole.memory_bytes - sum(a.memory_bytes for a in busy)),
        downlink_bps=whole.downlink_bps * policy.downlink_share,
        uplink_bps=whole.uplink_bps,
        layers=frozenset(state.store.layers),
        held=held,
    )
    candidates = state.in_cloud
    if not policy.sees_lifetimes:
        candidates = tuple(replace(a, lifetime_s=math.inf) for a in candidates)
    names = {analytic.image for analytic in candidates}
    startup_s = {name: policy.startup.of(state.images[name]) for name in names}
    if policy.horizon_s is not None:
        horizon_s = policy.horizon_s
        shares = [_share(a, state, gateway, startup_s, horizon_s) for a in candidates]
        candidates = tuple(
            replace(a, saved_bps=a.saved_bps * share)
            for a, share in zip(candidates, shares, strict=True)
        )
    return PlacementProblem(
        analytics=candidates,
        images=state.images,
        gateways=(gateway,),
        now_s=state.now_s,
        slot_s=policy.slot_s,
        startup_s=startup_s,
    )


def _share(
    analytic: Analytic,
    state: State,
    gateway: Gateway,
    startup_s: Mapping[str, float],
    horizon_s: float,
) -> float:
    """Share of a horizon for which an analytic would run if its pull came first."""
    have = gateway.layers | gateway.held
    image = state.images[analytic.image]
    missing = sum(x.compressed_bytes for x in image.layers if x.digest not in have)
    pull_s = missing * 8 / gateway.downlink_bps if missing else 0.0
    runs_s = analytic.departure_s - state.now_s - pull_s - startup_s[analytic.image]
    return min(max(runs_s, 0.0), horizon_s) / horizon_s


def make_room(state: State, placement: Placement, policy: Policy) -> tuple[str, ...]:
    """Digests to delete before the pulls of a placement begin.

    Nothing as long as the disk stays below the high water mark with everything that is
    pulled; otherwise down to the low one, as far as what is held and what the placement
    uses permit. A placement that keeps the disk's limit has room after that.
    """
    placed = [a for a in state.in_cloud if a.name in placement.gateway_of]
    needed = digests_of(state.images, placed) | state.held
    sizes = uncompressed_sizes(state)
    present = sum(layer.uncompressed_bytes for layer in state.store.layers.values())
    new = sum(sizes[digest] for digest in needed - state.store.layers.keys())
    disk_bytes = state.gateway.disk_bytes
    if present + new <= policy.high_water * disk_bytes:
        return ()
    return policy.eviction.victims(
        state.store,
        n_bytes=present + new - policy.low_water * disk_bytes,
        kept=needed,
        now_s=state.now_s,
    )


def plan_rates(
    state: State, policy: Policy, uplink_bps: float
) -> tuple[Demands, RateAllocation]:
    """Who gets how much of the uplink, as far as known, until the next rate period.

    Demands are first those in the cloud, then those moving, then those on the gateway.
    A DataError says that an analytic has no QoS curve, or that the uplink is no rate.
    """
    in_cloud = [*state.in_cloud, *state.moving]
    everybody = [*in_cloud, *state.on_gateway]
    curves = [
        policy.charge(_known(curve, analytic))
        for analytic, curve in [
            *((a, a.cloud_curve) for a in in_cloud),
            *((a, a.gateway_curve) for a in state.on_gateway),
        ]
    ]
    names = [analytic.name for analytic in everybody]
    demands = Demands.of(names, [a.weight for a in everybody], curves)
    return demands, policy.allocator.allocate(demands, uplink_bps * policy.uplink_share)


def uncompressed_sizes(state: State) -> dict[str, int]:
    """Uncompressed bytes of every layer that is on the disk or in a known image."""
    sizes = {
        layer.digest: layer.uncompressed_bytes
        for image in state.images.values()
        for layer in image.layers
    }
    present = state.store.layers.values()
    return sizes | {layer.digest: layer.uncompressed_bytes for layer in present}


def _known(curve: QosCurve | None, analytic: Analytic) -> QosCurve:
    if curve is None:
        message = f"analytic {analytic.name} has no QoS curves, so it gets no rate"
        raise DataError(message, "give it cloud_curve and gateway_curve")
    return curve
