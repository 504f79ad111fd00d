"""An independent judge: pycocotools on the same boxes, and recorded detections."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from midhaul.model import Detections

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from midhaul.model import GroundTruth
    from midhaul.vision.data.dataset import Dataset


def pycocotools_scores(
    truths: Sequence[GroundTruth], answers: Sequence[Detections]
) -> tuple[np.ndarray, np.ndarray]:
    """The twelve numbers and the AP of each class; NaN for what does not exist."""
    names = truths[0].names
    truth_rows: list[dict[str, Any]] = []
    answer_rows: list[dict[str, Any]] = []
    for image, (truth, answer) in enumerate(zip(truths, answers, strict=True), 1):
        for k in range(len(truth)):
            row = _row(image, truth.boxes[k], truth.labels[k])
            row |= {
                "id": len(truth_rows) + 1,
                "area": float(truth.areas_px[k]),
                "iscrowd": int(truth.is_crowd[k]),
            }
            truth_rows.append(row)
        for k in range(len(answer)):
            row = _row(image, answer.boxes[k], answer.labels[k])
            area = row["bbox"][2] * row["bbox"][3]
            row |= {
                "id": len(answer_rows) + 1,
                "area": area,
                "iscrowd": 0,
                "score": float(answer.scores[k]),
            }
            answer_rows.append(row)
    with contextlib.redirect_stdout(io.StringIO()):
        run = COCOeval(
            _coco(len(truths), names, truth_rows),
            _coco(len(truths), names, answer_rows),
            "bbox",
        )
        run.evaluate()
        run.accumulate()
        run.summarize()
    precision = run.eval["precision"][:, :, :, 0, -1].copy()
    precision[precision == -1] = np.nan
    return np.where(run.stats == -1, np.nan, run.stats), precision.mean(axis=(0, 1))


def recorded(file: Path, dataset: Dataset, provider: str) -> dict[str, Detections]:
    """The detections of one provider, for every image of a data set."""
    table = pq.read_table(file)
    table = table.filter(pc.equal(table["provider"].cast("string"), provider))
    numbers = {n: i for i, n in enumerate(dataset.names)}
    images = table["image_id"].to_numpy()
    labels = np.array([numbers[n] for n in table["label"].to_pylist()], np.int32)
    scores = table["score"].to_numpy().astype(np.float32)
    corners = [table[c].to_numpy() for c in ("x1", "y1", "x2", "y2")]
    boxes = np.stack(corners, axis=1).astype(np.float32)
    return {
        i: Detections(
            boxes=boxes[images == int(i)],
            scores=scores[images == int(i)],
            labels=labels[images == int(i)],
            names=dataset.names,
        )
        for i in dataset.image_ids
    }


def raw_pycocotools(truth_file: Path, answers: Mapping[str, Detections]) -> np.ndarray:
    """The twelve numbers straight from the file of the ground truth."""
    rows: list[dict[str, Any]] = []
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(truth_file))
        ids = {c["name"]: c["id"] for c in truth.loadCats(truth.getCatIds())}
        for image_id, answer in answers.items():
            for k in range(len(answer)):
                row = _row(int(image_id), answer.boxes[k], answer.labels[k])
                row["category_id"] = ids[answer.names[answer.labels[k]]]
                rows.append(row | {"score": float(answer.scores[k])})
        run = COCOeval(truth, truth.loadRes(rows), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run.stats


def _coco(n_images: int, names: Sequence[str], rows: list[dict[str, Any]]) -> COCO:
    coco = COCO()
    coco.dataset = {
        "images": [{"id": i + 1} for i in range(n_images)],
        "categories": [{"id": i + 1, "name": n} for i, n in enumerate(names)],
        "annotations": rows,
    }
    coco.createIndex()
    return coco


def _row(image: int, box: np.ndarray, label: np.int32) -> dict[str, Any]:
    x1, y1, x2, y2 = (float(v) for v in box)
    return {
        "image_id": image,
        "category_id": int(label) + 1,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
    }
