"""Thirty model files of some twenty families, each as its exporters write it."""

from __future__ import annotations

import numpy as np
from tests.support.family_models import (
    HEIGHT,
    N_COCO,
    NAMES,
    ULTRALYTICS,
    WIDTH,
    FamilyModel,
    distributions,
    final,
    places,
    queries,
    rows,
    yolox,
)

_COCO_LABELS = ("person", "", "car")
_BYTES = {"inputs": ("uint8", (1, 3, HEIGHT, WIDTH))}
_HALF = {"images": ("float16", (1, 3, HEIGHT, WIDTH))}
_ANY = {"images": ("float32", ("batch", 3, "height", "width"))}
_FOUR = {"images": ("float32", (4, 3, HEIGHT, WIDTH))}
_GRAY = {"images": ("float32", (1, 1, HEIGHT, WIDTH))}
_INT8 = {"images": ("int8", (1, 3, HEIGHT, WIDTH))}
_NHWC = {"input_tensor": ("uint8", (1, None, None, 3))}
_FIXED_NHWC = {"input": ("uint8", (1, HEIGHT, WIDTH, 3))}
_PIXELS = {"pixel_values": ("float32", (None, 3, None, None))}
_MASKED = _PIXELS | {"pixel_mask": ("int64", (None, None, None))}
_SIZED = {
    "images": ("float32", (1, 3, HEIGHT, WIDTH)),
    "orig_target_sizes": ("int64", (1, 2)),
}
_PADDLE = {
    "im_shape": ("float32", (1, 2)),
    "image": ("float32", (1, 3, HEIGHT, WIDTH)),
    "scale_factor": ("float32", (1, 2)),
}
_DETR = {
    "config.json": {
        "model_type": "detr",
        "id2label": {"0": "car", "1": "bus", "2": "person"},
    },
    "preprocessor_config.json": {
        "do_normalize": True,
        "do_rescale": True,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
        "size": {"shortest_edge": HEIGHT, "longest_edge": WIDTH},
    },
}
_RTDETR = {
    "config.json": {
        "model_type": "rt_detr",
        "id2label": {"0": "car", "1": "bus", "2": "person"},
    },
    "preprocessor_config.json": {
        "do_normalize": False,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "size": {"height": HEIGHT, "width": WIDTH},
    },
}
_FEED = "&colour=rgb&mean=0&std=255&fit=stretch"


def _four() -> np.ndarray:
    empty = np.zeros_like(places(3))
    return np.stack([places(3).T, *([empty.T] * 3)])


