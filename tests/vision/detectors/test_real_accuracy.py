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
# The larger ones of a model, on every fourth image: what they gave there when they
# reached the values above on all of them.
LARGER = {
    "onnx:nanodet_m_416.onnx": (35.4, 20.5),
    "onnx:picodet_s_416_coco.onnx": (43.4, 28.0),
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


@pytest.mark.parametrize("spec", sorted(KNOWN.keys() - LARGER.keys()))
def test_ap_is_within_one_point(
    data_dir: Path, truth: Any, images: dict[int, Any], spec: str
) -> None:
    """AP50 and AP on all images, judged by pycocotools."""
    ap50, ap = judged(f"{data_dir}/models", truth, images, spec)
    assert ap50 == pytest.approx(KNOWN[spec][0], abs=1.0)
    assert ap == pytest.approx(KNOWN[spec][1], abs=1.0)


@pytest.mark.parametrize("spec", sorted(LARGER))
def test_larger_ones_of_a_model_are_as_good_as_before(
    data_dir: Path, truth: Any, images: dict[int, Any], spec: str
) -> None:
    """What only its size tells from one above is judged on every fourth image."""
    fourth = dict(list(images.items())[::4])
    ap50, ap = judged(f"{data_dir}/models", truth, fourth, spec)
    assert ap50 == pytest.approx(LARGER[spec][0], abs=1.0)
    assert ap == pytest.approx(LARGER[spec][1], abs=1.0)


def judged(
    models: str, truth: Any, images: dict[int, Any], spec: str
) -> tuple[float, float]:
    """AP50 and AP in % of a detector on images, by pycocotools."""
    cocoeval = pytest.importorskip("pycocotools.cocoeval")
    kind, file = spec.split(":")
    if kind == "tflite":
        pytest.importorskip("ai_edge_litert")
    detector = load_detector(f"{kind}:{models}/{file}")
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
        judge.params.imgIds = list(images)
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    ap, ap50 = 100 * judge.stats[0], 100 * judge.stats[1]
    print(f"{detector.name:28s} AP50 {ap50:.1f} AP {ap:.1f}")  # noqa: T201
    return ap50, ap
