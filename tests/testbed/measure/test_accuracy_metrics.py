"""Accuracy of a configuration, and thresholds that are chosen on other images."""

from __future__ import annotations

import numpy as np
import pytest

from midhaul.model import Detections, GroundTruth
from midhaul.stats import bootstrap
from midhaul.testbed.measure.accuracy_metrics import (
    accuracy_metrics,
    calibrate,
    class_rows,
)
from midhaul.vision.data.dataset import Dataset
from midhaul.vision.judge.accuracy import judge

NAMES = ("car", "dog")
BOX = np.array([[10, 10, 60, 60]], np.float32)
FAR = np.array([[200, 200, 260, 260]], np.float32)


def truth() -> GroundTruth:
    """One car."""
    return GroundTruth(
        boxes=BOX,
        labels=np.zeros(1, np.int32),
        is_crowd=np.zeros(1, bool),
        areas_px=np.full(1, 2500, np.float32),
        names=NAMES,
    )


def found(right: float, wrong: float) -> Detections:
    """The car with one score, and a false alarm with another."""
    return Detections(
        boxes=np.concatenate([BOX, FAR]),
        scores=np.array([right, wrong], np.float32),
        labels=np.zeros(2, np.int32),
        names=NAMES,
    )


def dataset(n: int) -> Dataset:
    """Images with one car each."""
    ids = tuple(f"image-{k}" for k in range(n))
    return Dataset(
        name="cars",
        names=NAMES,
        image_ids=ids,
        truth={i: truth() for i in ids},
        sizes=dict.fromkeys(ids, (300, 300)),
        source=lambda image: image.encode(),
    )


def test_an_image_is_judged_at_the_threshold_of_the_other_half() -> None:
    """Where the halves need different thresholds, each suffers from the other's."""
    data = dataset(8)
    folds = {image: n % 2 for n, image in enumerate(data.image_ids)}
    answers = {
        image: found(0.9, 0.7) if fold == 0 else found(0.5, 0.3)
        for image, fold in folds.items()
    }
    judgement = judge(answers, data)
    calibration = calibrate(judgement, folds)
    assert calibration.thresholds == (pytest.approx(0.8), pytest.approx(0.4))
    # The first half at 0.4 keeps its false alarms; the second at 0.8 finds nothing.
    assert calibration.counts.n_true[:, 0].tolist() == [1, 0] * 4
    assert calibration.counts.n_false[:, 0].tolist() == [1, 0] * 4
    metrics = {
        metric.metric: metric
        for metric in accuracy_metrics(judgement, calibration, 0.6, "all")
    }
    ones = np.ones((1, 8))
    assert metrics["f1_calibrated"].statistic(ones)[0] == pytest.approx(8 / 16)
    # At 0.6 for all, 4 cars are found and 4 false alarms are raised.
    assert metrics["f1"].statistic(ones)[0] == pytest.approx(8 / (4 + 4 + 8))


def test_intervals_contain_the_value() -> None:
    """The bootstrap runs over images, for every metric."""
    data = dataset(12)
    folds = {image: n % 2 for n, image in enumerate(data.image_ids)}
    answers = {i: found(0.9, 0.2 + 0.05 * n) for n, i in enumerate(data.image_ids)}
    judgement = judge(answers, data)
    for metric in accuracy_metrics(judgement, calibrate(judgement, folds), 0.5, "all"):
        rng = np.random.default_rng(0)
        estimate = bootstrap(metric.statistic, len(metric.units), rng, n_resamples=200)
        assert estimate.low - 1e-9 <= estimate.value <= estimate.high + 1e-9


def test_classes_that_nobody_shows_are_left_out() -> None:
    """There is a row for the car, none for the dog."""
    data = dataset(4)
    judgement = judge({image: found(0.9, 0.1) for image in data.image_ids}, data)
    calibration = calibrate(judgement, {i: n % 2 for n, i in enumerate(data.image_ids)})
    (row,) = class_rows(judgement, judgement.coco(), calibration, 0.5)
    assert row["label"] == "car"
    assert row["support"] == 4
    assert row["f1"] == row["f1_calibrated"] == 1.0
