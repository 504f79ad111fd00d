"""Config of network.compare: that of network.simulate, and a grid."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any, Self

from pydantic import model_validator

from midhaul.errors import ConfigError, suggestion
from midhaul.model import LinkQueue
from midhaul.network.simulate.config import (
    CableConfig,
    ScenarioConfig,
)
from midhaul.network.simulate.shapes import CABLE_KEYS
from midhaul.network.simulators import SIMULATORS
from midhaul.runs.config import setting
from midhaul.runs.section import section

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_KEYS = ("simulator", "transport", "queue", "cable")


class NetworkCompareConfig(ScenarioConfig):
    """The same flows under every combination of a grid, held against one of them."""

    kind: str = setting("network.compare", "Kind of the experiment.")
    grid: dict[str, tuple[str | int | float, ...]] = setting(
        lambda: {"simulator": ("packet", "fluid")},
        "What varies: simulator; transport, which all flows then have; a key of every "
        "queue (queue.discipline, queue.max_packets); one of the cables "
        "(cable.uplinks.rate_bps).",
        min_length=1,
    )
    reference: str = setting(
        "", "Name of the configuration that others are held against; the first."
    )
    jobs: int = setting(
        1,
        "Configurations at once, 0: one per core; the times that they take are then no "
        "longer those of a quiet machine.",
        ge=0,
    )

    def points(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Each configuration: its name, and its value for each key of the grid."""
        for values in itertools.product(*self.grid.values()):
            point = dict(zip(self.grid, values, strict=True))
            yield " · ".join(_said(key, value) for key, value in point.items()), point

    @model_validator(mode="after")
    def _grid_is_known(self) -> Self:
        known = [one.label for one in self.transports]
        for key, values in self.grid.items():
            head = key.partition(".")[0]
            if head not in _KEYS or not values:
                near = suggestion(head, _KEYS)
                message = f"grid has a key {key!r} without values or meaning{near}"
                raise ValueError(message)
            for value in values:
                _check(key, value)
            choices = {"simulator": list(SIMULATORS), "transport": known}.get(key, [])
            for value in values if choices else ():
                if value not in choices:
                    there = ", ".join(choices)
                    message = f"grid.{key}: {value!r} is none of {there}"
                    raise ValueError(message)
        names = [name for name, _ in self.points()]
        if len(set(names)) < len(names):
            message = "grid has the same value twice"
            raise ValueError(message)
        if self.reference and self.reference not in names:
            message = f"reference must be one of {'; '.join(names)}"
            raise ValueError(message)
        return self


class _EveryQueue(section(LinkQueue)):
    """What a grid can say of the queues of all links."""


def _check(key: str, value: Any) -> None:
    """Refuse, with a ValueError, what a queue or a cable cannot be told."""
    head, _, rest = key.partition(".")
    try:
        if head == "queue":
            _EveryQueue(**{rest: value})
        elif head == "cable" and rest.rpartition(".")[2] in CABLE_KEYS:
            CableConfig(name=rest, **{rest.rpartition(".")[2]: value})
    except ConfigError as error:
        said = error.message.partition(":")[2].strip()
        message = f"grid.{key}: {said}"
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
