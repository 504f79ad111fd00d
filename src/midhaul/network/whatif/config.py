"""Config of network.whatif: that of network.simulate, and what may vary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import model_validator

from midhaul.network.compare.config import SeveralConfig
from midhaul.network.simulate.varied import KEYS, MANY, Grid, check_grid, points_of
from midhaul.network.slowdown import SIZE_CLASSES
from midhaul.runs.config import Section, setting

if TYPE_CHECKING:
    from collections.abc import Iterator

_KEYS = (*(key for key in MANY if key != "simulator"), *KEYS)

if TYPE_CHECKING:
    ClassName = str
else:
    ClassName = Literal[("all", *SIZE_CLASSES)]


class ChoiceCostConfig(Section):
    """What a value costs."""

    key: str = setting(..., "The key, one of those of vary.")
    value: str | int | float = setting(..., "One of its values.")
    usd: float = setting(..., "What it costs, in dollars, over any time.", ge=0)


class NetworkWhatifConfig(SeveralConfig):
    """The same flows under every choice, and which of them is best."""

    kind: str = setting("network.whatif", "Kind of the experiment.")
    vary: Grid = setting(
        lambda: {"cable.uplinks.rate_bps": (50e6, 100e6)},
        "Values of each key: transport, which all flows then have; a key of every "
        "queue (queue.discipline); one of the cables (cable.uplinks.rate_bps); or a "
        "key of this file below topology, routing, transports or switch_buffer_bytes "
        "(topology.oversubscription, transports.0.rdma.window_bytes).",
        min_length=1,
    )
    present: str = setting(
        "",
        "Name of the choice that is the network as it is: flows are drawn on this "
        "file's topology anyway, and completion times are shown over what flows would "
        "take alone under this choice; the first.",
    )
    percentile: Literal[50, 95, 99] = setting(
        99, "The percentile of slowdown by which choices are judged."
    )
    size_class: ClassName = setting("all", "The class of size by which they are.")
    equal_within: float = setting(
        0.02,
        "Choices whose ratio surely lies within this are equal, whatever a test says.",
        ge=0,
        lt=1,
    )
    n_seeds: int = setting(
        1, "Workloads that are drawn, each simulated under every choice.", ge=1
    )
    costs: tuple[ChoiceCostConfig, ...] = setting(
        (), "What values cost; one that is not said costs nothing."
    )

    def points(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each choice: its name, and its value for each key that varies."""
        return points_of(self.vary)

    def cost_usd(self, point: dict[str, Any]) -> float | None:
        """What a choice costs; None where nothing is said of costs."""
        if not self.costs:
            return None
        return sum(one.usd for one in self.costs if point[one.key] == one.value)

    @model_validator(mode="after")
    def _choices_are_known(self) -> Self:
        transports = [one.label for one in self.transports]
        names = check_grid("vary", self.vary, _KEYS, transports)
        if self.present and self.present not in names:
            message = f"present must be one of {'; '.join(names)}"
            raise ValueError(message)
        for cost in self.costs:
            if cost.value not in self.vary.get(cost.key, ()):
                message = f"costs has {cost.key} = {cost.value!r}, which vary has not"
                raise ValueError(message)
        return self
