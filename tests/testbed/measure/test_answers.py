"""Answers without nodes: each image through each pipeline once."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from midhaul.model import Detections
from midhaul.runs.spec import Spec
from midhaul.testbed.measure.config import DataConfig, LoadConfig, NodeConfig
from midhaul.testbed.measure.from_config import expand
from midhaul.testbed.measure.judging import answer, best, plan_tasks

CLOUD = NodeConfig(name="cloud", role="cloud", detector=Spec("null"))
IMAGES = tuple(f"scene-0-evaluation-{n:05d}" for n in range(100))
DATA = DataConfig(n_scenes=100)


def edge(name: str, **changes: object) -> NodeConfig:
    """An edge that forwards images."""
    plain = NodeConfig(name=name, role="edge", cloud="cloud", forward="image")
    return plain.model_copy(update=changes)


def pairs(*nodes: NodeConfig, **grid: tuple[object, ...]) -> Counter[tuple[int, str]]:
    """How often each configuration answers each image."""
    keys = {key.replace("_", ".", 1): values for key, values in grid.items()}
    configurations = expand(keys, nodes, LoadConfig())  # pyright: ignore[reportArgumentType]
    tasks = plan_tasks(configurations, IMAGES, DATA, 100, 0)
    return Counter(
        (configuration, image)
        for task in tasks
        for configuration in task.configurations
        for image in task.images
    )


@pytest.mark.parametrize(
    "grid",
    [
        {},
        {"edge_encode": (Spec("keep"), Spec("jpeg:50"))},
        {"load_rate_hz": (1.0, 2.0, 3.0)},
        {"edge1_resize": (1.0, 0.5)},
    ],
)
def test_every_image_is_answered_once_by_each_configuration(
    grid: dict[str, tuple[object, ...]],
) -> None:
    """Also where configurations share a pipeline, and where edges differ."""
    found = pairs(CLOUD, edge("edge1"), edge("edge2"), **grid)
    n = int(np.prod([len(values) for values in grid.values()]))
    assert found == Counter((c, image) for c in range(n) for image in IMAGES)


def test_configurations_that_answer_alike_share_their_work() -> None:
    """The rate of requests does not change an answer."""
    grid = {"load.rate_hz": (1.0, 2.0)}
    configurations = expand(grid, (CLOUD, edge("edge1")), LoadConfig())
    tasks = plan_tasks(configurations, IMAGES, DATA, 100, 0)
    assert {task.configurations for task in tasks} == {(0, 1)}
    assert sum(len(task.images) for task in tasks) == len(IMAGES)


def test_answers_are_rows_with_bytes_of_both_sides() -> None:
    """A null cloud finds nothing, and the edge still shrinks the image."""
    grid = {"edge.encode": (Spec("jpeg:20"),)}
    configurations = expand(grid, (CLOUD, edge("edge1")), LoadConfig())
    (task,) = plan_tasks(configurations, IMAGES[:2], DATA, 100, 0)
    for row in answer(task):
        assert row["answered_by"] == "cloud"
        assert row["forwarded"]
        assert 0 < int(str(row["prepared_bytes"])) < int(str(row["received_bytes"]))
        assert row["labels"] == []


def test_only_the_best_boxes_of_a_class_are_kept() -> None:
    """COCO's metrics look at so many boxes of each class of an image."""
    scores = np.linspace(0, 1, 24, dtype=np.float32)
    found = Detections(
        boxes=np.zeros((24, 4), np.float32),
        scores=scores,
        labels=np.array([0, 0, 0, 1] * 6, np.int32),
        names=("car", "bus"),
    )
    kept = best(found, 5)
    assert kept.scores.tolist() == sorted(kept.scores.tolist(), reverse=True)
    for label in (0, 1):
        wanted = sorted(scores[found.labels == label].tolist(), reverse=True)[:5]
        assert kept.scores[kept.labels == label].tolist() == wanted
