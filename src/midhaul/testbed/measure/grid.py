"""The configurations that a grid spans.

A grid names settings by the role or the name of a node (``edge.encode``,
``edge2.detector``) or of the load (``load.rate_hz``), each with its values; a
configuration is one combination, applied to the whole testbed.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ValidationError

from midhaul.errors import ConfigError
from midhaul.testbed.measure.config import GridValue, LoadConfig, NodeConfig

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_Model = TypeVar("_Model", bound=BaseModel)

FIXED = frozenset(
    {"name", "role", "cloud", "port", "workdir", "cpu_limit", "memory_limit_bytes"}
    | {"monitor_period_s", "threads", "workers"}
)
"""Settings of a node that cannot change while it runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """One combination of the grid.

    Attributes:
        index: its number, from 0.
        settings: the varied settings and their values here.
        nodes: every node with its settings applied.
        load: the load with its settings applied.
    """

    index: int
    settings: Mapping[str, GridValue]
    nodes: tuple[NodeConfig, ...]
    load: LoadConfig


def expand(
    grid: Mapping[str, Sequence[GridValue]],
    nodes: Sequence[NodeConfig],
    load: LoadConfig,
) -> tuple[Configuration, ...]:
    """All combinations of a grid, the last key turning fastest.

    Args:
        grid: values by setting; an empty grid gives one configuration.
        nodes: the testbed as the file describes it.
        load: the load as the file describes it.

    Raises:
        ConfigError: a key names no node or no setting, or a value does not fit it.
    """
    for key, values in grid.items():
        _check_key(key, nodes)
        if not values:
            message = f"grid.{key} has no values"
            raise ConfigError(message, "give at least one value, or drop the key")
    return tuple(
        _configuration(index, dict(zip(grid, values, strict=True)), nodes, load)
        for index, values in enumerate(itertools.product(*grid.values()))
    )


def _check_key(key: str, nodes: Sequence[NodeConfig]) -> None:
    owner, _, setting = key.partition(".")
    owners = ["load", *dict.fromkeys(n.role for n in nodes), *(n.name for n in nodes)]
    if owner not in owners:
        message = f"grid.{key}: expected one of {', '.join(owners)}, found {owner!r}"
        raise ConfigError(message, "name a role, a node or load before the point")
    known = set(LoadConfig.model_fields)
    if owner != "load":
        known = set(NodeConfig.model_fields) - FIXED
    if setting not in known:
        message = f"grid.{key}: {owner} has no setting {setting!r} that can vary"
        raise ConfigError(message, f"settings that can: {', '.join(sorted(known))}")


def _configuration(
    index: int,
    settings: dict[str, GridValue],
    nodes: Sequence[NodeConfig],
    load: LoadConfig,
) -> Configuration:
    applied = list(nodes)
    for key, value in settings.items():
        owner, _, setting = key.partition(".")
        if owner == "load":
            continue
        for place, node in enumerate(applied):
            if owner in {node.role, node.name}:
                change = {setting: value}
                applied[place] = applied[place].model_copy(update=change)
    changes = {k[5:]: v for k, v in settings.items() if k.startswith("load.")}
    return Configuration(
        index=index,
        settings=settings,
        nodes=tuple(_validated(node, settings) for node in applied),
        load=_validated(load.model_copy(update=changes), settings),
    )


def _validated(model: _Model, settings: Mapping[str, GridValue]) -> _Model:
    try:
        return type(model).model_validate(model.model_dump())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"])
        shown = ", ".join(f"{k} = {v}" for k, v in settings.items())
        text = first["msg"]
        message = f"grid: {place} {text} (in the combination {shown})"
        raise ConfigError(message, "change the values of the grid") from error
