"""Tests of detections of other libraries: they judge and fuse as midhaul's own do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.tiny import four_images

import midhaul
from midhaul.errors import DataError
from midhaul.model import Detections
from midhaul.vision import as_detections, judge

if TYPE_CHECKING:
    from midhaul.vision import Dataset


@dataclass
class Supervision:
    """What ``supervision.Detections`` of 0.31 has, as far as it matters here."""

    xyxy: Any
    mask: Any = None
    confidence: Any = None
    class_id: Any = None
    tracker_id: Any = None
    data: dict[str, Any] = field(default_factory=dict)


def as_supervision(found: Detections, *, with_names: bool) -> Supervision:
    """Midhaul's detections in the shape of supervision's."""
    names = np.array([found.names[label] for label in found.labels])
    return Supervision(
        xyxy=found.boxes,
        confidence=found.scores,
        class_id=found.labels,
        data={"class_name": names} if with_names else {},
    )


def as_coco(dataset: Dataset, answers: dict[str, Detections]) -> list[dict[str, Any]]:
    """Midhaul's detections as COCO writes results; categories begin at 1."""
    return [
        {
            "image_id": int(image) if image.isdecimal() else image,
            "category_id": int(label) + 1,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": float(score),
        }
        for image in dataset.image_ids
        for label, score, (x1, y1, x2, y2) in zip(
            answers[image].labels,
            answers[image].scores,
            answers[image].boxes.tolist(),
            strict=True,
        )
    ]


@pytest.mark.parametrize("with_names", [True, False])
def test_supervision_is_judged_alike(with_names: bool) -> None:  # noqa: FBT001
    """Judged by class name or by class number, the scores are the same."""
    dataset, answers = four_images()
    given = {
        i: as_supervision(a, with_names=with_names and len(a) > 0)
        for i, a in answers.items()
    }
    names = None if with_names else next(iter(answers.values())).names
    expected = judge(answers, dataset).coco().ap
    assert judge(given, dataset, names=names).coco().ap == pytest.approx(expected)


def test_coco_results_are_judged_alike() -> None:
    """A list of results with the names of its ids is judged as the detections are."""
    dataset, answers = four_images()
    first = next(iter(answers.values()))
    names = {number + 1: name for number, name in enumerate(first.names)}
    results = as_coco(dataset, answers)
    expected = judge(answers, dataset)
    for found in (
        judge(results, dataset, names=names),
        midhaul.evaluate(results, dataset, names=names),
    ):
        assert found.coco().ap == pytest.approx(expected.coco().ap, abs=1e-6)
        assert found.f1() == pytest.approx(expected.f1())
        assert found.unknown == expected.unknown


def test_results_of_classes_without_a_name_are_refused() -> None:
    """No number is taken for a label that nobody gave it."""
    dataset, answers = four_images()
    results = as_coco(dataset, answers)
    with pytest.raises(DataError, match="no category ids"):
        judge(results, dataset)
    with pytest.raises(DataError, match="there is no name"):
        judge(results, dataset, names={77: "car"})


def test_results_of_another_data_set_are_refused() -> None:
    """A list that names none of the images is a mistake, not an empty answer."""
    dataset, answers = four_images()
    results = [{**one, "image_id": "elsewhere"} for one in as_coco(dataset, answers)]
    names = {number: f"{number}" for number in range(9)}
    with pytest.raises(DataError, match="elsewhere"):
        judge(results, dataset, names=names)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([{"bbox": [0, 0, 1, 1], "score": 1.0}], "entry 0 is no result"),
        ([{"category_id": 1, "bbox": [0, 0, 1], "score": 1.0}], "entry 0 is no result"),
        (["box"], "entry 0 is no result"),
        ("boxes", "found a str"),
        (3, "found a int"),
        (
            [
                {"image_id": i, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 1.0}
                for i in (1, 2)
            ],
            "expected results of one image",
        ),
        (Supervision(xyxy=np.zeros((1, 4)), class_id=np.zeros(1)), "no confidence"),
        (Supervision(xyxy=np.zeros((1, 4)), confidence=np.ones(1)), "no class_id"),
    ],
)
def test_what_is_no_detection_is_told(found: Any, said: str) -> None:
    """A missing score or class is an error with its place, never assumed."""
    with pytest.raises(DataError, match=said):
        as_detections(found)


def test_empty_answers_stay_empty() -> None:
    """No box is an answer in every library."""
    empty = Supervision(xyxy=np.zeros((0, 4)))
    assert len(as_detections(empty)) == len(as_detections([])) == 0
    mine = Detections.empty(("car",))
    assert as_detections(mine) is mine
