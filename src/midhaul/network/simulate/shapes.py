"""Shapes of topologies by the names of experiment files, and what each can be told.

Counts and cables are the arguments of their builders, so that nothing is said twice.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal

from midhaul.network.topology.builders import (
    clos,
    dragonfly,
    dumbbell,
    edge_to_cloud,
    fat_tree,
    leaf_spine,
    parking_lot,
    star,
    wan_ring,
)
from midhaul.network.topology.wiring import Cable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from midhaul.model import Topology

_COUNTS = {
    "n_pairs": 4,
    "n_hosts": 4,
    "n_leaves": 4,
    "n_spines": 2,
    "n_ports": 4,
    "n_pods": 2,
    "n_racks": 2,
    "n_planes": 2,
    "n_routers": 4,
    "n_globals": 1,
    "n_sites": 6,
    "n_gateways": 10,
}
"""What stands for a count that a builder needs and nobody gave."""

_UPLINK = Cable(rate_bps=50e6, delay_s=5e-3)
_CABLES = {
    "uplinks": _UPLINK,
    "ring": Cable(rate_bps=10e9, delay_s=1e-3),
    "wide": Cable(rate_bps=10e9, delay_s=1e-5),
}
"""The same of cables; others are 10 Gbit/s over a microsecond."""

_SEVERAL = {"cables": 3}
"""How many stand for several that nobody gave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A builder, and what it can be told.

    Attributes:
        build: the builder.
        counts: its arguments that are whole numbers.
        cables: its arguments that are a cable, with whether they are several.
        has_oversubscription: whether it can be told that.
    """

    build: Callable[..., Topology]
    counts: tuple[str, ...]
    cables: Mapping[str, bool]
    has_oversubscription: bool


def _shape(build: Callable[..., Topology]) -> Shape:
    told = {
        name: str(parameter.annotation)
        for name, parameter in inspect.signature(build).parameters.items()
    }
    return Shape(
        build=build,
        counts=tuple(name for name, hint in told.items() if hint.startswith("int")),
        cables={
            name: hint.startswith("Sequence")
            for name, hint in told.items()
            if "Cable" in hint
        },
        has_oversubscription="oversubscription" in told,
    )


SHAPES: dict[str, Shape] = {
    "dumbbell": _shape(dumbbell),
    "parking-lot": _shape(parking_lot),
    "star": _shape(star),
    "leaf-spine": _shape(leaf_spine),
    "fat-tree": _shape(fat_tree),
    "clos": _shape(clos),
    "dragonfly": _shape(dragonfly),
    "wan-ring": _shape(wan_ring),
    "edge-to-cloud": _shape(edge_to_cloud),
}
"""The shapes by their names."""

FILE, RUN = "file", "run"
"""What is read instead."""

RUN_CABLES: dict[str, Cable] = {
    "uplinks": _UPLINK,
    "backhaul": Cable(rate_bps=10e9, delay_s=1e-3),
}
"""Cables of a plan's run, and what stands for what the plan does not say of them."""

if TYPE_CHECKING:
    ShapeName = str
else:  # a Literal in a config, so that its mistakes and its reference list the names
    ShapeName = Literal[(*SHAPES, FILE, RUN)]


def built(
    name: str,
    counts: Mapping[str, int],
    cables: Sequence[tuple[str, Mapping[str, float]]],
    oversubscription: float | None = None,
) -> Topology:
    """A topology of a shape; ConfigError if its builder refuses.

    ``counts`` are arguments of the builder. ``cables`` have the name of an argument,
    and in what that cable is not as usual; several of one name are taken in turn.
    """
    shape = SHAPES[name]
    told: dict[str, Any] = dict(counts)
    for argument, parameter in inspect.signature(shape.build).parameters.items():
        is_needed = parameter.default is inspect.Parameter.empty
        if argument in shape.counts and is_needed:
            told.setdefault(argument, _COUNTS[argument])
        if argument in shape.cables:
            usual = _CABLES.get(argument, Cable())
            if isinstance(parameter.default, Cable):
                usual = parameter.default
            mine = [replace(usual, **of) for cable, of in cables if cable == argument]
            if shape.cables[argument] and (mine or is_needed):
                told[argument] = mine or [usual] * _SEVERAL.get(argument, 1)
            elif mine or is_needed:
                told[argument] = mine[-1] if mine else usual
    if oversubscription is not None and shape.has_oversubscription:
        told["oversubscription"] = oversubscription
    return shape.build(**told)


CABLE_KEYS = tuple(one.name for one in fields(Cable) if one.name != "queue")
"""What a cable of a file may say."""
