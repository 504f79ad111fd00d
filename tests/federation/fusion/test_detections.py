"""Tests of fusing the detections of one image."""

from __future__ import annotations

import numpy as np
import pytest
from ensemble_boxes import weighted_boxes_fusion

import midhaul
from midhaul.errors import ConfigError, DataError
from midhaul.model import Detections

NAMES = ("car", "person")
SIZE = 100.0


def drawn(
    rng: np.random.Generator, n: int, names: tuple[str, ...] = NAMES
) -> Detections:
    """Boxes around a few places, so that some of several detectors overlap."""
    centres = rng.choice([20.0, 50.0, 80.0], (n, 2)) + rng.normal(0, 2, (n, 2))
    half = rng.uniform(8, 12, (n, 2))
    boxes = np.concatenate([centres - half, centres + half], axis=1).clip(0, SIZE)
    return Detections(
        boxes=boxes.astype(np.float32),
        scores=rng.uniform(0.1, 1, n).astype(np.float32),
        labels=rng.integers(0, len(names), n).astype(np.int32),
        names=names,
    )


@pytest.mark.parametrize("seed", range(5))
def test_it_is_weighted_boxes_fusion(seed: int) -> None:
    """Three detectors in one call give what ensemble-boxes gives."""
    rng = np.random.default_rng(seed)
    given = [drawn(rng, n) for n in (6, 8, 5)]
    found = midhaul.fuse(given, "wbf", iou=0.55)
    boxes, scores, labels = weighted_boxes_fusion(
        [one.boxes / SIZE for one in given],
        [one.scores for one in given],
        [one.labels for one in given],
        iou_thr=0.55,
    )
    order = np.argsort(-scores, kind="stable")
    assert found.names == NAMES
    np.testing.assert_allclose(found.scores, scores[order], rtol=1e-5)
    np.testing.assert_allclose(found.boxes, boxes[order] * SIZE, atol=1e-3)
    assert found.labels.tolist() == labels[order].astype(int).tolist()


def test_labels_meet_by_name() -> None:
    """Label sets in another order, spelling or size fuse; what is new is kept."""
    rng = np.random.default_rng(1)
    one = drawn(rng, 1, ("person", "car"))
    two = Detections(
        boxes=one.boxes, scores=one.scores, labels=one.labels, names=("Person", "dog")
    )
    found = midhaul.fuse([one, two])
    assert found.names == ("person", "car", "dog")
    n_shared = 1 if one.names[one.labels[0]] == "person" else 2
    assert len(found) == n_shared


def test_who_did_not_answer_is_not_who_found_nothing() -> None:
    """A missing answer does not lower the mean, an empty one does."""
    one = drawn(np.random.default_rng(2), 1)
    alone = midhaul.fuse([one, None])
    against = midhaul.fuse([one, Detections.empty(NAMES)])
    assert alone.scores[0] == pytest.approx(one.scores[0])
    assert against.scores[0] == pytest.approx(one.scores[0] / 2)


def test_lists_of_results_fuse() -> None:
    """Lists of COCO's results and midhaul's own detections meet by their names."""
    one = drawn(np.random.default_rng(3), 1)
    x1, y1, x2, y2 = one.boxes[0].tolist()
    result = {
        "image_id": 7,
        "category_id": 3,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "score": 0.9,
    }
    found = midhaul.fuse([one, [result]], names={3: one.names[one.labels[0]]})
    assert len(found) == 1


def test_what_cannot_be_fused_is_told() -> None:
    """An unknown method, one for labels, and no answer at all."""
    one = Detections.empty(NAMES)
    for method in ("wbff", "vote", "stacked"):
        with pytest.raises(ConfigError):
            midhaul.fuse([one], method)
    with pytest.raises(DataError, match="at least one answer"):
        midhaul.fuse([None, None])
