"""Conformance suite of placers, ours or a stranger's.

Its problems are easy ones and odd ones.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from midhaul.deploy.problem import (
    Analytic,
    ContainerImage,
    Gateway,
    Layer,
    PlacementProblem,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from midhaul.deploy.placement.base import Placement, Placer, Pull

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


_SLACK = 1e-6
_OPTIMAL_GAP = 1e-5


def check_placer(
    placer: Placer, problems: Iterable[PlacementProblem] | None = None
) -> None:
    """Hold a placer to what everybody expects of it.

    Args:
        placer: any.
        problems: what it is asked; a built-in set of easy and odd ones when None.

    Raises:
        ValueError: a placement breaks a limit or says something that is not so, or the
            same question gets two answers.
    """
    if not placer.name:
        message = "a placer needs a name"
        raise ValueError(message)
    for problem in check_problems() if problems is None else problems:
        placement = placer.place(problem)
        check_placement(problem, placement)
        again = placer.place(problem)
        if (again.gateway_of, again.value) != (placement.gateway_of, placement.value):
            message = f"{placer.name} answers the same question in two ways"
            raise ValueError(message)


def check_placement(problem: PlacementProblem, placement: Placement) -> None:
    """Replay a placement and hold it to every limit of its problem.

    Args:
        problem: what was asked.
        placement: what was answered.

    Raises:
        ValueError: a limit is broken, or a number is not what the replay gives.
    """
    _check_names(problem, placement)
    _check_value(problem, placement)
    for gateway in problem.gateways:
        scene = _scene(problem, placement, gateway)
        _check_use(problem, placement, scene)
        _check_pulls(scene)
        _check_times(problem, scene)
    _check_backhaul(problem, placement)


class _Scene(NamedTuple):
    """What a placement does on one gateway."""

    gateway: Gateway
    analytics: list[Analytic]
    pulls: list[Pull]
    needed: dict[str, Layer]
    stacks: dict[str, set[str]]

    @property
    def present(self) -> frozenset[str]:
        return self.gateway.layers | self.gateway.held


def _scene(problem: PlacementProblem, placement: Placement, gateway: Gateway) -> _Scene:
    here = [
        analytic
        for analytic in problem.analytics
        if placement.gateway_of.get(analytic.name) == gateway.name
    ]
    images = {analytic.image for analytic in here}
    stacks = {name: problem.image_at(name, gateway) for name in images}
    for name, image in stacks.items():
        _demand(name, is_met=image is not None, expected=f"images for {gateway.name}")
    found = {name: image.layers for name, image in stacks.items() if image}
    return _Scene(
        gateway=gateway,
        analytics=here,
        pulls=[pull for pull in placement.pulls if pull.gateway == gateway.name],
        needed={x.digest: x for layers in found.values() for x in layers},
        stacks={name: {x.digest for x in layers} for name, layers in found.items()},
    )


def _demand(found: object, *, is_met: bool, expected: str) -> None:
    if not is_met:
        message = f"expected {expected}, found {found}"
        raise ValueError(message)


def _at_most(value: float, limit: float, what: str) -> None:
    slack = 0.0 if math.isinf(limit) else _SLACK * max(1.0, limit)
    _demand(value, is_met=value <= limit + slack, expected=f"{what} at most {limit}")


def _check_names(problem: PlacementProblem, placement: Placement) -> None:
    known = {analytic.name for analytic in problem.analytics}
    everywhere = tuple(gateway.name for gateway in problem.gateways)
    for name, gateway in placement.gateway_of.items():
        _demand(name, is_met=name in known, expected="only analytics of the problem")
        sites = problem.sites.get(name, everywhere)
        _demand(gateway, is_met=gateway in sites, expected=f"{name} on one of {sites}")
    for pull in placement.pulls:
        _demand(
            pull.gateway, is_met=pull.gateway in everywhere, expected="known gateways"
        )


def _check_value(problem: PlacementProblem, placement: Placement) -> None:
    worth = sum(
        analytic.value_bps
        for analytic in problem.analytics
        if analytic.name in placement.gateway_of
    )
    _demand(
        placement.value,
        is_met=math.isclose(placement.value, worth, rel_tol=1e-9, abs_tol=1e-9),
        expected=f"a value of {worth}",
    )
    _at_most(placement.value, placement.bound, "a value of")
    if placement.status == "optimal":
        _at_most(placement.gap, _OPTIMAL_GAP, "an optimal gap of")
    for resource, price in placement.prices.items():
        _demand(price, is_met=price >= 0, expected=f"a price of {resource} from 0 on")


def _check_use(problem: PlacementProblem, placement: Placement, scene: _Scene) -> None:
    gateway, name = scene.gateway, scene.gateway.name
    disk = sum(
        layer.uncompressed_bytes
        for digest, layer in scene.needed.items()
        if digest not in gateway.held
    )
    cores = sum(analytic.n_cores for analytic in scene.analytics)
    memory = sum(analytic.memory_bytes for analytic in scene.analytics)
    _at_most(disk, gateway.disk_bytes, f"disk bytes on {name}")
    _at_most(cores, gateway.n_cores, f"cores on {name}")
    _at_most(memory, gateway.memory_bytes, f"memory bytes on {name}")
    uses = [use for use in placement.uses if use.gateway == name]
    _demand(len(uses), is_met=len(uses) == 1, expected=f"one use of {name}")
    pulled = sum(pull.compressed_bytes for pull in scene.pulls)
    found = (uses[0].disk_bytes, uses[0].pulled_bytes)
    _demand(found, is_met=found == (disk, pulled), expected=f"{(disk, pulled)} bytes")
    _at_most(abs(uses[0].n_cores - cores), 0.0, "a difference in cores")
    _at_most(abs(uses[0].memory_bytes - memory), 0.0, "a difference in memory")
    sizes = {
        layer.digest: layer.uncompressed_bytes
        for image in problem.all_images()
        for layer in image.layers
    }
    there = (scene.gateway.layers | scene.needed.keys()) - gateway.held
    too_many = sum(sizes.get(digest, 0) for digest in there) - gateway.disk_bytes
    _at_most(abs(uses[0].deleted_bytes - max(0, too_many)), 1.0, "deleted bytes off by")


def _check_pulls(scene: _Scene) -> None:
    """Every missing layer once, one pull after the other, at the downlink's rate."""
    name = scene.gateway.name
    carried = [digest for pull in scene.pulls for digest in pull.digests]
    missing = scene.needed.keys() - scene.present
    _demand(
        sorted(carried),
        is_met=sorted(carried) == sorted(missing),
        expected=f"each missing layer of {name} pulled once: {sorted(missing)}",
    )
    now_s = 0.0
    for pull in scene.pulls:
        n_bytes = sum(scene.needed[digest].compressed_bytes for digest in pull.digests)
        _demand(
            pull.compressed_bytes,
            is_met=pull.compressed_bytes == n_bytes,
            expected=f"{n_bytes} bytes in the pull of {pull.image}",
        )
        _at_most(now_s, pull.begins_s, f"on {name} an earlier end")
        rate = scene.gateway.downlink_bps
        takes_s = 8 * n_bytes / rate if n_bytes else 0.0
        _at_most(pull.begins_s + takes_s, pull.ends_s, f"on {name} an end of a pull")
        now_s = pull.ends_s