def _segments() -> dict[str, np.ndarray]:
    behind = np.full((len(places(3)), 32), -0.5, np.float32)
    table = np.concatenate([places(3), behind], axis=1)
    masks = np.zeros((1, 32, HEIGHT // 4, WIDTH // 4), np.float32)
    return {"output0": table.T[None], "output1": masks}


def _corners(table: np.ndarray) -> np.ndarray:
    low = table[:, :2] - table[:, 2:4] / 2
    return np.concatenate([low, low + table[:, 2:4]], axis=1)


def _fraction() -> np.ndarray:
    table = places(3)
    table[:, :4] /= np.array([WIDTH, HEIGHT] * 2, np.float32)
    return table.T[None]


def _detr(scores: str, n_classes: int) -> dict[str, np.ndarray]:
    boxes, logits = queries(50, n_classes, scores=scores)
    return {"logits": logits, "pred_boxes": boxes}


def _rtdetr_of_ultralytics() -> np.ndarray:
    boxes, logits = queries(50, 3, scores="logits")
    return np.concatenate([boxes, 1 / (1 + np.exp(-logits))], axis=2)


def _gfl(strides: tuple[int, ...]) -> dict[str, np.ndarray]:
    classes, sides = distributions(strides)
    return {f"out{i}": one for i, one in enumerate([*classes, *sides])}


def _joined(*parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.concatenate(part, axis=1) for part in parts], axis=2)


def _fastestdet() -> np.ndarray:
    found = np.zeros((1, 5 + N_COCO, HEIGHT // 16, WIDTH // 16), np.float32)
    found[0, 1:3] = -0.5
    for column, row, label, score in ((3, 2, 2, 0.9), (1, 1, 0, 0.8)):
        found[0, 0, row, column] = 1
        found[0, 5 + label, row, column] = score ** (1 / 0.4)
        found[0, 1:5, row, column] = (
            np.arctanh(0.5), np.arctanh(0.5), np.log(0.5), 0.0
        )  # fmt: skip
    return found


MODELS = (
    FamilyModel(
        name="yolov5", family="yolo", labels=_COCO_LABELS,
        make=lambda: {"output": places(N_COCO, anchors=3, objectness=True)[None]},
    ),
    FamilyModel(
        name="yolov5-named", family="yolo", metadata=ULTRALYTICS,
        make=lambda: {"output0": places(3, anchors=3, objectness=True)[None]},
    ),
    FamilyModel(
        name="yolov8", family="yolo", metadata=ULTRALYTICS,
        make=lambda: {"output0": places(3).T[None]},
    ),
    FamilyModel(
        name="yolov8-any-size", family="yolo", metadata=ULTRALYTICS, inputs=_ANY,
        make=lambda: {"output0": places(3).T[None]},
    ),
    FamilyModel(
        name="yolov8-four", family="yolo", metadata=ULTRALYTICS, inputs=_FOUR,
        make=lambda: {"output0": _four()},
    ),
    FamilyModel(
        name="yolo11-gray", family="yolo", metadata=ULTRALYTICS, inputs=_GRAY,
        make=lambda: {"output0": places(3).T[None]},
    ),
    FamilyModel(
        name="yolo11-half", family="yolo", metadata=ULTRALYTICS, inputs=_HALF,
        make=lambda: {"output0": places(3).T[None].astype(np.float16)},
    ),
    FamilyModel(
        name="yolo11-int8-input", family="yolo", metadata=ULTRALYTICS, inputs=_INT8,
        make=lambda: {"output0": places(3).T[None]}, options="?mean=128&std=1",
    ),
    FamilyModel(
        name="yolo12-fractions", family="yolo", metadata=ULTRALYTICS,
        make=lambda: {"output0": _fraction()},
    ),
    FamilyModel(
        name="yolov8-seg", family="yolo",
        metadata=ULTRALYTICS | {"task": "segment"}, make=_segments,
    ),
    FamilyModel(
        name="yolov6", family="yolo", labels=_COCO_LABELS,
        make=lambda: {"outputs": places(N_COCO, objectness=True)[None]},
    ),
    FamilyModel(
        name="yolov10", family="yolo", metadata=ULTRALYTICS,
        make=lambda: {"output0": rows("x1 y1 x2 y2 score label", n=300)[None]},
    ),
    FamilyModel(
        name="yolov7-end2end", family="yolo", options="?labels=NAMES",
        make=lambda: {"output": rows("image x1 y1 x2 y2 label score")},
    ),
    FamilyModel(
        name="yolox", family="yolox", labels=_COCO_LABELS,
        make=lambda: {"output": yolox()},
    ),
    FamilyModel(
        name="yolo-nas", family="yolo-nas", labels=_COCO_LABELS, inputs=_BYTES,
        make=lambda: {
            "boxes": _corners(places(N_COCO))[None],
            "scores": places(N_COCO)[None, :, 4:],
        },
    ),
    FamilyModel(
        name="yolo-nas-flat", family="yolo", options="?labels=NAMES", inputs=_BYTES,
        make=lambda: {
            "graph2_flat_predictions": rows("image x1 y1 x2 y2 score label")
        },
    ),
    FamilyModel(
        name="rtdetr-ultralytics", family="rt-detr",
        metadata=ULTRALYTICS | {"description": "Ultralytics rtdetr-l model"},
        make=lambda: {"output0": _rtdetr_of_ultralytics()},
    ),
    FamilyModel(
        name="rtdetr-sized", family="rt-detr", inputs=_SIZED, options="?labels=NAMES",
        make=lambda: final("boxes", "labels", "scores", n=300),
    ),
    FamilyModel(
        name="rtdetr-hf", family="rt-detr", inputs=_PIXELS, beside=_RTDETR,
        make=lambda: _detr("logits", 3),
    ),
    FamilyModel(
        name="detr-hf", family="detr", inputs=_MASKED, beside=_DETR,
        make=lambda: _detr("softmax", 4),
    ),
    FamilyModel(
        name="efficientdet", family="efficientdet", inputs=_FIXED_NHWC,
        options="?labels=NAMES",
        make=lambda: {
            "detections:0": rows("image y1 x1 y2 x2 score label", n=100, first=1)[None]
        },
    ),
    FamilyModel(
        name="ssd-tensorflow", family="tensorflow", inputs=_NHWC,
        options="?labels=NAMES",
        make=lambda: final(
            "detection_boxes", "detection_classes", "detection_scores",
            order="y1 x1 y2 x2", unit="fraction", first=1, count="num_detections",
            whole=False,
        ),
    ),
    FamilyModel(
        name="tensorrt-nms", family="yolo", options="?labels=NAMES",
        make=lambda: final(
            "det_boxes", "det_classes", "det_scores", count="num_dets"
        ),
    ),
    FamilyModel(
        name="torchvision", family="torchvision", options="?labels=NAMES",
        inputs={"image": ("float32", (3, None, None))},
        make=lambda: final("boxes", "labels", "scores", n=2, first=1),
    ),
    FamilyModel(
        name="paddle-nms", family="paddle", inputs=_PADDLE,
        options="?labels=NAMES&mean=0&std=255",
        make=lambda: {
            "multiclass_nms3_0.tmp_0": rows("label score x1 y1 x2 y2"),
            "multiclass_nms3_0.tmp_2": np.array([2], np.int32),
        },
    ),
    FamilyModel(
        name="ppyoloe", family="paddle", labels=_COCO_LABELS,
        options="?mean=0&std=255",
        make=lambda: {
            "boxes": _corners(places(N_COCO))[None],
            "scores": places(N_COCO)[None, :, 4:].transpose(0, 2, 1).copy(),
        },
    ),
    FamilyModel(
        name="mmdeploy", family="mmdeploy", options=f"?labels=NAMES{_FEED}",
        make=lambda: {
            "dets": rows("x1 y1 x2 y2 score", n=5)[None],
            "labels": np.array([[2, 0, 0, 0, 0]], np.int64),
        },
    ),
    FamilyModel(
        name="boxes-of-my-own", family="boxes",
        options=f"?labels=NAMES&box_order=xywh{_FEED}",
        make=lambda: final("boxes", "labels", "scores", order="x1 y1 w h"),
    ),
)  # fmt: skip
"""Networks whose objects are those of ``family_models``."""

GRIDS = (
    FamilyModel(
        name="fastestdet", family="fastestdet", labels=_COCO_LABELS,
        make=lambda: {"out": _fastestdet()},
    ),
    FamilyModel(
        name="nanodet", family="nanodet", labels=_COCO_LABELS,
        make=lambda: _gfl((8, 16, 32)),
    ),
    FamilyModel(
        name="picodet", family="picodet", labels=_COCO_LABELS,
        make=lambda: _gfl((8, 16, 32, 64)),
    ),
    FamilyModel(
        name="nanodet-plus", family="nanodet-plus", labels=_COCO_LABELS,
        make=lambda: {"output": _joined(*distributions((8, 16, 32, 64)))},
    ),
)  # fmt: skip
"""Networks of grids, whose objects are a cell of 16 px with a stride on each side."""

NAMES_TEXT = "\n".join(NAMES) + "\n"
