"""Config of network.estimate: that of network.simulate, and what is estimated."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  pydantic reads it

from midhaul.network.simulate.config import ScenarioConfig
from midhaul.runs.config import setting


class NetworkEstimateConfig(ScenarioConfig):
    """The tail of a network in seconds, with intervals, links to blame and headroom."""

    kind: str = setting("network.estimate", "Kind of the experiment.")
    n_paths: int = setting(500, "Paths that are drawn.", ge=1, le=1_000_000)
    corrector: Path | None = setting(
        None, "What network.train wrote; the one that is shipped by default."
    )
    prefix: float = setting(
        0.0,
        "Share of the flows of a path, those that start first, that are simulated "
        "packet by packet to tell the corrector.",
        ge=0,
        le=1,
    )
    windows: float = setting(
        0.0,
        "Share of all flows that may start in windows of time which are simulated "
        "packet by packet: percentiles are by these then, and the corrector tells only "
        "of links to blame and of headroom; 0: all is by the corrector.",
        ge=0,
        le=1,
    )
    within: float = setting(
        0.1,
        "How far the ends of the 90 % interval of the p99 may lie from it, as a share: "
        "when they do not any more no further window is simulated (windows).",
        gt=0,
        le=1,
    )
    n_blamed: int = setting(
        5, "Links of which it is told what they would give at twice the rate.", ge=0
    )
    headroom_paths: int = setting(
        50, "Paths by which headroom is looked for; 0: it is not.", ge=0
    )
    jobs: int = setting(1, "Processes that look at paths, 0: one per core.", ge=0)
