"""Small worlds to simulate, and a placer that says yes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from midhaul.deploy.control import Policy
from midhaul.deploy.curves.qos_curve import QosCurve
from midhaul.deploy.networks import Network
from midhaul.deploy.placement.base import Placement, Pull
from midhaul.deploy.plan.choices import allocator_named, eviction_named
from midhaul.deploy.problem import Analytic, ContainerImage, Gateway, Layer
from midhaul.deploy.simulate.scenario import Scenario

if TYPE_CHECKING:
    from midhaul.deploy.problem import PlacementProblem

CLOUD = QosCurve.of(
    "cloud", np.array([0.5, 1.0]), np.array([400.0, 1000.0]), np.array([0.5, 0.9])
)
GATEWAY = QosCurve.of("gateway", np.array([1.0]), np.array([10.0]), np.array([0.8]))


class TakeAll:
    """Moves every candidate, pulling images one after the other."""

    name = "take-all"

    def place(self, problem: PlacementProblem) -> Placement:
        """Everybody, as if disk and time had no limits."""
        gateway = problem.gateways[0]
        have = set(gateway.layers | gateway.held)
        now_s, pulls = 0.0, list[Pull]()
        for name in dict.fromkeys(a.image for a in problem.analytics):
            missing = [x for x in problem.images[name].layers if x.digest not in have]
            have |= {layer.digest for layer in missing}
            size = sum(layer.compressed_bytes for layer in missing)
            ends_s = now_s + size * 8 / gateway.downlink_bps
            if missing:
                pulls.append(
                    Pull(
                        gateway=gateway.name,
                        image=name,
                        digests=tuple(layer.digest for layer in missing),
                        compressed_bytes=size,
                        begins_s=now_s,
                        ends_s=ends_s,
                    )
                )
            now_s = ends_s
        return Placement(
            status="feasible",
            value=0.0,
            bound=math.inf,
            gateway_of={a.name: gateway.name for a in problem.analytics},
            pulls=tuple(pulls),
        )


def image(name: str, *layers: tuple[str, int]) -> ContainerImage:
    """An image; at 8 bit/s a byte takes a second."""
    return ContainerImage(
        name=name,
        layers=tuple(
            Layer(digest=d, compressed_bytes=n, uncompressed_bytes=2 * n)
            for d, n in layers
        ),
    )


IMAGES = {
    "a": image("a", ("base", 10), ("a", 5)),
    "b": image("b", ("base", 10), ("b", 7)),
    "c": image("c", ("c", 50)),
}


def analytic(name: str, image: str, arrival_s: float, lifetime_s: float) -> Analytic:
    """An analytic that saves 990 bit/s."""
    return Analytic(
        name=name,
        image=image,
        saved_bps=990.0,
        arrival_s=arrival_s,
        lifetime_s=lifetime_s,
        cloud_curve=CLOUD,
        gateway_curve=GATEWAY,
    )


def scenario(*analytics: Analytic, **changes: object) -> Scenario:
    """Sixty seconds of a gateway that pulls a byte a second."""
    values = {
        "analytics": analytics,
        "images": IMAGES,
        "gateway": Gateway(name="gw", disk_bytes=1000),
        "network": Network(name="slow", downlink_bps=8.0, uplink_bps=2000.0),
        "duration_s": 60.0,
        **changes,
    }
    return Scenario(**values)  # pyright: ignore[reportArgumentType]


def policy(**changes: object) -> Policy:
    """Slots of 30 s, rate periods of 10 s, everything that asks moves."""
    values = {
        "name": "p",
        "placer": TakeAll(),
        "allocator": allocator_named("exact"),
        "eviction": eviction_named("lru"),
        "slot_s": 30.0,
        "rate_period_s": 10.0,
        **changes,
    }
    return Policy(**values)  # pyright: ignore[reportArgumentType]
