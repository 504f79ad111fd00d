"""Judging detections: against pycocotools, against hand counts, and its messages."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.strategies import judged_images
from tests.support.judging import pycocotools_scores, raw_pycocotools, recorded
from tests.tiny import NAMES, detections, four_images

from midhaul.errors import DataError
from midhaul.model import Detections, GroundTruth
from midhaul.vision.data.names import map_labels, match_names, names_given
from midhaul.vision.data.opening import open_dataset
from midhaul.vision.judge.accuracy import Metric, calibrate_threshold, judge
from midhaul.vision.judge.coco_scores import CocoScores, coco_scores

if TYPE_CHECKING:
    from pathlib import Path

Judged = tuple[list[GroundTruth], list[Detections]]


def seven(scores: CocoScores) -> list[float]:
    """The seven numbers in the order in which COCO prints them."""
    areas = [scores.ap_small, scores.ap_medium, scores.ap_large]
    return [scores.ap, scores.ap50, scores.ap75, *areas, scores.ar100]


OF_TWELVE = [0, 1, 2, 3, 4, 5, 8]


@settings(max_examples=60, deadline=None)
@given(judged_images())
def test_equals_pycocotools(case: Judged) -> None:
    """Every score equals that of pycocotools, also with ties, crowds and absences."""
    scores = coco_scores(*case)
    expected, per_class = pycocotools_scores(*case)
    np.testing.assert_allclose(seven(scores), expected[OF_TWELVE], atol=1e-6)
    np.testing.assert_allclose(scores.class_ap, per_class, atol=1e-6)


@pytest.mark.needs_data
@pytest.mark.parametrize("provider", ["yolov8n_640", "picodet-s_416", "nanodet-m_320"])
def test_equals_pycocotools_on_real_images(data_dir: Path, provider: str) -> None:
    """On real images and detections the scores are those of the original files."""
    folder = data_dir / "coco_mini"
    truth_file = folder / "instances_val.json"
    dataset = open_dataset("coco", images=folder / "val", annotations=truth_file)
    file = data_dir / "coco_detections" / "val.parquet"
    answers = recorded(file, dataset, provider)
    judgement = judge(answers, dataset)
    scores = judgement.coco()
    expected = raw_pycocotools(truth_file, answers)
    np.testing.assert_allclose(seven(scores), expected[OF_TWELVE], atol=1e-6)
    ones = np.ones((1, len(dataset)))
    for metric, value in (
        ("ap", scores.ap),
        ("ap50", scores.ap50),
        ("ap75", scores.ap75),
    ):
        found = judgement.statistic(metric)(ones)[0]
        assert found == pytest.approx(value, abs=1e-9)


def test_four_images() -> None:
    """The counts of the small instance are those made by hand."""
    dataset, answers = four_images()
    judgement = judge(answers, dataset)
    scores = judgement.per_class(0.5)
    np.testing.assert_array_equal(scores.support, [2, 2, 1])
    np.testing.assert_array_equal(scores.n_true, [1, 1, 1])
    np.testing.assert_array_equal(scores.n_false, [1, 0, 1])
    np.testing.assert_allclose(scores.f1, [1 / 2, 2 / 3, 2 / 3])
    averages = judgement.averages(0.5)
    assert (averages.precision, averages.recall) == (0.6, 0.6)
    assert averages.f1 == judgement.f1(0.5) == pytest.approx(0.6)
    assert averages.macro_f1 == pytest.approx((1 / 2 + 2 / 3 + 2 / 3) / 3)
    assert averages.macro_precision == pytest.approx(2 / 3)
    assert averages.macro_recall == pytest.approx(2 / 3)
    # person: found at ranks 1 and 3 of 3; car: one of two; bus: first of two.
    assert judgement.coco().ap50 == pytest.approx(
        ((51 + 50 * 2 / 3) / 101 + 51 / 101 + 1) / 3
    )
    assert judgement.thesis_f1() == pytest.approx(3 / 5)
    assert judgement.f1(0.75) == pytest.approx(6 / 9)
    assert calibrate_threshold(judgement) == pytest.approx(0.4)


@pytest.mark.parametrize("metric", get_args(Metric))
def test_statistics_at_unit_weights(metric: Metric) -> None:
    """A statistic at weights of one is the number that is reported."""
    dataset, answers = four_images()
    judgement = judge(answers, dataset)
    found = judgement.statistic(metric, 0.5)(np.ones((3, 4)))
    source = judgement.coco() if metric[:2] == "ap" else judgement.averages(0.5)
    assert found == pytest.approx([getattr(source, metric)] * 3, abs=1e-12)


def test_unknown_statistic() -> None:
    """A metric that does not exist is misuse."""
    dataset, answers = four_images()
    with pytest.raises(ValueError, match="metric must be one of ap"):
        judge(answers, dataset).statistic("map")  # pyright: ignore[reportArgumentType]


def test_labels_are_matched_by_name() -> None:
    """Another order of labels changes nothing; foreign labels are counted and told."""
    dataset, answers = four_images()
    plain = judge(answers, dataset)
    names = ("train", "bus", "person", "boat", "car")
    turned = {
        i: Detections(
            boxes=a.boxes,
            scores=a.scores,
            labels=np.array([2, 4, 1], np.int32)[a.labels],
            names=names,
        )
        for i, a in answers.items()
    }
    turned["c"] = detections(
        [("bus", (10, 10, 50, 50), 0.85), ("train", (0, 0, 9, 9), 0.9)], names
    )
    judgement = judge(turned, dataset)
    np.testing.assert_array_equal(seven(judgement.coco()), seven(plain.coco()))
    assert judgement.unknown == {"train": 1}
    assert judgement.never == ()


def test_classes_a_detector_never_names() -> None:
    """Classes that the detector does not know are named; they count as missed."""
    dataset, answers = four_images()
    only = {i: a.take(np.zeros(len(a), np.bool_)) for i, a in answers.items()}
    only = {i: dataclasses.replace(a, names=("person",)) for i, a in only.items()}
    judgement = judge(only, dataset)
    assert judgement.never == ("car", "bus")
    assert judgement.coco().ap == 0
    assert judgement.f1() == 0
    assert calibrate_threshold(judgement) == 0.5


def test_names_of_voc_and_coco() -> None:
    """Names that differ between COCO and VOC stand for the same class, both ways."""
    answer = detections([("sofa", (0, 0, 1, 1), 0.5)], ("tvmonitor", "sofa"))
    mapped, unknown = map_labels(answer, ("tv", "bus", "couch"))
    assert mapped.labels.tolist() == [2]
    assert unknown == {}
    assert match_names(("couch",), ("sofa", "bus")).missing == ("bus",)
    both = ("sofa", "couch")
    assert map_labels(answer, both)[0].labels.tolist() == [0]


@pytest.mark.parametrize(
    ("names", "text"),
    [([], "at least one"), (["a", " "], "empty"), (["a", "a "], "once")],
)
def test_bad_label_sets(names: list[str], text: str) -> None:
    """A label set has names, each once."""
    with pytest.raises(DataError, match=text):
        names_given(names)


def test_missing_answers() -> None:
    """An image without an answer is not taken for one without detections."""
    dataset, answers = four_images()
    del answers["b"]
    with pytest.raises(DataError, match="no answer for image b of 4"):
        judge(answers, dataset)
    part = judge(answers, dataset.subset(["a", "c"]))
    assert part.image_ids == ("a", "c")
    with pytest.raises(DataError, match="no images"):
        judge(answers, dataset.subset([]))


@pytest.mark.parametrize("field", ["boxes", "scores"])
def test_broken_answers(field: str) -> None:
    """A detector that answers with NaN is told so, with the image."""
    dataset, answers = four_images()
    broken = np.full_like(getattr(answers["a"], field), np.nan)
    answers["a"] = dataclasses.replace(answers["a"], **{field: broken})
    with pytest.raises(DataError, match="image a"):
        judge(answers, dataset)


def test_images_without_boxes() -> None:
    """Images on which there is nothing to find have no accuracy."""
    dataset, answers = four_images()
    judgement = judge(answers, dataset.subset(["c"]))
    assert np.isnan(seven(judgement.coco())).all()
    assert np.isnan(judgement.statistic("ap")(np.ones((1, 1)))).all()
    assert np.isnan(judgement.thesis_f1())
    averages = judgement.averages(0.5)
    assert averages.precision == 0
    assert np.isnan(averages.recall)


@settings(max_examples=40, deadline=None)
@given(judged_images(), st.data())
def test_statistics_of_repeated_images(case: Judged, data: st.DataObject) -> None:
    """Whole weights give what the library gives for the images repeated.

    Equal scores would be ranked by the place of their image, so there are none here.
    """
    truths = case[0]
    rng = np.random.default_rng(0)
    answers = [
        dataclasses.replace(a, scores=rng.random(len(a), np.float32)) for a in case[1]
    ]
    n = len(truths)
    weights = data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    dataset, _ = four_images()
    image_ids = tuple(str(i) for i in range(n))
    dataset = dataclasses.replace(
        dataset,
        names=truths[0].names,
        image_ids=image_ids,
        truth=dict(zip(image_ids, truths, strict=True)),
        sizes=dict.fromkeys(image_ids, (160, 160)),
    )
    judgement = judge(dict(zip(image_ids, answers, strict=True)), dataset)
    repeats = np.repeat(np.arange(n), weights)
    both = np.array([weights, np.ones(n)], np.float64)
    parts = [list(range(n))] + ([repeats.tolist()] if len(repeats) else [])
    for row, chosen in enumerate(reversed(parts), len(both) - len(parts)):
        expected = coco_scores(
            [truths[i] for i in chosen], [answers[i] for i in chosen]
        )
        for metric in ("ap", "ap50", "ap75"):
            found = judgement.statistic(metric)(both)[row]
            np.testing.assert_allclose(found, getattr(expected, metric), atol=1e-9)


def test_names_in_front() -> None:
    """The judgement speaks in the data set's names."""
    dataset, answers = four_images()
    assert judge(answers, dataset).per_class().names == NAMES
