"""Matching detections with boxes: against COCO's loop, written out."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from tests.strategies import judged_images
from tests.tiny import detections, ground_truth

from midhaul.model import Detections, GroundTruth
from midhaul.vision.judge.matching import IOU_THRESHOLDS, iou, match

Judged = tuple[list[GroundTruth], list[Detections]]


def plain_match(
    truth: GroundTruth, answer: Detections, label: int, threshold: float
) -> list[tuple[float, str]]:
    """COCO's rules as a plain loop: score and fate of the detections of a class."""
    boxes = [i for i in range(len(truth)) if truth.labels[i] == label]
    boxes.sort(key=lambda i: bool(truth.is_crowd[i]))
    rows = [i for i in range(len(answer)) if answer.labels[i] == label]
    rows.sort(key=lambda i: -answer.scores[i])
    taken: set[int] = set()
    fates: list[tuple[float, str]] = []
    for row in rows:
        best, pick = threshold, None
        for i in boxes:
            is_crowd = bool(truth.is_crowd[i])
            if i in taken and not is_crowd:
                continue
            if is_crowd and pick is not None and not truth.is_crowd[pick]:
                break
            one = iou(
                answer.boxes[row : row + 1],
                truth.boxes[i : i + 1],
                np.array([is_crowd]),
            )[0, 0]
            if one >= best:
                best, pick = float(one), i
        fate = "false"
        if pick is not None:
            taken.add(pick)
            fate = "ignored" if truth.is_crowd[pick] else "true"
        fates.append((float(str(answer.scores[row])), fate))
    return fates


@settings(max_examples=60, deadline=None)
@given(judged_images(max_images=2))
def test_equals_a_plain_loop(case: Judged) -> None:
    """Every detection ends as it does in COCO's loop."""
    truths, answers = case
    matches = match(truths, answers)
    for image, (truth, answer) in enumerate(zip(truths, answers, strict=True)):
        for label in range(len(truth.names)):
            which = (matches.images == image) & (matches.labels == label)
            for t, threshold in enumerate(IOU_THRESHOLDS):
                fates = [
                    "true" if a else "ignored" if b else "false"
                    for a, b in zip(
                        matches.is_true[t, which],
                        matches.is_ignored[t, which],
                        strict=True,
                    )
                ]
                found = list(zip(matches.scores[which], fates, strict=True))
                assert found == plain_match(truth, answer, label, threshold)


@given(judged_images())
def test_order_and_support(case: Judged) -> None:
    """Classes are in order, scores fall within one, and boxes are counted per cell."""
    truths, answers = case
    matches = match(truths, answers)
    assert np.all(np.diff(matches.labels) >= 0)
    for label in range(len(truths[0].names)):
        assert np.all(np.diff(matches.scores[matches.of_label(label)]) <= 0)
        assert np.all(matches.labels[matches.of_label(label)] == label)
    n_boxes = sum(np.count_nonzero(~t.is_crowd) for t in truths)
    assert matches.support.sum() == n_boxes
    assert not np.any(matches.is_true & matches.is_ignored)


def test_no_detections() -> None:
    """Images without detections still count what there is to find."""
    truth = ground_truth([("person", (0, 0, 5, 5), False)])
    matches = match([truth], [detections([])])
    assert matches.is_true.shape == (10, 0)
    assert matches.support.tolist() == [[1, 0, 0]]


def test_only_the_best_hundred_count() -> None:
    """Of more detections of a class on an image the lowest scores are left out."""
    rows = [("car", (0.0, 0.0, 10.0, 10.0), s / 200) for s in range(1, 131)]
    matches = match([ground_truth([])], [detections(rows)])
    assert len(matches.scores) == 100
    assert matches.scores.min() * 200 > 30


def test_iou_of_a_crowd() -> None:
    """With a crowd, the share of the detection that it covers counts."""
    box = np.array([[0.0, 0.0, 10.0, 10.0]])
    other = np.array([[5.0, 0.0, 100.0, 10.0], [20.0, 20.0, 20.0, 20.0]])
    np.testing.assert_allclose(iou(box, other, np.array([True, False])), [[0.5, 0]])
    np.testing.assert_allclose(
        iou(box, other, np.array([False, False])), [[50 / 1000, 0]]
    )
