"""Judging a detector's answers against the ground truth of a data set."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np

from midhaul.errors import DataError, name_some
from midhaul.model import Verdict
from midhaul.model.display import Display, Shown, counted, listed
from midhaul.vision.adapters import as_predictions
from midhaul.vision.data.names import match_names, relabel
from midhaul.vision.judge.average_precision import average_precision
from midhaul.vision.judge.coco_scores import CocoScores, coco_scores
from midhaul.vision.judge.matching import JudgeRules, Matches, match
from midhaul.vision.judge.thresholds import (
    DEFAULT_THRESHOLD,
    THESIS_THRESHOLD,
    Averages,
    ClassScores,
    averages,
    class_scores,
    count,
    f1_threshold,
    of_weights,
    thesis_f1,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midhaul.model import Detections, GroundTruth, Tally
    from midhaul.model.estimate import Statistic
    from midhaul.vision.adapters import CocoResults, DetectionsLike, Names
    from midhaul.vision.data.dataset import Dataset

Metric: TypeAlias = Literal[
    "ap",
    "ap50",
    "ap75",
    "f1",
    "precision",
    "recall",
    "macro_f1",
    "macro_precision",
    "macro_recall",
]
"""The metrics that have an interval."""

_IOU: dict[str, float | None] = {"ap": None, "ap50": 0.5, "ap75": 0.75}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Judgement(Shown):
    """A detector's answers for a data set, matched with the ground truth.

    Attributes:
        names: label set of the data set.
        image_ids: the images judged; weights of a statistic are in this order.
        truths: their ground truth.
        answers: their detections, with the data set's labels.
        matches: which detections found which boxes.
        unknown: detections of labels that the data set does not have, counted by
            label; they are not judged.
        never: labels of the data set that the detector does not know; their AP and
            recall are 0 whatever the images show.
        rules: how they were judged.
        tallies: what was mended in the data set, or is odd about the answers, where
            somebody counted it: :func:`midhaul.evaluate` does.
    """

    names: tuple[str, ...]
    image_ids: tuple[str, ...]
    truths: tuple[GroundTruth, ...]
    answers: tuple[Detections, ...]
    matches: Matches
    unknown: Mapping[str, int]
    never: tuple[str, ...]
    rules: JudgeRules = field(default_factory=JudgeRules)
    tallies: tuple[Tally, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """Whether the numbers may be believed, as far as somebody counted."""
        return Verdict.of(*self.tallies)

    def coco(self) -> CocoScores:
        """COCO's scores, from the library that computes them."""
        return coco_scores(self.truths, self.answers, self.rules)

    def per_class(self, threshold: float = DEFAULT_THRESHOLD) -> ClassScores:
        """Precision, recall and F1 of every class at a score threshold, IoU 0.5."""
        return class_scores(self.matches, self.names, threshold)

    def averages(self, threshold: float = DEFAULT_THRESHOLD) -> Averages:
        """Precision, recall and F1 over all classes at a score threshold, IoU 0.5."""
        return averages(self.matches, threshold)

    def f1(self, threshold: float = DEFAULT_THRESHOLD) -> float:
        """F1 of all detections together at a score threshold, IoU 0.5."""
        return self.averages(threshold).f1

    def thesis_f1(self, threshold: float = THESIS_THRESHOLD) -> float:
        """F1 averaged the predecessor's way, to show its bias."""
        return thesis_f1(self.matches, threshold)

    def statistic(
        self, metric: Metric, threshold: float = DEFAULT_THRESHOLD
    ) -> Statistic:
        """A metric as a function of how often each image counts.

        Args:
            metric: AP needs no threshold, the others do; plain names are those of all
                detections together.
            threshold: score from which a detection counts.

        Returns:
            From ``(b, n)`` weights of the n images to ``(b,)`` values.

        Raises:
            ValueError: no such metric.
        """
        if metric not in get_args(Metric):
            message = f"metric must be one of {', '.join(get_args(Metric))}: {metric!r}"
            raise ValueError(message)
        if metric in _IOU:
            places = self.rules.places(_IOU[metric])
            return average_precision(self.matches, places)
        counts = count(self.matches, threshold)
        plain = metric.removeprefix("macro_")
        return of_weights(counts, plain, is_macro=plain != metric)

    def _line(self) -> str:
        """How much was judged."""
        return ", ".join(
            (
                counted(len(self.image_ids), "image"),
                f"{counted(sum(map(len, self.answers)), 'detection')} against "
                + counted(sum(map(len, self.truths)), "box", "boxes"),
            )
        )

    def _display(self) -> Display:
        """The headline numbers, and what was not judged."""
        scores = self.coco()
        verdict = self.verdict
        remarks = [f"Not valid: {reason}" for reason in verdict.reasons]
        remarks += verdict.remarks
        if self.unknown and not self.tallies:
            what = counted(sum(self.unknown.values()), "detection")
            labels = listed(self.unknown)
            remarks.append(f"Not judged, of other labels: {what} ({labels}).")
        if self.never:
            remarks.append(f"Labels that are never answered: {listed(self.never)}.")
        return Display(
            text=self._line(),
            columns=("metric", "value"),
            rows=[
                ("ap", scores.ap),
                ("ap50", scores.ap50),
                ("ap75", scores.ap75),
                (f"f1 from score {DEFAULT_THRESHOLD:g}", self.f1()),
            ],
            remarks=tuple(remarks),
        )


