"""Config of network.validate: that of network.simulate, and what is checked of it."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from midhaul.network.compare.config import SeveralConfig
from midhaul.network.simulators import AUTO, SimulatorName
from midhaul.runs.config import setting


class NetworkValidateConfig(SeveralConfig):
    """Parts of a network, simulated by a judge and by what shall be trusted."""

    kind: str = setting("network.validate", "Kind of the experiment.")
    simulator: SimulatorName = setting("fluid", "What is validated.")
    others: tuple[SimulatorName, ...] = setting(
        (), "Further simulators that are validated on the same parts."
    )
    judge: Literal["packet", "ns3", "kernel"] = setting(
        "packet",
        "What is believed: every packet; ns-3; or the TCP of this machine's kernel.",
    )
    check: Literal["paths", "window"] = setting(
        "paths",
        "paths: some paths, each with what crosses it; window: the whole network for a "
        "time.",
    )
    n_checked: int = setting(
        10, "Paths that are drawn by the flows on them (paths).", ge=2
    )
    begins_s: float = setting(0.0, "When the window begins (window).", ge=0)
    lasts_s: float | None = setting(
        None,
        "How long flows of the window start; a tenth of the time in which flows do "
        "(window).",
        gt=0,
    )
    max_error: float = setting(
        0.1,
        "Error of p99 of the slowdown, as a share, that a simulator may have.",
        gt=0,
    )

    @property
    def simulators(self) -> tuple[str, ...]:
        """The judge, and those that are held against it."""
        return tuple(dict.fromkeys((self.judge, self.simulator, *self.others)))

    @model_validator(mode="after")
    def _judge_is_another(self) -> Self:
        validated = (self.simulator, *self.others)
        for name in validated:
            if name in (AUTO, self.judge):
                message = f"{name} cannot be validated by {self.judge}"
                raise ValueError(message)
        if len(set(validated)) < len(validated):
            message = f"{', '.join(validated)} names a simulator twice"
            raise ValueError(message)
        if self.until_s is not None:
            message = "until_s cuts flows off; lasts_s says how long flows start"
            raise ValueError(message)
        return self
