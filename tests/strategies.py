"""Hypothesis strategies for the values of midhaul."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from midhaul.model import Detections, GroundTruth

_SIDE_PX = 160


@st.composite
def judged_images(
    draw: st.DrawFn, max_images: int = 5, max_classes: int = 3, max_boxes: int = 6
) -> tuple[list[GroundTruth], list[Detections]]:
    """Images with ground truth, crowds among it, and a middling detector's answers.

    Corners are whole and scores coarse, so that equal overlaps and equal scores occur.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_images = draw(st.integers(1, max_images))
    names = tuple(f"class {i}" for i in range(draw(st.integers(1, max_classes))))
    share_crowd = draw(st.sampled_from([0.0, 0.3]))
    truths = [_truth(rng, names, max_boxes, share_crowd) for _ in range(n_images)]
    return truths, [_answer(rng, truth, max_boxes) for truth in truths]


def _truth(
    rng: np.random.Generator, names: tuple[str, ...], max_boxes: int, share: float
) -> GroundTruth:
    n = int(rng.integers(0, max_boxes + 1))
    boxes = _boxes(rng, n)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return GroundTruth(
        boxes=boxes,
        labels=rng.integers(0, len(names), n).astype(np.int32),
        is_crowd=rng.random(n) < share,
        areas_px=(areas * rng.uniform(0.5, 1, n)).astype(np.float32),
        names=names,
    )


def _answer(rng: np.random.Generator, truth: GroundTruth, n_max: int) -> Detections:
    names = truth.names
    near = np.repeat(truth.boxes, rng.integers(0, 3, len(truth)), axis=0)
    near = near + rng.integers(-6, 7, near.shape)
    boxes = np.concatenate([near, _boxes(rng, int(rng.integers(0, n_max)))])
    boxes = np.concatenate([np.minimum(boxes[:, :2], boxes[:, 2:]), boxes[:, 2:]], 1)
    n = len(boxes)
    return Detections(
        boxes=boxes.astype(np.float32),
        scores=(rng.integers(1, 20, n) / 20).astype(np.float32),
        labels=rng.integers(0, len(names), n).astype(np.int32),
        names=names,
    )


def _boxes(rng: np.random.Generator, n: int) -> np.ndarray:
    sides = np.exp(rng.uniform(np.log(4), np.log(_SIDE_PX - 10), (n, 2))).round()
    corners = (rng.random((n, 2)) * (_SIDE_PX - sides)).round()
    return np.concatenate([corners, corners + sides], axis=1).astype(np.float32)
