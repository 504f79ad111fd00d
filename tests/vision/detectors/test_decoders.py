"""Decoders on outputs made by hand, where the right boxes are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from midhaul.errors import DataError
from midhaul.vision.detectors.card import Card, parse_card
from midhaul.vision.detectors.geometry import Geometry
from midhaul.vision.detectors.outputs import FAMILIES, OutputDecoder

LABELS = ["car", "dog", "person"]
AS_IS = Geometry(width=64, height=32, scale_x=1, scale_y=1)


def card_for(decoder: str, **changes: Any) -> Card:
    """A card for an input of 64x32 px and three labels."""
    values: dict[str, Any] = {
        "name": "hand-made", "file": "hand.onnx", "input_width": 64,
        "input_height": 32, "colour": "rgb", "decoder": decoder, "labels": LABELS,
        "licence": "MIT", "source": "a test", "nms_iou": 0.5, "score_threshold": 0.1,
    }  # fmt: skip
    return parse_card(values | changes, where="a test")


def logit(share: float) -> float:
    """The number whose sigmoid is the share."""
    return float(np.log(share / (1 - share)))


def test_fastestdet_reads_one_grid() -> None:
    """Cell (1, 2) of a grid of 2x4: centre 40, 24, sides 16 and 8 px."""
    output = np.zeros((1, 8, 2, 4), np.float32)
    output[0, :, 1, 2] = [
        0.5,
        0.5493061,
        0.5493061,
        logit(0.25),
        logit(0.25),
        0,
        0.8,
        0,
    ]
    found = OutputDecoder(card_for("fastestdet"))([output], AS_IS)
    assert found.labels.tolist() == [1]
    assert found.boxes[0] == pytest.approx([32, 20, 48, 28], abs=1e-4)
    assert found.scores[0] == pytest.approx(0.5**0.6 * 0.8**0.4)


def test_yolox_reads_offsets_and_log_sides_in_strides() -> None:
    """The cells of stride 16 follow those of stride 8."""
    output = np.zeros((1, 8 * 4 + 4 * 2, 8), np.float32)
    output[0, 32 + 4 + 1] = [0.5, 0.5, np.log(2), np.log(0.5), 0.9, 0, 0, 0.5]
    found = OutputDecoder(card_for("yolox", strides=[8, 16]))([output], AS_IS)
    assert found.labels.tolist() == [2]
    assert found.boxes[0] == pytest.approx([8, 20, 40, 28], abs=1e-4)
    assert found.scores[0] == pytest.approx(0.45)


@pytest.mark.parametrize("shuffled", [False, True])
def test_gfl_takes_the_mean_of_each_distribution(shuffled: bool) -> None:  # noqa: FBT001
    """Distances 1, 0.5, 2 and 0.5 strides of 16 from the centre of cell (0, 2)."""
    classes = [np.zeros((1, 32, 3), np.float32), np.zeros((1, 8, 3), np.float32)]
    sides = [np.full((1, n, 4 * 4), -50, np.float32) for n in (32, 8)]
    classes[1][0, 2] = [0, 0.7, 0]
    bins = np.full((4, 4), -50, np.float32)
    bins[0, 1] = bins[2, 2] = 50
    bins[1, :2] = bins[3, :2] = 50
    sides[1][0, 2] = bins.reshape(-1)
    outputs = [*classes, *sides]
    if shuffled:
        outputs = [outputs[index] for index in (3, 1, 2, 0)]
    found = OutputDecoder(card_for("gfl", strides=[8, 16]))(outputs, AS_IS)
    assert found.labels.tolist() == [1]
    assert found.boxes[0] == pytest.approx([24, 0, 64, 16], abs=1e-4)
    assert found.scores[0] == pytest.approx(0.7)


def test_yolo_fastestv2_scales_its_anchors() -> None:
    """Second anchor of the second stride: sides (2 * 0.25)^2 and (2 * 0.5)^2 of it."""
    card = card_for(
        "yolo-fastestv2", strides=[16, 32], anchors=[[4, 4, 8, 8], [9, 9, 32, 12]]
    )
    output = np.zeros((8 + 2, 2 * 5 + 3), np.float32)
    output[8 + 1, 4:8] = [0.5, 0.5, 0.25, 0.5]
    output[8 + 1, 9] = 0.8
    output[8 + 1, 10] = 0.5
    found = OutputDecoder(card)([output], AS_IS)
    assert found.labels.tolist() == [0]
    assert found.boxes[0] == pytest.approx([44, 10, 52, 22], abs=1e-4)
    assert found.scores[0] == pytest.approx(0.4)


def test_boxes_of_a_graph_are_taken_as_they_are() -> None:
    """Only the order of the corners, the unit and the numbers of labels may differ."""
    card = card_for(
        "boxes",
        outputs=["b", "l", "s"],
        box_order="yxyx",
        box_unit="fraction",
        labels=["", "car", "dog"],
        first_label=3,
    )
    boxes = np.array([[[0.25, 0.5, 0.5, 1.0], [0, 0, 1, 1], [0, 0, 1, 1]]], np.float32)
    numbers = np.array([[4, 3, 2]], np.float32)
    scores = np.array([[0.9, 0.8, 0.7]], np.float32)
    found = OutputDecoder(card)([boxes, numbers, scores], AS_IS)
    assert [found.names[label] for label in found.labels] == ["car"]
    assert found.boxes[0] == pytest.approx([32, 8, 64, 16])


def test_every_class_of_a_cell_counts() -> None:
    """A cell that may be a car or a dog answers both, best first."""
    output = np.zeros((1, 8, 2, 4), np.float32)
    output[0, :, 0, 0] = [1, 0, 0, 0, 0, 0.3, 0.6, 0]
    found = OutputDecoder(card_for("fastestdet"))([output], AS_IS)
    assert found.labels.tolist() == [1, 0]


def test_weak_candidates_go_first_and_the_best_are_kept() -> None:
    """The threshold and the limit of the card hold."""
    rng = np.random.default_rng(0)
    outputs = [
        rng.uniform(0, 64, (500, 4)).astype(np.float32),
        rng.integers(0, 3, 500),
        rng.random(500).astype(np.float32),
    ]
    card = card_for("boxes", outputs=["b", "l", "s"], nms_iou=1.0, max_detections=7)
    found = OutputDecoder(card)(outputs, AS_IS)
    assert np.array_equal(found.scores, np.sort(outputs[2])[::-1][:7])
    card = card_for(
        "boxes", outputs=["b", "l", "s"], nms_iou=1.0, score_threshold=0.999
    )
    assert (OutputDecoder(card)(outputs, AS_IS).scores >= 0.999).all()


def test_more_candidates_than_the_suppression_takes() -> None:
    """Of thousands of candidates the best thousand are looked at."""
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.2, 1, 3000).astype(np.float32)
    low = np.arange(3000)[:, None] * [10, 0]
    boxes = np.concatenate([low, low + 5], axis=1).astype(np.float32)
    card = card_for("boxes", outputs=["b", "l", "s"], max_detections=2000)
    wide = Geometry(width=30_000, height=32, scale_x=1, scale_y=1)
    found = OutputDecoder(card)([boxes, np.zeros(3000, int), scores], wide)
    assert np.array_equal(found.scores, np.sort(scores)[::-1][:1000])


def test_numbers_that_are_none_do_not_leave_the_image() -> None:
    """A model gone wrong answers boxes of NaN or infinity; they stay inside."""
    boxes = np.array([[np.nan, -np.inf, np.inf, 5], [3, 3, 9, 9]], np.float32)
    scores = np.array([0.5, np.nan], np.float32)
    card = card_for("boxes", outputs=["b", "l", "s"])
    found = OutputDecoder(card)([boxes, np.zeros(2, int), scores], AS_IS)
    assert len(found) == 1
    assert found.boxes[0].tolist() == [0, 0, 64, 5]


@pytest.mark.parametrize(
    ("decoder", "changes", "shapes"),
    [
        ("fastestdet", {}, [(1, 85, 2, 4)]),
        ("fastestdet", {}, [(1, 8, 8)]),
        ("yolox", {"strides": [8, 16]}, [(1, 40, 85)]),
        ("yolox", {"strides": [8]}, [(1, 40, 8)]),
        ("gfl", {"strides": [8]}, [(32, 80), (32, 32)]),
        ("gfl", {"strides": [8]}, [(32, 3)]),
        ("gfl", {"strides": [8]}, [(32, 3), (32, 31)]),
        (
            "yolo-fastestv2",
            {"strides": [16], "anchors": [[4, 4]]},
            [(8, 4 + 1 + 80)],
        ),
        ("boxes", {"outputs": ["b", "l", "s"]}, [(5, 4), (5,)]),
        ("boxes", {"outputs": ["b", "l", "s"]}, [(5, 4), (4,), (5,)]),
    ],
)
def test_outputs_that_do_not_fit_the_card_are_refused(
    decoder: str, changes: dict[str, Any], shapes: list[tuple[int, ...]]
) -> None:
    """A wrong number of labels, strides or outputs is an error that names both."""
    outputs = [np.zeros(shape, np.float32) for shape in shapes]
    with pytest.raises(DataError, match=r"card of hand-made does not fit hand\.onnx"):
        OutputDecoder(card_for(decoder, **changes))(outputs, AS_IS)


def test_a_number_without_a_label_is_refused() -> None:
    """Labels from 0 on must cover what the model answers."""
    outputs = [np.ones((1, 4)), np.array([3]), np.ones(1)]
    with pytest.raises(DataError, match="answers number 3"):
        OutputDecoder(card_for("boxes", outputs=["b", "l", "s"]))(outputs, AS_IS)


def test_every_family_is_tested_here() -> None:
    """A new decoder needs a test of its own."""
    assert set(FAMILIES) == {
        "boxes",
        "dense",
        "fastestdet",
        "gfl",
        "rows",
        "yolo-fastestv2",
        "yolox",
    }
