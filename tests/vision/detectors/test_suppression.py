"""Non-maximum suppression against a plain one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midhaul.vision.detectors.outputs import suppress


def plain(
    boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, iou: float
) -> list[int]:
    """The same in words: visit by score, drop what overlaps a kept box."""
    kept: list[int] = []
    for one in sorted(range(len(scores)), key=lambda index: -scores[index]):
        beaten = any(
            labels[other] == labels[one] and overlap(boxes[other], boxes[one]) > iou
            for other in kept
        )
        if not beaten:
            kept.append(one)
    return kept


def overlap(one: np.ndarray, two: np.ndarray) -> float:
    """Intersection over union, in double precision."""
    a, b = one.tolist(), two.tolist()
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    shared = width * height
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return shared / (sum(areas) - shared) if shared else 0.0


@given(
    seed=st.integers(0, 10_000),
    n=st.integers(0, 60),
    iou=st.sampled_from([0.1, 0.45, 0.7, 1.0]),
    limit=st.sampled_from([1, 5, 100]),
)
def test_equals_the_plain_one(seed: int, n: int, iou: float, limit: int) -> None:
    """Whole corners and coarse scores, so that equal boxes and scores occur."""
    rng = np.random.default_rng(seed)
    low = rng.integers(0, 20, (n, 2))
    boxes = np.concatenate([low, low + rng.integers(0, 12, (n, 2))], axis=1)
    boxes = boxes.astype(np.float32)
    scores = rng.integers(0, 8, n).astype(np.float32)
    labels = rng.integers(0, 2, n).astype(np.int32)
    kept = suppress(boxes, scores, labels, iou=iou, limit=limit)
    assert kept.tolist() == plain(boxes, scores, labels, iou)[:limit]


@pytest.mark.parametrize("n", [127, 128, 129, 700])
def test_chunks_do_not_show(n: int) -> None:
    """More boxes than are compared at once give the same answer."""
    rng = np.random.default_rng(n)
    low = rng.uniform(0, 100, (n, 2))
    boxes = np.concatenate([low, low + rng.uniform(5, 40, (n, 2))], axis=1)
    boxes = boxes.astype(np.float32)
    scores = rng.random(n).astype(np.float32)
    labels = np.zeros(n, np.int32)
    kept = suppress(boxes, scores, labels, iou=0.5, limit=n)
    assert kept.tolist() == plain(boxes, scores, labels, 0.5)
