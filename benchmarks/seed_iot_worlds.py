"""The seed's images and requests as worlds to simulate, for seed_iot.py."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.deploy.catalogue import in_compressed_bytes, read_images
from midhaul.deploy.control import Policy, Startup
from midhaul.deploy.curves.seed_curves import seed_curve, seed_model
from midhaul.deploy.networks import network_named
from midhaul.deploy.plan.choices import allocator_named, eviction_named
from midhaul.deploy.problem import Gateway
from midhaul.deploy.rates.raa import Raa
from midhaul.deploy.requests import (
    AnalyticKind,
    analytics_of,
    draw_weights,
    poisson_requests,
    read_requests_csv,
)
from midhaul.deploy.simulate.scenario import Scenario
from midhaul.deploy.simulate.tables import totals_of
from midhaul.deploy.simulate.world import simulate_gateway

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from midhaul.deploy.placement.base import Placement, Placer
    from midhaul.deploy.problem import ContainerImage, PlacementProblem
    from midhaul.deploy.rates.base import RateAllocator

Figure = tuple[str, float, str, str, float]
"""Name, value, unit, sign and bar."""

GATEWAY_BYTES = 8e9
"""Memory of the gateway, of which the seed's tables give shares. An assumption."""

S_PER_GB = 12.0
"""Unpacking and starting, per uncompressed GB: what the seed's 24 to 28 s of its object
detectors come to. Its audio classifiers took 50 to 237 s."""

GOODPUT = 0.938
"""Share of a shaped 100 Mbit/s link that carried layers, measured over loopback."""

HORIZON_S = 600.0
"""Two slots: how far ahead saved upload counts where lifetimes are known."""

DISK_BYTES = 3e9
PUBLISHED = """
## What the seed published, and what its logs say

| what | published | in its logs |
|---|---|---|
| QoS, FPTAS+RAA, 3 a minute | 0.88 | measured 0.86; missing as 0: 0.25 |
| QoS, DP+RAA, 5 a minute | 0.77 | measured 0.67; missing as 0: 0.27 |
| QoS, DP+WA, 5 a minute | 0.64 | measured 0.64; missing as 0: 0.20 |
| QoS, DP+UA, 5 a minute | 0.61 | measured 0.72; missing as 0: 0.15 |
| minutes over the uplink, RAA | no overload | 84 to 91 %, by up to 3.8 % |
| moves, 25 FPTAS runs | - | 341 planned, 195 realised (57 %) |
| saving, 25 FPTAS runs, Mbit/s-slots | - | 210.0 planned, 120.2 realised (57 %) |
| LRU, MRU, LFU, MFU with DP+RAA | 0.770 to 0.792 | less than 3 % apart |
| placement, ms | - | 21 to 59 mean, 199 at most |
| rates, ms | - | 113 to 213 mean, 1944 at most |
"""

DURATION_S = 1800.0
FOREVER = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Unweighted:
    """Any placer with the seed's objective, in which weights do not count."""

    placer: Placer

    @property
    def name(self) -> str:
        """The placer's own."""
        return self.placer.name

    def place(self, problem: PlacementProblem) -> Placement:
        """A placement by saved rate alone."""
        analytics = tuple(replace(a, weight=1.0) for a in problem.analytics)
        return self.placer.place(replace(problem, analytics=analytics))


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """The seed's images and five worlds made of its requests."""

    images: dict[str, ContainerImage]
    worlds: list[Scenario]


def load(folder: Path, n_versions: int) -> Inputs:
    """The seed's data, and a world for each of its request files."""
    images = in_compressed_bytes(read_images(folder / "images.parquet"))
    worlds: list[Scenario] = []
    for version in range(1, n_versions + 1):
        requests = read_requests_csv(folder / "requests.csv", str(version))
        weights = draw_weights(images, np.random.default_rng([0, version]))
        analytics = analytics_of(requests, kinds(), weights)
        worlds.append(
            Scenario(
                analytics=tuple(analytics),
                images=images,
                gateway=Gateway(name="nuc", disk_bytes=DISK_BYTES),
                network=network_named("optical"),
                duration_s=DURATION_S,
                startup=Startup(s_per_gb=S_PER_GB * 1.85),
                goodput=GOODPUT,
            )
        )
    return Inputs(images=images, worlds=worlds)


def kinds() -> list[AnalyticKind]:
    """The seed's two kinds: saved rates, cores and memory of its tables."""
    numbers = {"audio": (688_520.0, 0.513, 0.0784), "yolo": (22_480.0, 0.556, 0.1308)}
    found: list[AnalyticKind] = []
    for kind in ("audio", "yolo"):
        saved_bps, n_cores, share = numbers[kind]
        found.append(
            AnalyticKind(
                images=f"{kind}*",
                saved_bps=saved_bps,
                n_cores=n_cores,
                memory_bytes=share * GATEWAY_BYTES,
                cloud_curve=seed_curve(kind, "cloud"),
                gateway_curve=seed_curve(kind, "gateway"),
            )
        )
    return found


def blind(placer: Placer, allocator: RateAllocator, eviction: str = "lru") -> Policy:
    """As the seed decides: no lifetimes, no unpacking."""
    return Policy(
        name=placer.name,
        placer=Unweighted(placer=placer),
        allocator=allocator,
        eviction=eviction_named(eviction),
        sees_lifetimes=False,
        downlink_share=GOODPUT,
        has_back_pressure=False,
    )


def aware(placer: Placer, eviction: str = "value-per-byte") -> Policy:
    """As midhaul decides."""
    return Policy(
        name=placer.name,
        placer=Unweighted(placer=placer),
        allocator=allocator_named("exact"),
        eviction=eviction_named(eviction),
        startup=Startup(s_per_gb=S_PER_GB * 1.85),
        downlink_share=GOODPUT,
    )


def sums(worlds: Sequence[Scenario], policy: Policy) -> dict[str, np.ndarray]:
    """The sums of each repetition, by their names."""
    simulate_gateway(replace(worlds[0], duration_s=policy.slot_s), policy)  # compiles
    found = [totals_of(simulate_gateway(world, policy)) for world in worlds]
    return {key: np.array([row[key] for row in found]) for key in found[0]}


def drawn(inputs: Inputs, rate_per_min: float) -> list[Scenario]:
    """Worlds with requests that are drawn as the seed draws them."""
    worlds: list[Scenario] = []
    for number, world in enumerate(inputs.worlds):
        rng = np.random.default_rng([1, number])
        requests = poisson_requests(
            sorted(inputs.images),
            n_minutes=25,
            rate_per_min=rate_per_min,
            lifetimes_min=(1, 10),
            rng=rng,
        )
        analytics = analytics_of(requests, kinds(), draw_weights(inputs.images, rng))
        worlds.append(replace(world, analytics=tuple(analytics), duration_s=1500.0))
    return worlds


def allocators() -> dict[str, RateAllocator]:
    """The seed's and ours; ``raa`` believes what the seed's does, and is charged."""
    return {
        "even": allocator_named("even"),
        "weighted": allocator_named("weighted"),
        "raa-as-coded": allocator_named("raa-as-coded", alpha=0.1),
        "raa": Raa(alpha=0.1, model_of=seed_model),
        "hull": allocator_named("hull"),
        "exact": allocator_named("exact"),
    }
