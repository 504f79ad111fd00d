"""The tables ``summary`` and ``classes``: every metric with its interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.runs.metric import summary_rows
from midhaul.testbed.measure.accuracy_metrics import (
    accuracy_metrics,
    byte_metrics,
    calibrate,
    class_rows,
)
from midhaul.testbed.measure.metrics import METRICS
from midhaul.testbed.measure.tables import folds, stored_dataset, stored_detections
from midhaul.vision.judge.accuracy import judge
from midhaul.vision.judge.doubts import answer_tallies

if TYPE_CHECKING:
    import pyarrow as pa

    from midhaul.model import Tally
    from midhaul.testbed.measure.accuracy_metrics import HeldOutThresholds
    from midhaul.vision.judge.accuracy import Judgement
    from midhaul.vision.judge.coco_scores import CocoScores
    from midhaul.vision.judge.matching import JudgeRules


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeTask:
    """What it takes to judge one configuration, in any process.

    Attributes:
        configuration: its number.
        name: its name.
        detector: whose answers they are.
        detections: its rows of the table ``detections``.
        images: the table ``images``.
        names: label set of the data set.
        threshold: score from which a detection counts.
        rules: how answers are judged otherwise.
        n_resamples: bootstrap resamples.
        seed: of the experiment.
    """

    configuration: int
    name: str
    detector: str
    detections: pa.Table
    images: pa.Table
    names: tuple[str, ...]
    threshold: float
    rules: JudgeRules
    n_resamples: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What judging a configuration gives.

    Attributes:
        summary: rows of the table ``summary``.
        classes: rows of the table ``classes``.
        tallies: what of the answers was not judged, or looks mixed up.
    """

    summary: list[dict[str, object]]
    classes: list[dict[str, object]]
    tallies: tuple[Tally, ...]


def judge_configuration(task: JudgeTask) -> Judged:
    """Accuracy and bytes of one configuration, with intervals over images."""
    judgement, calibration = judged_answers(task)
    metrics = accuracy_metrics(judgement, calibration, task.threshold, task.name)
    metrics += byte_metrics(task.detections, task.name)
    rng = np.random.default_rng([task.seed, 3, task.configuration])
    rows = summary_rows(metrics, task.configuration, rng, task.n_resamples)
    coco = judgement.coco()
    rows += _point_rows(judgement, coco, calibration, task.configuration)
    classes = class_rows(judgement, coco, calibration, task.threshold)
    return Judged(
        summary=rows,
        classes=[{"configuration": task.configuration, **row} for row in classes],
        tallies=answer_tallies(judgement, task.detector),
    )


def judged_answers(task: JudgeTask) -> tuple[Judgement, HeldOutThresholds]:
    """The answers of a configuration matched with the ground truth."""
    dataset = stored_dataset(task.images, "run", task.names)
    judgement = judge(stored_detections(task.detections), dataset, task.rules)
    return judgement, calibrate(judgement, folds(task.images))


def _point_rows(
    judgement: Judgement,
    coco: CocoScores,
    calibration: HeldOutThresholds,
    configuration: int,
) -> list[dict[str, object]]:
    """Metrics that have a value but no interval."""
    values = {
        "ap_small": coco.ap_small,
        "ap_medium": coco.ap_medium,
        "ap_large": coco.ap_large,
        "ar100": coco.ar100,
        "f1_thesis": judgement.thesis_f1(),
        "threshold_calibrated": sum(calibration.thresholds) / 2,
    }
    n = len(judgement.image_ids)
    return [METRICS[name].row(configuration, v, n) for name, v in values.items()]
