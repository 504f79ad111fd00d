"""Accuracy and bytes of a configuration, from its answers and the ground truth.

The unit that intervals rest on is the image. The calibrated threshold is cross-fitted:
the data set falls into two halves, and an image is judged at the threshold that serves
the *other* half best, so that no image has a say in the threshold it is judged by and
none is lost for judging.

The tables ``summary`` and ``classes``: every metric with its interval.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.runs.metric import summary_rows
from midhaul.stats import known, mean_statistic, ratio_statistic
from midhaul.testbed.measure.metrics import METRICS
from midhaul.testbed.measure.tables import folds, stored_dataset, stored_detections
from midhaul.vision.judge.accuracy import judge
from midhaul.vision.judge.doubts import answer_tallies
from midhaul.vision.judge.thresholds import count, f1_threshold, of_weights

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa
    from jaxtyping import Bool, Float64

    from midhaul.model import Tally
    from midhaul.model.estimate import MetricSamples
    from midhaul.stats import Statistic
    from midhaul.vision.judge.accuracy import Judgement, Metric
    from midhaul.vision.judge.coco_scores import CocoScores
    from midhaul.vision.judge.matching import JudgeRules, Matches
    from midhaul.vision.judge.thresholds import Counts

_AT_THRESHOLD: tuple[Metric, ...] = ("f1", "precision", "recall", "macro_f1")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeldOutThresholds:
    """Thresholds that were chosen on other images.

    Attributes:
        thresholds: the one that serves the first half best, then the second.
        counts: right and wrong detections, every image at the other half's threshold.
    """

    thresholds: tuple[float, float]
    counts: Counts


def calibrate(judgement: Judgement, folds: Mapping[str, int]) -> HeldOutThresholds:
    """Choose a threshold on each half and count on the other.

    Args:
        judgement: the answers, matched with the ground truth.
        folds: the half of every image, 0 or 1.
    """
    fold = np.array([folds[image] for image in judgement.image_ids])
    chosen = tuple(
        f1_threshold(_of_images(judgement.matches, fold == half)) for half in (0, 1)
    )
    counts = [count(judgement.matches, threshold) for threshold in chosen]
    is_first = (fold == 0)[:, None]
    crossed = replace(
        counts[0],
        n_true=np.where(is_first, counts[1].n_true, counts[0].n_true),
        n_false=np.where(is_first, counts[1].n_false, counts[0].n_false),
    )
    return HeldOutThresholds(thresholds=(chosen[0], chosen[1]), counts=crossed)


def accuracy_metrics(
    judgement: Judgement,
    calibration: HeldOutThresholds,
    threshold: float,
    configuration: str,
) -> list[MetricSamples]:
    """The metrics of accuracy that have an interval.

    From the score ``threshold`` a detection counts, for all detectors alike.
    """
    found: dict[str, Statistic] = {
        name: judgement.statistic(name) for name in ("ap", "ap50", "ap75")
    }
    found |= {name: judgement.statistic(name, threshold) for name in _AT_THRESHOLD}
    found["f1_calibrated"] = of_weights(calibration.counts, "f1", is_macro=False)
    return [
        METRICS[name].samples(configuration, judgement.image_ids, statistic)
        for name, statistic in found.items()
    ]


def byte_metrics(detections: pa.Table, configuration: str) -> list[MetricSamples]:
    """Bytes per image before and after preprocessing, and the share that is left."""
    received = detections["received_bytes"].to_numpy().astype(np.float64)
    prepared = detections["prepared_bytes"].to_numpy().astype(np.float64)
    forwarded = detections["forwarded"].to_numpy(zero_copy_only=False)
    units: list[Any] = detections["image"].to_pylist()
    found: dict[str, Statistic] = {
        "received_bytes": mean_statistic(received),
        "prepared_bytes": mean_statistic(prepared),
        "size_left": ratio_statistic(prepared, received),
        "forwarded_share": mean_statistic(forwarded.astype(np.float64)),
    }
    return [
        METRICS[name].samples(configuration, tuple(units), statistic)
        for name, statistic in found.items()
    ]


def class_rows(
    judgement: Judgement,
    coco: CocoScores,
    calibration: HeldOutThresholds,
    threshold: float,
) -> list[dict[str, object]]:
    """Rows of the table ``classes``, without their configuration.

    Classes that neither the ground truth nor the answers show are left out.
    """
    scores = judgement.per_class(threshold)
    calibrated = _class_f1(calibration.counts)
    rows: list[dict[str, object]] = []
    for number, label in enumerate(judgement.names):
        if not scores.support[number] and not scores.n_false[number]:
            continue
        rows.append(
            {
                "label": label,
                "support": int(scores.support[number]),
                "ap": known(coco.class_ap[number]),
                "ap50": known(coco.class_ap50[number]),
                "threshold": threshold,
                "precision": known(scores.precision[number]),
                "recall": known(scores.recall[number]),
                "f1": known(scores.f1[number]),
                "f1_calibrated": known(calibrated[number]),
            }
        )
    return rows


def _of_images(matches: Matches, is_chosen: Bool[np.ndarray, " n"]) -> Matches:
    """The matches of some images; the others have nothing to be found and no answer."""
    kept = is_chosen[matches.images]
    return replace(
        matches,
        images=matches.images[kept],
        labels=matches.labels[kept],
        scores=matches.scores[kept],
        is_true=matches.is_true[:, kept],
        is_ignored=matches.is_ignored[:, kept],
        support=matches.support * is_chosen[:, None],
    )


def _class_f1(counts: Counts) -> Float64[np.ndarray, " c"]:
    right = 2 * counts.n_true.sum(axis=0)
    below = right - counts.n_true.sum(axis=0) + counts.n_false.sum(axis=0)
    below += counts.support.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below > 0, right / below, np.nan)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeTask:
    """What it takes to judge one configuration, in any process."""

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