def _check_times(problem: PlacementProblem, scene: _Scene) -> None:
    """Nobody's layers come after the slot, or when it is too late to save anything."""
    there = set(scene.present)
    ready_s = {image: 0.0 for image, stack in scene.stacks.items() if stack <= there}
    for pull in scene.pulls:
        there.update(pull.digests)
        stack = scene.stacks.get(pull.image, set())
        _demand(
            pull.image,
            is_met=bool(stack) and stack <= there,
            expected=f"layers of {pull.image} after its pull",
        )
        ready_s.setdefault(pull.image, pull.ends_s)
    for analytic in scene.analytics:
        _demand(
            analytic.image,
            is_met=analytic.image in ready_s,
            expected=f"a pull for {analytic.name}",
        )
        ends_s = ready_s[analytic.image]
        _at_most(ends_s, problem.slot_s, f"end of the pull for {analytic.name}")
        stays_s = problem.remaining_s(analytic)
        starts_s = ends_s + problem.startup_s.get(analytic.image, 0.0)
        _at_most(starts_s, stays_s, f"start of {analytic.name}")
        _demand(
            starts_s,
            is_met=math.isfinite(starts_s),
            expected=f"that {analytic.name} starts",
        )


def _check_backhaul(problem: PlacementProblem, placement: Placement) -> None:
    """By the end of every pull, what has crossed the backhaul fits into the time."""
    if math.isinf(problem.backhaul_bps):
        return
    present = {g.name: g.layers | g.held for g in problem.gateways}
    anywhere = frozenset().union(*present.values()) if problem.has_peer_pulls else ()
    sizes = {
        layer.digest: layer.compressed_bytes
        for image in problem.all_images()
        for layer in image.layers
    }
    crossed: set[object] = set()
    n_bytes = 0
    for pull in sorted(placement.pulls, key=lambda pull: pull.ends_s):
        for digest in pull.digests:
            key = digest if problem.has_peer_pulls else (pull.gateway, digest)
            if digest not in anywhere and key not in crossed:
                crossed.add(key)
                n_bytes += sizes[digest]
        if n_bytes:
            limit = problem.backhaul_bps * pull.ends_s / 8
            _at_most(n_bytes, limit, "bytes over the backhaul")
