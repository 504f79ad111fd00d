"""The configurations that a grid spans."""

from __future__ import annotations

import pytest

from midhaul.errors import ConfigError
from midhaul.runs.spec import Spec
from midhaul.testbed.measure.config import LoadConfig, NodeConfig
from midhaul.testbed.measure.from_config import expand

CLOUD = NodeConfig(name="cloud", role="cloud", detector=Spec("null"))
EDGES = tuple(
    NodeConfig(name=name, role="edge", cloud="cloud", forward="image")
    for name in ("edge1", "edge2")
)
NODES = (CLOUD, *EDGES)
LOAD = LoadConfig()


def test_an_empty_grid_is_one_configuration() -> None:
    """Without a grid the testbed is measured as it is described."""
    (only,) = expand({}, NODES, LOAD)
    assert only.nodes == NODES
    assert only.load == LOAD


def test_all_combinations_in_order() -> None:
    """The last key turns fastest and a role stands for all its nodes."""
    grid = {"edge.resize": (1.0, 0.5), "edge.gray": (False, True)}
    found = [(c.nodes[1].resize, c.nodes[1].gray) for c in expand(grid, NODES, LOAD)]
    assert found == [(1.0, False), (1.0, True), (0.5, False), (0.5, True)]
    for configuration in expand(grid, NODES, LOAD):
        assert configuration.nodes[1].resize == configuration.nodes[2].resize
        assert configuration.nodes[0] == CLOUD


def test_a_node_or_the_load_can_vary_alone() -> None:
    """A node's own name changes that node only."""
    grid = {"edge2.encode": (Spec("jpeg:50"),), "load.rate_hz": (3.0,)}
    (only,) = expand(grid, NODES, LOAD)
    assert [n.encode for n in only.nodes] == ["keep", "keep", "jpeg:50"]
    assert only.load.rate_hz == 3.0


@pytest.mark.parametrize(
    ("grid", "text"),
    [
        ({"egde.encode": (Spec("keep"),)}, "found 'egde'"),
        ({"edge.encod": (Spec("keep"),)}, "no setting 'encod'"),
        ({"edge.cpu_limit": (0.5,)}, "no setting 'cpu_limit'"),
        ({"edge.encode": ()}, "has no values"),
        ({"edge.encode": (Spec("jpeg:0"),)}, "encode"),
        ({"edge.resize": (2.0,)}, "resize"),
        ({"edge.forward": (Spec("uncertain"),)}, "runs no detector"),
    ],
)
def test_a_mistake_is_named(grid: dict[str, tuple[float, ...]], text: str) -> None:
    """A grid that cannot be applied is refused with its place."""
    with pytest.raises(ConfigError, match=text):
        expand(grid, NODES, LOAD)
