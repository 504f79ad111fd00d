"""What is placed, and where: layers, container images, analytics and gateways.

Units are SI and in the names. A container image is an ordered stack of layers, and a
layer is stored once per gateway, however many images share it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from midhaul.errors import DataError
from midhaul.model.display import MOST_ROWS, Display, Shown, counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from midhaul.deploy.curves.qos_curve import QosCurve


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A content-addressed part of a container image.

    Attributes:
        digest: its name, unique for its content.
        compressed_bytes: what a pull of it carries.
        uncompressed_bytes: what it takes on a disk.
        is_estimated: true where one of the two sizes is an estimate; layers that differ
            in nothing else are equal.

    Raises:
        DataError: it has no digest, or a size is negative or not a whole number.
    """

    digest: str
    compressed_bytes: int
    uncompressed_bytes: int
    is_estimated: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        """Check the digest and the sizes; a layer of zero bytes is allowed."""
        if not self.digest:
            message = "expected a digest for each layer, found an empty one"
            raise DataError(message)
        for name in ("compressed_bytes", "uncompressed_bytes"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 0:
                message = (
                    f"layer {self.digest}: expected {name} to be a whole number of at "
                    f"least 0, found {value!r}"
                )
                raise DataError(message)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ContainerImage(Shown):
    """An OCI image.

    Attributes:
        name: repository and tag, or whatever tells it apart.
        layers: from the base upwards; each digest once.
        manifest_digest: of its manifest in a registry; empty where that is not known.
        index_digest: of the index of platforms that lists the manifest; empty where
            there is none.

    Raises:
        DataError: it has no name or no layer, or lists a digest twice.
    """

    name: str
    layers: tuple[Layer, ...]
    manifest_digest: str = ""
    index_digest: str = ""

    def __post_init__(self) -> None:
        """Check that there is something to pull, once."""
        if not self.name or not self.layers:
            message = (
                "expected a container image with a name and at least one layer, found "
                f"{self.name!r} with {len(self.layers)} layers"
            )
            raise DataError(message)
        if len({layer.digest for layer in self.layers}) < len(self.layers):
            message = f"container image {self.name} lists a layer twice"
            hint = "a digest is stored once; give each layer of an image once"
            raise DataError(message, hint)

    @property
    def compressed_bytes(self) -> int:
        """What a pull of all its layers carries."""
        return sum(layer.compressed_bytes for layer in self.layers)

    @property
    def uncompressed_bytes(self) -> int:
        """What all its layers take on a disk."""
        return sum(layer.uncompressed_bytes for layer in self.layers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Analytic:
    """A containerised program that runs in the cloud or on a gateway.

    Attributes:
        name: unique among the analytics of a problem.
        image: name of its container image.
        saved_bps: upload rate that is saved while it runs on a gateway.
        weight: how much it counts, in placement and in rates.
        n_cores: CPU cores that it keeps busy.
        memory_bytes: memory that it holds.
        cloud_curve: quality by upload rate while it runs in the cloud; None where only
            the placement matters.
        gateway_curve: the same while it runs on a gateway; None as above.
        arrival_s: when it starts, on the experiment's clock.
        lifetime_s: how long it stays.

    Raises:
        DataError: a number is negative or NaN, or only one of the curves is given.
    """

    name: str
    image: str
    saved_bps: float = 0.0
    weight: float = 1.0
    n_cores: float = 0.0
    memory_bytes: float = 0.0
    cloud_curve: QosCurve | None = None
    gateway_curve: QosCurve | None = None
    arrival_s: float = 0.0
    lifetime_s: float = math.inf

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("saved_bps", "weight", "n_cores", "memory_bytes", "arrival_s"):
            _check(f"analytic {self.name}", name, getattr(self, name), math.isfinite)
        _check(f"analytic {self.name}", "lifetime_s", self.lifetime_s)
        if (self.cloud_curve is None) != (self.gateway_curve is None):
            message = f"analytic {self.name}: expected both QoS curves or none"
            raise DataError(message, "give cloud_curve and gateway_curve together")

    @property
    def departure_s(self) -> float:
        """When it ends."""
        return self.arrival_s + self.lifetime_s

    @property
    def value_bps(self) -> float:
        """What a placement on a gateway is worth: weighted saved upload rate."""
        return self.weight * self.saved_bps


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Gateway(Shown):
    """An edge computer that hosts analytics, as a plan finds it.

    Attributes:
        name: unique among the gateways of a problem.
        disk_bytes: disk for layers that ``held`` does not name, in uncompressed bytes;
            what is on it and not held may be deleted to make room.
        n_cores: CPU cores that are free.
        memory_bytes: memory that is free.
        downlink_bps: rate at which it pulls layers.
        uplink_bps: rate at which it uploads.
        layers: digests that are on its disk; they need no pull.
        held: digests that running analytics use; they need neither pull nor disk.
        images: container images as its platform has them, by name, where they are
            others than the problem's; None for one that its platform has not.

    Raises:
        DataError: a number is negative or NaN.
    """

    name: str
    disk_bytes: float = math.inf
    n_cores: float = math.inf
    memory_bytes: float = math.inf
    downlink_bps: float = math.inf
    uplink_bps: float = math.inf
    layers: frozenset[str] = frozenset()
    held: frozenset[str] = frozenset()
    images: Mapping[str, ContainerImage | None] = field(
        default_factory=dict[str, "ContainerImage | None"]
    )

    def __post_init__(self) -> None:
        """Check the numbers."""
        numbers = ("disk_bytes", "n_cores", "memory_bytes")
        for name in (*numbers, "downlink_bps", "uplink_bps"):
            _check(f"gateway {self.name}", name, getattr(self, name))


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class PlacementProblem(Shown):
    """Which analytics to move from the cloud to which gateway, within one slot.

    Attributes:
        analytics: the candidates; those that run on a gateway already are not among
            them, the gateways hold their layers and have less to give.
        images: container images by name; a gateway of another platform has its own.
        gateways: where they may go.
        now_s: when the slot begins, on the clock of ``Analytic.arrival_s``.
        slot_s: time in which pulls must end; infinite where pulls take no time.
        startup_s: by image name, time between the end of its pull and its first answer
            (unpacking, start), the longest of all platforms; zero where missing.
        backhaul_bps: rate that the pulls of all gateways share.
        has_peer_pulls: true where a gateway can take a layer from another one that has
            or pulls it, so that it crosses the backhaul once at most.
        sites: by analytic name, the gateways that it may go to; all where missing.

    Raises:
        DataError: names are not unique, an image or a gateway is unknown, one digest
            has two sizes, or there is no gateway.
    """

    analytics: tuple[Analytic, ...]
    images: Mapping[str, ContainerImage]
    gateways: tuple[Gateway, ...]
    now_s: float = 0.0
    slot_s: float = math.inf
    startup_s: Mapping[str, float] = field(default_factory=dict[str, float])
    backhaul_bps: float = math.inf
    has_peer_pulls: bool = False
    sites: Mapping[str, tuple[str, ...]] = field(
        default_factory=dict[str, tuple[str, ...]]
    )

    def __post_init__(self) -> None:
        """Check that all names lead somewhere."""
        if not self.gateways:
            message = "expected at least one gateway, found none"
            raise DataError(message)
        _check_unique("analytic", [a.name for a in self.analytics])
        _check_unique("gateway", [g.name for g in self.gateways])
        for name in ("slot_s", "backhaul_bps"):
            _check("placement problem", name, getattr(self, name))
        for analytic in self.analytics:
            if analytic.image not in self.images:
                message = (
                    f"analytic {analytic.name} needs the container image "
                    f"{analytic.image}, which is not among the {len(self.images)} known"
                )
                raise DataError(message)
        known = {gateway.name for gateway in self.gateways}
        for name, sites in self.sites.items():
            if unknown := set(sites) - known:
                message = f"analytic {name} may go to {sorted(unknown)}: no gateway"
                raise DataError(message)
        self._check_layers()

    def _check_layers(self) -> None:
        seen: dict[str, Layer] = {}
        needed = {analytic.image for analytic in self.analytics}
        for image in (x for x in self.all_images() if x.name in needed):
            for layer in image.layers:
                if seen.setdefault(layer.digest, layer) != layer:
                    message = f"layer {layer.digest} of {image.name} has two sizes"
                    raise DataError(message, "a digest names one content")

    def image_at(self, name: str, gateway: Gateway) -> ContainerImage | None:
        """A container image as a gateway has it; None if its platform has it not."""
        return gateway.images.get(name, self.images[name])

    def all_images(self) -> Iterator[ContainerImage]:
        """Each container image, for each platform."""
        yield from self.images.values()
        for gateway in self.gateways:
            yield from (image for image in gateway.images.values() if image is not None)

    def remaining_s(self, analytic: Analytic) -> float:
        """How long an analytic stays from the begin of the slot."""
        return max(0.0, analytic.departure_s - self.now_s)

    def _display(self) -> Display:
        """How many analytics for which gateways."""
        return Display(
            text=f"{counted(len(self.analytics), 'analytic')}, "
            f"{counted(len(self.images), 'container image')}, "
            f"{counted(len(self.gateways), 'gateway')}",
            columns=("gateway", "disk_bytes", "n_cores", "memory_bytes", "uplink_bps"),
            rows=[
                (g.name, g.disk_bytes, g.n_cores, g.memory_bytes, g.uplink_bps)
                for g in self.gateways[:MOST_ROWS]
            ],
            n_rows=len(self.gateways),
        )


def _check(what: str, name: str, value: float, also: object = None) -> None:
    """Refuse NaN and negative numbers, and infinite ones where ``also`` is given."""
    is_bad = math.isnan(value) or value < 0
    if is_bad or (also is not None and not math.isfinite(value)):
        message = f"{what}: expected {name} to be at least 0, found {value}"
        raise DataError(message)


def _check_unique(what: str, names: list[str]) -> None:
    repeated = (
        sorted({name for name in names if names.count(name) > 1})
        if len(set(names)) < len(names)
        else []
    )
    if repeated:
        message = f"expected each {what} once, found {', '.join(repeated)} repeated"
        raise DataError(message)
