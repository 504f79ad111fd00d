"""Keys that vary: every combination of some values, and a config that has one of them.

A key is one of the four that stand for many (``simulator``, ``transport``,
``queue.KEY``, ``cable.NAME.KEY``), or a key of the experiment file below one of
``topology``, ``routing``, ``transports`` and ``switch_buffer_bytes``.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from midhaul.errors import ConfigError, suggestion
from midhaul.model import LinkQueue
from midhaul.network.simulate.config import CableConfig
from midhaul.network.simulate.shapes import CABLE_KEYS
from midhaul.network.simulators import SIMULATORS
from midhaul.runs.experiment_file import ExperimentFile, Override, parse_key
from midhaul.runs.section import section

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from midhaul.model import Flows, Topology
    from midhaul.network.simulate.config import ScenarioConfig

MANY = ("simulator", "transport", "queue", "cable")
"""Keys that stand for several of a file, or for none that it has."""

KEYS = ("topology", "routing", "transports", "switch_buffer_bytes")
"""Keys of a file that may vary, or what stands below them."""

Grid = dict[str, tuple[str | int | float, ...]]

_Config = TypeVar("_Config", bound="ScenarioConfig")


def points_of(
    grid: Mapping[str, Sequence[object]],
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each combination of a grid: its name, and its value for each key."""
    for values in itertools.product(*grid.values()):
        point = dict(zip(grid, values, strict=True))
        yield " · ".join(_said(key, value) for key, value in point.items()), point


def check_grid(
    what: str, grid: Grid, known: Sequence[str], transports: Sequence[str]
) -> list[str]:
    """Names of the combinations of a grid; ValueError if it cannot be.

    ``what`` is the key of the grid, ``known`` what its keys may begin with.
    """
    for key, values in grid.items():
        head = key.partition(".")[0]
        if head not in known or not values:
            near = suggestion(head, known)
            message = f"{what} has a key {key!r} without values or meaning{near}"
            raise ValueError(message)
        for value in values:
            _check(what, key, value)
        choices = {"simulator": SIMULATORS.names, "transport": tuple(transports)}
        for value in values if key in choices else ():
            if value not in choices[key]:
                there = ", ".join(choices[key])
                message = f"{what}.{key}: {value!r} is none of {there}"
                raise ValueError(message)
    names = [name for name, _ in points_of(grid)]
    if len(set(names)) < len(names):
        message = f"{what} has the same value twice"
        raise ValueError(message)
    return names


class _EveryQueue(section(LinkQueue)):
    """What a grid can say of the queues of all links."""


def _check(what: str, key: str, value: Any) -> None:
    """Refuse, with a ValueError, what a queue or a cable cannot be told."""
    head, _, rest = key.partition(".")
    try:
        if head == "queue":
            _EveryQueue(**{rest: value})
        elif head == "cable" and rest.rpartition(".")[2] in CABLE_KEYS:
            CableConfig(name=rest, **{rest.rpartition(".")[2]: value})
    except ConfigError as error:
        said = error.message.partition(":")[2].strip()
        message = f"{what}.{key}: {said}"
        raise ValueError(message) from error


def _said(key: str, value: object) -> str:
    """A value as a part of a name."""
    if key.endswith("rate_bps") and isinstance(value, int | float):
        for factor, unit in ((1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s")):
            if value >= factor:
                return f"{value / factor:g} {unit}"
    if isinstance(value, str):
        return value
    return f"{key.rpartition('.')[2]} {json.dumps(value)}"


def varied(config: _Config, point: Mapping[str, Any]) -> _Config:
    """A config with what a point says of its keys; ConfigError if it cannot be."""
    overrides = [
        Override(key=parse_key(key), value=value, folder=Path.cwd())
        for key, value in point.items()
        if key.partition(".")[0] in KEYS
    ]
    if not overrides:
        return config
    file = ExperimentFile(
        path=Path("varied.toml"), values=config.model_dump(mode="json"), name="varied"
    )
    return file.config(type(config), overrides)


def between_same_hosts(flows: Flows, drawn_on: Topology, topology: Topology) -> Flows:
    """Flows of one topology on another, by the names of their hosts.

    ConfigError if the other one lacks a host that sends or receives.
    """
    if topology.nodes == drawn_on.nodes:
        return flows
    place = {name: i for i, name in enumerate(topology.nodes)}
    used = np.union1d(flows.source, flows.target).tolist()
    missing = [drawn_on.nodes[i] for i in used if drawn_on.nodes[i] not in place]
    if missing:
        message = f"the same flows need the same hosts, and {missing[0]} is not there"
        raise ConfigError(message, "vary what leaves the hosts as they are")
    moved = np.array([place.get(name, -1) for name in drawn_on.nodes], np.int32)
    return replace(flows, source=moved[flows.source], target=moved[flows.target])
