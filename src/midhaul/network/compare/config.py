"""Config of network.compare: that of network.simulate, and a grid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from pydantic import model_validator

from midhaul.network.simulate.config import ScenarioConfig
from midhaul.network.simulate.varied import KEYS, MANY, Grid, check_grid, points_of
from midhaul.runs.config import setting

if TYPE_CHECKING:
    from collections.abc import Iterator


class SeveralConfig(ScenarioConfig):
    """What is simulated several times, one way and another."""

    jobs: int = setting(
        1,
        "Simulations at once, 0: one per core; the times that they take are then no "
        "longer those of a quiet machine.",
        ge=0,
    )


class NetworkCompareConfig(SeveralConfig):
    """The same flows under every combination of a grid, held against one of them."""

    kind: str = setting("network.compare", "Kind of the experiment.")
    grid: Grid = setting(
        lambda: {"simulator": ("packet", "fluid")},
        "What varies: simulator; transport, which all flows then have; a key of every "
        "queue (queue.discipline, queue.max_packets); one of the cables "
        "(cable.uplinks.rate_bps); or a key of this file below topology, routing, "
        "transports or switch_buffer_bytes (topology.oversubscription).",
        min_length=1,
    )
    reference: str = setting(
        "", "Name of the configuration that others are held against; the first."
    )

    def points(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each configuration: its name, and its value for each key of the grid."""
        return points_of(self.grid)

    @model_validator(mode="after")
    def _grid_is_known(self) -> Self:
        transports = [one.label for one in self.transports]
        names = check_grid("grid", self.grid, (*MANY, *KEYS), transports)
        if self.reference and self.reference not in names:
            message = f"reference must be one of {'; '.join(names)}"
            raise ValueError(message)
        return self
