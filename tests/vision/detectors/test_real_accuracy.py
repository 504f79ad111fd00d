"""The real detectors reach the accuracy that is known of their weights."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, Any

import pytest

from midhaul.vision.detectors.detector import load_detector
from midhaul.vision.images.image import decode

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.needs_data]

# AP50 and AP in % on the 161 images, by pycocotools, as README.md of the data has them.
KNOWN = {
    "onnx:FastestDet.onnx": (30.0, 15.9),
    "onnx:yolo-fastestv2.onnx": (26.8, 13.8),
    "tflite:ssd_mobilenet_v1_quant.tflite": (30.2, 16.9),
    "onnx:nanodet_m_320.onnx": (39.8, 23.6),
    "onnx:nanodet_m_416.onnx": (39.7, 23.1),
    "onnx:yolox_nano.onnx": (43.6, 28.3),
    "onnx:picodet_s_320_coco.onnx": (45.0, 30.0),
    "onnx:picodet_s_416_coco.onnx": (49.1, 34.6),
}


@pytest.fixture(scope="module")
def truth(data_dir: Path) -> Any:
    """The ground truth as pycocotools reads it."""
    coco = pytest.importorskip("pycocotools.coco")
    with contextlib.redirect_stdout(io.StringIO()):
        return coco.COCO(str(data_dir / "coco_mini" / "instances_val.json"))


@pytest.fixture(scope="module")
def images(data_dir: Path, truth: Any) -> dict[int, Any]:
    """All images, decoded once for all detectors."""
    folder = data_dir / "coco_mini" / "val"
    return {
        image["id"]: decode((folder / image["file_name"]).read_bytes())
        for image in truth.dataset["images"]
    }


@pytest.mark.parametrize("spec", sorted(KNOWN))
def test_ap_is_within_one_point(
    data_dir: Path, truth: Any, images: dict[int, Any], spec: str
) -> None:
    """AP50 and AP on all images, judged by pycocotools."""
    cocoeval = pytest.importorskip("pycocotools.cocoeval")
    kind, file = spec.split(":")
    if kind == "tflite":
        pytest.importorskip("ai_edge_litert")
    detector = load_detector(f"{kind}:{data_dir / 'models' / file}")
    categories = {one["name"]: one["id"] for one in truth.dataset["categories"]}
    rows: list[dict[str, Any]] = []
    for image_id, image in images.items():
        found = detector.detect(image)
        sides = found.boxes[:, 2:] - found.boxes[:, :2]
        rows.extend(
            {
                "image_id": image_id,
                "category_id": categories[found.names[found.labels[index]]],
                "score": float(found.scores[index]),
                "bbox": [*found.boxes[index, :2].tolist(), *sides[index].tolist()],
            }
            for index in range(len(found))
        )
    with contextlib.redirect_stdout(io.StringIO()):
        judge = cocoeval.COCOeval(truth, truth.loadRes(rows), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    ap, ap50 = 100 * judge.stats[0], 100 * judge.stats[1]
    print(f"{detector.name:28s} AP50 {ap50:.1f} AP {ap:.1f}")  # noqa: T201
    assert ap50 == pytest.approx(KNOWN[spec][0], abs=1.0)
    assert ap == pytest.approx(KNOWN[spec][1], abs=1.0)
