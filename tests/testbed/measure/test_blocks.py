"""What becomes of a cell when nodes end around it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from midhaul.errors import NodeError
from midhaul.runs.kept import KeptTables
from midhaul.runs.progress import SilentProgress
from midhaul.runs.run import Run
from midhaul.testbed.measure import blocks
from midhaul.testbed.measure.blocks import (
    MEASURED,
    Bench,
    _configure,
    measure_blocks,
    widest_interval,
)
from midhaul.testbed.measure.config import MeasureConfig
from midhaul.testbed.measure.from_config import Configuration, expand
from midhaul.testbed.measure.tables import REQUESTS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from midhaul.testbed.measure.config import NodeConfig


@dataclass
class FallenRig:
    """A rig that refuses settings until it is started again."""

    ended: dict[str, str]
    asked: list[str] = field(default_factory=list)
    is_up: bool = False
    n_looks: int = 0

    def configure(self, nodes: Sequence[NodeConfig]) -> None:
        """Refuse before the restart."""
        self.asked.append("configure")
        if not self.is_up:
            message = f"{nodes[0].name} does not answer"
            raise NodeError(message)

    def dead(self) -> dict[str, str]:
        """How nodes ended; nothing at the first looks."""
        self.n_looks -= 1
        return {} if self.is_up or self.n_looks >= 0 else self.ended

    def restart(self) -> None:
        """Start everything again."""
        self.asked.append("restart")
        self.is_up = True


def bench_of(rig: FallenRig, measured: KeptTables | None = None) -> Bench:
    """A bench of which nothing but the rig and the tables is used."""
    return Bench(
        rig=cast("Any", rig),
        measured=cast("Any", measured),
        seed=0,
        images={},
        answers={},
        max_detections=100,
    )


def configuration() -> Configuration:
    """The only configuration of the default testbed."""
    config = MeasureConfig()
    (found,) = expand({}, config.nodes, config.load)
    return found


def test_a_node_that_ended_between_cells_is_started_again_and_told() -> None:
    """The run goes on, and the cell that follows knows why it is not valid."""
    rig = FallenRig({"edge1": "killed"})
    assert _configure(configuration(), bench_of(rig)) == {"edge1": "killed"}
    assert rig.asked == ["configure", "restart", "configure"]


def test_a_node_that_is_on_its_way_out_is_waited_for() -> None:
    """Its socket is closed before its process has ended."""
    rig = FallenRig({"edge1": "killed"}, n_looks=3)
    assert _configure(configuration(), bench_of(rig)) == {"edge1": "killed"}
    assert rig.asked == ["configure", "restart", "configure"]


def test_a_living_node_that_refuses_its_settings_ends_the_run() -> None:
    """Starting it again would not help."""
    with pytest.raises(NodeError, match="does not answer"):
        _configure(configuration(), bench_of(FallenRig({})))


def test_precision_ends_no_run_before_its_third_block(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Fewer would leave a later comparison without the six units that it needs."""
    visited: list[int] = []
    monkeypatch.setattr(
        blocks, "_measure_block", lambda block, *_: visited.append(block)
    )
    monkeypatch.setattr(blocks, "widest_interval", lambda *_: 0.001)
    monkeypatch.setattr(blocks, "_carries_claims", lambda *_: True)
    config = MeasureConfig(n_blocks=5)
    run = Run.create(tmp_path, "testbed.measure", config)
    bench = bench_of(FallenRig({}), KeptTables(run, *MEASURED))
    measure_blocks(config, [configuration()], bench, SilentProgress())
    assert visited == [0, 1, 2]


def test_the_medians_are_known_without_a_look_at_the_files(tmp_path: Path) -> None:
    """After a block nothing is read back, so blocks do not get slower one by one."""
    run = Run.create(tmp_path, "testbed.measure", MeasureConfig())
    kept = KeptTables(run, *MEASURED)
    rng = np.random.default_rng(0)
    widths: list[float] = []
    for block in range(6):
        rows = [
            {
                "configuration": 0,
                "block": block,
                "request": number,
                "is_warmup": False,
                "status": "ok",
                "planned_ns": 0,
                "sent_ns": 0,
                "service_ns": int(spent),
                "latency_ns": int(spent),
            }
            for number, spent in enumerate(rng.normal(1e7, 1e6, 50))
        ]
        kept.write(REQUESTS, rows, part=block)
        run.drop(REQUESTS.name, [block])
        widths.append(widest_interval(kept, [configuration()], seed=0))
    assert 0 < widths[-1] < 0.2
    assert len(set(widths)) == len(widths)
