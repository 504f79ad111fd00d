"""COCO's scores, as the library faster-coco-eval computes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

from midhaul.model.display import Shown
from midhaul.vision.judge.matching import JudgeRules, as_double, corner_and_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float64

    from midhaul.model import Detections, GroundTruth

_AREAS = ("all", "small", "medium", "large")
_ANY = 1e10
_NO_VALUE = -1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class CocoScores(Shown):
    """Average precision and recall over classes; NaN where there is nothing to find.

    Attributes:
        ap: mean over IoU 0.50, 0.55, …, 0.95, or those that the rules name.
        ap50: at IoU 0.50.
        ap75: at IoU 0.75.
        ap_small: ``ap`` of boxes with an area below 32² px.
        ap_medium: ``ap`` of those from 32² to 96² px.
        ap_large: ``ap`` of those above.
        ar100: recall with at most 100 detections per image and class (or as many as
            the rules say), mean over IoU.
        class_ap: ``(c,)`` ``ap`` of each class.
        class_ap50: ``(c,)`` ``ap50`` of each class.
    """

    ap: float
    ap50: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    ar100: float
    class_ap: Float64[np.ndarray, " c"]
    class_ap50: Float64[np.ndarray, " c"]


def coco_scores(
    truths: Sequence[GroundTruth],
    answers: Sequence[Detections],
    rules: JudgeRules | None = None,
) -> CocoScores:
    """Score the answers for images.

    Both are in the order of the images, at least one, and have one label set.
    """
    rules = rules or JudgeRules()
    names = truths[0].names
    truth = COCO(_truth_file(truths, names))
    answer = truth.loadRes(_answer_file(answers))
    run = COCOeval_faster(truth, answer, iouType="bbox")
    small, medium = rules.area_limits_px
    run.params.iouThrs = np.array(rules.thresholds)
    run.params.maxDets = [rules.max_detections]
    run.params.areaRng = [[0, _ANY], [0, small], [small, medium], [medium, _ANY]]
    run.evaluate()
    run.accumulate()
    # IoU threshold × recall × class × area × number of detections.
    precision = _known(run.eval["precision"])[..., -1]
    recall = _known(run.eval["recall"])[..., 0, -1]
    areas = dict(zip(_AREAS, np.moveaxis(precision, 3, 0), strict=True))
    every, ap = areas["all"], list(rules.places())
    (ap50,), (ap75,) = rules.places(0.5), rules.places(0.75)
    return CocoScores(
        ap=_mean(every[ap]),
        ap50=_mean(every[ap50]),
        ap75=_mean(every[ap75]),
        ap_small=_mean(areas["small"][ap]),
        ap_medium=_mean(areas["medium"][ap]),
        ap_large=_mean(areas["large"][ap]),
        ar100=_mean(recall[ap]),
        class_ap=every[ap].mean(axis=(0, 1)),
        class_ap50=every[ap50].mean(axis=0),
    )


def _truth_file(
    truths: Sequence[GroundTruth], names: tuple[str, ...]
) -> dict[str, list[dict[str, Any]]]:
    boxes: list[dict[str, Any]] = []
    for image, truth in enumerate(truths, 1):
        for box, label, is_crowd, area in zip(
            corner_and_size(truth.boxes).tolist(),
            truth.labels.tolist(),
            truth.is_crowd.tolist(),
            as_double(truth.areas_px).tolist(),
            strict=True,
        ):
            boxes.append(
                {
                    "id": len(boxes) + 1,
                    "image_id": image,
                    "category_id": label + 1,
                    "bbox": box,
                    "area": area,
                    "iscrowd": int(is_crowd),
                }
            )
    return {
        "images": [{"id": i + 1} for i in range(len(truths))],
        "categories": [{"id": i + 1, "name": n} for i, n in enumerate(names)],
        "annotations": boxes,
    }


def _answer_file(answers: Sequence[Detections]) -> list[dict[str, Any]]:
    return [
        {"image_id": image, "category_id": label + 1, "bbox": box, "score": score}
        for image, answer in enumerate(answers, 1)
        for box, label, score in zip(
            corner_and_size(answer.boxes).tolist(),
            answer.labels.tolist(),
            as_double(answer.scores).tolist(),
            strict=True,
        )
    ]


def _known(values: Any) -> Float64[np.ndarray, ...]:
    array = np.asarray(values, np.float64)
    return np.where(array == _NO_VALUE, np.nan, array)


def _mean(values: Float64[np.ndarray, ...]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