def judge(
    predictions: Mapping[str, DetectionsLike] | CocoResults,
    dataset: Dataset,
    rules: JudgeRules | None = None,
    names: Names | None = None,
) -> Judgement:
    """Match a detector's answers with the ground truth of a data set.

    Args:
        predictions: boxes in px of the stored image, for every image of the data set;
            an image on which nothing was found has empty detections. Answers for
            other images are not looked at. Or a list of COCO's results: there, an
            image without an entry is one on which nothing was found.
        dataset: the images to judge by; they are ranked by their ids where these are
            numbers, as COCO's evaluation does, which decides between equal scores.
        rules: thresholds, areas and how many detections count; COCO's when absent.
        names: of other libraries' detections, the label of each class number or
            category id; the data set's category ids by default.

    Raises:
        DataError: an image has no answer, or an answer holds a number that is none.
    """
    if not dataset.image_ids:
        message = f"{dataset.name} has no images to judge by"
        raise DataError(message, "use a data set with at least one image")
    given = as_predictions(predictions, dataset, names)
    if missing := [i for i in dataset.image_ids if i not in given]:
        message = f"no answer for {name_some('image', missing)} of {len(dataset)}"
        raise DataError(message, "judge a subset of the data set, or run the rest")
    rules = rules or JudgeRules()
    image_ids = in_order(dataset.image_ids)
    unknown: dict[str, int] = {}
    answers: list[Detections] = []
    known = sorted({n for i in dataset.image_ids for n in given[i].names})
    matched = match_names(tuple(known), dataset.names)
    for image_id in image_ids:
        answer = given[image_id]
        _check_finite(answer, image_id)
        mapped, dropped = relabel(answer, matched, dataset.names)
        answers.append(mapped)
        for label, n in dropped.items():
            unknown[label] = unknown.get(label, 0) + n
    truths = tuple(dataset.truth[i] for i in image_ids)
    return Judgement(
        names=dataset.names,
        image_ids=image_ids,
        truths=truths,
        answers=tuple(answers),
        matches=match(truths, answers, rules),
        unknown=dict(sorted(unknown.items())),
        never=matched.missing,
        rules=rules,
    )


def calibrate_threshold(judgement: Judgement) -> float:
    """The score threshold that maximises F1 on these images.

    Judge by it on *other* images (``Dataset.split``): on the same ones it flatters.
    """
    return f1_threshold(judgement.matches)


def in_order(image_ids: Sequence[str]) -> tuple[str, ...]:
    """Ids by their numbers where all are numbers; else as they are."""
    if all(image_id.isdecimal() for image_id in image_ids):
        return tuple(sorted(image_ids, key=int))
    return tuple(image_ids)


def _check_finite(answer: Detections, image_id: str) -> None:
    if not (np.isfinite(answer.boxes).all() and np.isfinite(answer.scores).all()):
        message = f"the answer for image {image_id} holds numbers that are not finite"
        raise DataError(message, "check the detector, or the file of its detections")
