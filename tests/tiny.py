"""Small named instances whose answers are known by hand."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from midhaul.model import Detections, GroundTruth
from midhaul.vision.data.dataset import Dataset

NAMES = ("person", "car", "bus")
SIZE = (100, 80)

_TRUTH = {
    # By id: label, box and whether it is a crowd.
    "a": [("person", (10, 10, 30, 50), False), ("car", (40, 20, 90, 60), False)],
    "b": [("person", (0, 0, 50, 80), True), ("person", (60, 10, 80, 60), False)],
    "c": [],
    "d": [("bus", (0, 0, 80, 70), False), ("car", (5, 5, 15, 15), False)],
}
_ANSWERS = {
    # By id: label, box and score; beside it what becomes of it at IoU 0.5.
    "a": [
        ("person", (10, 10, 30, 50), 0.9),  # right
        ("car", (40, 20, 90, 55), 0.8),  # right, IoU 0.875
        ("person", (60, 0, 70, 10), 0.6),  # wrong
    ],
    "b": [
        ("person", (5, 5, 20, 40), 0.7),  # in the crowd: not judged
        ("person", (60, 10, 80, 60), 0.4),  # right
    ],
    "c": [("bus", (10, 10, 50, 50), 0.85)],  # wrong
    "d": [("bus", (0, 0, 80, 40), 0.95)],  # right, IoU 0.571; the car is missed
}


def four_images() -> tuple[Dataset, dict[str, Detections]]:
    """Four images with six boxes to judge by, one crowd, and a detector's answers.

    At IoU 0.5 and a score threshold of 0.5: person 1 right, 1 wrong, 2 boxes; car 1, 0,
    2; bus 1, 1, 1.
    """
    image_ids = tuple(_TRUTH)
    dataset = Dataset(
        name="four images",
        names=NAMES,
        image_ids=image_ids,
        truth={i: ground_truth(_TRUTH[i]) for i in image_ids},
        sizes=dict.fromkeys(image_ids, SIZE),
        source=lambda _: jpeg(SIZE),
    )
    return dataset, {i: detections(_ANSWERS[i]) for i in image_ids}


def ground_truth(
    boxes: list[tuple[str, tuple[float, float, float, float], bool]],
    names: tuple[str, ...] = NAMES,
) -> GroundTruth:
    """Ground truth from rows of name, corners and whether it is a crowd."""
    corners = np.array([b for _, b, _ in boxes], np.float32).reshape(-1, 4)
    return GroundTruth(
        boxes=corners,
        labels=np.array([names.index(n) for n, _, _ in boxes], np.int32),
        is_crowd=np.array([c for _, _, c in boxes], np.bool_),
        areas_px=np.prod(corners[:, 2:] - corners[:, :2], axis=1),
        names=names,
    )


def detections(
    boxes: list[tuple[str, tuple[float, float, float, float], float]],
    names: tuple[str, ...] = NAMES,
) -> Detections:
    """Detections from rows of name, corners and score."""
    return Detections(
        boxes=np.array([b for _, b, _ in boxes], np.float32).reshape(-1, 4),
        scores=np.array([s for _, _, s in boxes], np.float32),
        labels=np.array([names.index(n) for n, _, _ in boxes], np.int32),
        names=names,
    )


def jpeg(size: tuple[int, int], colour: tuple[int, int, int] = (90, 120, 60)) -> bytes:
    """A JPEG file of one colour."""
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "JPEG")
    return file.getvalue()
