"""What a freshly exported built-in detector finds, and COCO's scores of it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import cv2
import numpy as np
import onnxruntime
from builtin_training_data import cell_centres
from faster_coco_eval import COCO, COCOeval_faster
from PIL import Image

from midhaul.vision.scenes.scene import HEIGHT, WIDTH, encode_scene, make_scene

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from midhaul.model import GroundTruth
    from midhaul.vision.scenes.scene import Split

Found = tuple[np.ndarray, np.ndarray, np.ndarray]

SCORE_THRESHOLD = 0.01
NMS_IOU = 0.6
MAX_DETECTIONS = 100
MEAN, STD = 114.0, 58.0


def session(file: Path) -> onnxruntime.InferenceSession:
    """One thread, as midhaul's own runtime has it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(file, options, ["CPUExecutionProvider"])


def detect(net: onnxruntime.InferenceSession, pixels: np.ndarray) -> Found:
    """Boxes in px of a scene of the usual size, scores and labels."""
    x = ((pixels.astype(np.float32) - MEAN) / STD).transpose(2, 0, 1)[None]
    raw = net.run(None, {"images": x})[0][0]
    corners, strides = cell_centres(WIDTH, HEIGHT)
    scores = raw[:, 5:] * raw[:, 4:5]
    cells, labels = np.nonzero(scores > SCORE_THRESHOLD)
    scores = scores[cells, labels]
    centre = raw[cells, :2] * strides[cells, None] + corners[cells]
    size = np.exp(raw[cells, 2:4]) * strides[cells, None]
    boxes = np.concatenate([centre - size / 2, size], axis=1)
    kept = cv2.dnn.NMSBoxesBatched(
        boxes.tolist(), scores.tolist(), labels.tolist(), SCORE_THRESHOLD, NMS_IOU
    )
    order = np.array(kept, np.int64)[:MAX_DETECTIONS]
    return boxes[order], scores[order], labels[order]


def detect_all(
    file: Path, indices: Iterable[int], split: Split
) -> tuple[list[GroundTruth], list[Found]]:
    """Truth of some scenes of a split, and what the detector finds on them."""
    net = session(file)
    truths: list[GroundTruth] = []
    found: list[Found] = []
    for index in indices:
        scene = make_scene(0, index, split)
        pixels = np.asarray(Image.open(io.BytesIO(encode_scene(scene))))
        truths.append(scene.truth)
        found.append(detect(net, pixels))
    return truths, found


def coco_scores(truths: list[GroundTruth], found: list[Found]) -> dict[str, float]:
    """AP, AP50 and AP by size, as COCO defines them."""
    annotations, results = [], []
    for image, truth in enumerate(truths):
        for box, label, area in zip(
            truth.boxes, truth.labels, truth.areas_px, strict=True
        ):
            x, y, x2, y2 = (float(v) for v in box)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": int(label),
                    "bbox": [x, y, x2 - x, y2 - y],
                    "area": float(area),
                    "iscrowd": 0,
                }
            )
    for image, (boxes, scores, labels) in enumerate(found):
        for box, score, label in zip(boxes, scores, labels, strict=True):
            results.append(
                {
                    "image_id": image,
                    "category_id": int(label),
                    "bbox": [float(v) for v in box],
                    "score": float(score),
                }
            )
    names = truths[0].names
    coco = COCO(
        {
            "images": [
                {"id": i, "width": WIDTH, "height": HEIGHT} for i in range(len(truths))
            ],
            "categories": [{"id": i, "name": name} for i, name in enumerate(names)],
            "annotations": annotations,
        }
    )
    judge = COCOeval_faster(coco, coco.loadRes(results), "bbox")
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    keys = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
    return {key: float(v) for key, v in zip(keys, judge.stats, strict=False)}
