"""What becomes of a cell when nodes end around it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import MagicMock

import pytest

from midhaul.errors import NodeError
from midhaul.testbed.measure import blocks
from midhaul.testbed.measure.blocks import Bench, _configure, measure_blocks
from midhaul.testbed.measure.config import MeasureConfig
from midhaul.testbed.measure.grid import Configuration, expand

if TYPE_CHECKING:
    from collections.abc import Sequence

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


def bench_of(rig: FallenRig) -> Bench:
    """A bench of which nothing but the rig is used."""
    nothing = cast("Any", None)
    return Bench(
        rig=cast("Any", rig),
        run=nothing,
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
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fewer would leave a later comparison without the six units that it needs."""
    visited: list[int] = []
    monkeypatch.setattr(
        blocks, "_measure_block", lambda block, *_: visited.append(block)
    )
    monkeypatch.setattr(blocks, "widest_interval", lambda *_: 0.001)
    monkeypatch.setattr(blocks, "_carries_claims", lambda *_: True)
    config = MeasureConfig(n_blocks=5)
    measure_blocks(config, [configuration()], MagicMock(), MagicMock())
    assert visited == [0, 1, 2]
