"""What Ultralytics and transformers make of the same tensors, where they are installed.

They are large, and no part of what the tests install; whoever has them holds our
reading of their models to theirs.
"""

from __future__ import annotations

import importlib
import types
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.support.family_models import (
    HEIGHT,
    ULTRALYTICS,
    WIDTH,
    FamilyModel,
    places,
)

from midhaul.vision.detectors.detector import load_detector

if TYPE_CHECKING:
    from pathlib import Path

    from midhaul.model import Detections

PICTURE = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
CLASSES = {"0": "car", "1": "bus", "2": "person"}
PROCESSORS = {
    "rt_detr": "transformers.models.rt_detr.image_processing_rt_detr",
    "detr": "transformers.models.detr.image_processing_detr",
}


def check_same(
    found: Detections, boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray
) -> None:
    """The same boxes with the same scores and labels, in whichever order."""
    theirs = np.lexsort((labels, -np.round(scores, 4)))
    ours = np.lexsort((found.labels, -np.round(found.scores, 4)))
    assert len(ours) == len(theirs) > 5
    limit = [WIDTH, HEIGHT, WIDTH, HEIGHT]
    assert found.boxes[ours] == pytest.approx(boxes[theirs].clip(0, limit), abs=1e-3)
    assert found.scores[ours] == pytest.approx(scores[theirs], abs=1e-5)
    assert found.labels[ours].tolist() == labels[theirs].tolist()


@pytest.mark.parametrize("has_objectness", [False, True])
def test_yolo_is_read_as_ultralytics_reads_it(
    tmp_path: Path,
    has_objectness: bool,  # noqa: FBT001
) -> None:
    """With every class of a place, as its validation does."""
    nms: Any = pytest.importorskip(
        "ultralytics.utils.nms", reason="compared where Ultralytics is at hand"
    )
    torch: Any = pytest.importorskip("torch")
    rng = np.random.default_rng(7)
    table = places(3, anchors=3 if has_objectness else 1, objectness=has_objectness)
    table[:, :2] += rng.uniform(-3, 3, table[:, :2].shape)
    table[:, 2:4] = rng.uniform(14, 18, table[:, 2:4].shape)
    table[:, 4:] = rng.uniform(0, 1, table[:, 4:].shape) ** 3
    model = FamilyModel(
        name="yolo",
        family="yolo",
        metadata=ULTRALYTICS,
        make=lambda: {"out": table[None] if has_objectness else table.T[None]},
    )
    spec = f"onnx:{model.write(tmp_path)}?score_threshold=0.2&nms_iou=0.55"
    found = load_detector(f"{spec}&max_detections=300").detect(PICTURE)
    scaled = table[:, 5:] * table[:, 4:5] if has_objectness else table[:, 4:]
    joined = np.concatenate([table[:, :4], scaled], axis=1).T[None].copy()
    rows = nms.non_max_suppression(
        torch.from_numpy(joined), 0.2, 0.55, multi_label=True, max_det=300
    )[0].numpy()
    check_same(found, rows[:, :4], rows[:, 4], rows[:, 5].astype(int))


@pytest.mark.parametrize("kind", PROCESSORS)
def test_queries_are_read_as_transformers_reads_them(tmp_path: Path, kind: str) -> None:
    """A softmax with nothing for DETR, sigmoids for RT-DETR."""
    pytest.importorskip("transformers", reason="compared where it is at hand")
    torch: Any = pytest.importorskip("torch")
    importlib.import_module("tests.support.torchvision_shim").install()
    module: Any = importlib.import_module(PROCESSORS[kind])
    processor: Any = {
        "rt_detr": "RTDetrImageProcessor", "detr": "DetrImageProcessor"
    }[kind]  # fmt: skip
    rng = np.random.default_rng(7)
    n_columns = 4 if kind == "detr" else 3
    boxes = rng.uniform(0.2, 0.5, (1, 30, 4)).astype(np.float32)
    logits = rng.normal(-2, 2, (1, 30, n_columns)).astype(np.float32)
    logits[..., 3:] += 4
    model = FamilyModel(
        name=kind,
        family=kind,
        inputs={"pixel_values": ("float32", (1, 3, HEIGHT, WIDTH))},
        beside={"config.json": {"model_type": kind, "id2label": CLASSES}},
        make=lambda: {"logits": logits, "pred_boxes": boxes},
    )
    spec = f"onnx:{model.write(tmp_path)}?score_threshold=0.1&max_detections=30"
    answer = types.SimpleNamespace(
        logits=torch.from_numpy(logits), pred_boxes=torch.from_numpy(boxes)
    )
    (theirs,) = getattr(module, processor)().post_process_object_detection(
        answer, threshold=0.1, target_sizes=[(HEIGHT, WIDTH)]
    )
    check_same(
        load_detector(spec).detect(PICTURE),
        theirs["boxes"].numpy(),
        theirs["scores"].numpy(),
        theirs["labels"].numpy(),
    )
