"""Easy and odd problems for the conformance suite of placers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from midhaul.deploy.problem import (
    Analytic,
    ContainerImage,
    Gateway,
    Layer,
    PlacementProblem,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_MB = 1_000_000


def check_problems() -> Iterator[PlacementProblem]:
    """Problems that a placer must answer; some have one sensible answer only."""
    base = _base()
    here = base.gateways[0]
    yield base
    yield replace(base, analytics=())
    for gateway in (
        replace(here, disk_bytes=0.0),
        replace(here, disk_bytes=0.0, held=frozenset({"os", "app0"})),
        replace(here, layers=frozenset({"os", "lib", "elsewhere"})),
        replace(here, n_cores=0.0),
        replace(here, memory_bytes=300.0 * _MB),
        replace(here, downlink_bps=0.0, layers=frozenset({"os", "app1"})),
        Gateway(name="unlimited"),
    ):
        yield replace(base, gateways=(gateway,))
    slow = replace(here, downlink_bps=8.0 * _MB)
    yield replace(base, gateways=(slow,), slot_s=300.0)
    hurried = tuple(
        replace(analytic, lifetime_s=60.0 + 45.0 * i)
        for i, analytic in enumerate(base.analytics)
    )
    startup_s = {"image0": 5.0, "image2": 61.0, "image3": 1000.0}
    yield replace(
        base, analytics=hurried, gateways=(slow,), slot_s=300.0, startup_s=startup_s
    )
    yield replace(base, analytics=hurried, gateways=(slow,), now_s=1e6)
    yield from _many_gateways(replace(base, analytics=hurried))


def _many_gateways(base: PlacementProblem) -> Iterator[PlacementProblem]:
    here = replace(base.gateways[0], downlink_bps=8.0 * _MB)
    gateways = (
        here,
        replace(here, name="second", downlink_bps=4.0 * _MB),
        replace(here, name="third", layers=frozenset({"os"}), n_cores=1.0),
    )
    for has_peer_pulls in (False, True):
        yield replace(
            base,
            gateways=gateways,
            slot_s=200.0,
            backhaul_bps=10.0 * _MB,
            has_peer_pulls=has_peer_pulls,
            sites={"analytic0": ("second",), "analytic1": (), "stranger": ("third",)},
        )
    yield replace(base, gateways=gateways, slot_s=200.0, backhaul_bps=0.0)


def _base() -> PlacementProblem:
    """Six images that share an operating system and a library, ten analytics."""
    system = _layer("os", 60)
    library = _layer("lib", 150)
    nothing = Layer(digest="nothing", compressed_bytes=0, uncompressed_bytes=0)
    images = {
        f"image{i}": ContainerImage(
            name=f"image{i}",
            layers=(
                system,
                *((library,) if i % 2 else ()),
                nothing,
                _layer(f"app{i}", 10 + 25 * i),
            ),
        )
        for i in range(6)
    }
    analytics = tuple(
        Analytic(
            name=f"analytic{i}",
            image=f"image{i % 6}",
            saved_bps=1000.0 * (7 * i % 10),
            weight=1.0 + i % 3,
            n_cores=0.5,
            memory_bytes=100.0 * _MB,
        )
        for i in range(10)
    )
    gateway = Gateway(name="first", disk_bytes=700.0 * _MB, n_cores=4.0)
    return PlacementProblem(analytics=analytics, images=images, gateways=(gateway,))


def _layer(digest: str, size_mb: int) -> Layer:
    return Layer(
        digest=digest,
        compressed_bytes=size_mb * _MB,
        uncompressed_bytes=2 * size_mb * _MB,
    )
