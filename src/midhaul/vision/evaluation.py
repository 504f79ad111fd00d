"""Judging a detector, or what one has answered, on a data set: evaluate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from midhaul.vision.detectors.detector import Detector, assumptions, load_detector
from midhaul.vision.judge.accuracy import Judgement, judge
from midhaul.vision.judge.doubts import answer_tallies, limit_tallies, name_tallies

if TYPE_CHECKING:
    from collections.abc import Callable

    from midhaul.model import Detections
    from midhaul.vision.adapters import CocoResults, DetectionsLike, Names
    from midhaul.vision.data.dataset import Dataset
    from midhaul.vision.judge.matching import JudgeRules


def evaluate(
    detector: Detector | str | Mapping[str, DetectionsLike] | CocoResults,
    dataset: Dataset,
    *,
    rules: JudgeRules | None = None,
    names: Names | None = None,
    threads: int = 1,
    advance: Callable[[], object] | None = None,
) -> Judgement:
    """Answer every image of a data set and match the answers with its ground truth.

    Args:
        detector: a detector, the spec of one, or what one has answered: detections by
            image id, or a list of COCO's results.
        dataset: the images to judge by.
        rules: thresholds, areas and how many detections count; COCO's when absent.
        names: of answers, the label of each class number or category id; the data
            set's category ids by default.
        threads: CPU threads of a detector that is named by its spec.
        advance: called after each image that a detector has answered.

    Returns:
        The answers, matched; its ``verdict`` counts what was mended in the data set,
        and what in the answers suggests that names or images are mixed up.

    Raises:
        ConfigError: the spec is wrong.
        DataError: an image cannot be read, or has no answer.
        PrerequisiteError: a library is missing; the hint says how to install it.
    """
    if isinstance(detector, str):
        detector = load_detector(detector, threads=threads)
    if isinstance(detector, Mapping | Sequence):
        judged = judge(detector, dataset, rules, names)
        name, known, assumed = "the detector", None, ()
    else:
        judged = judge(answer(detector, dataset, advance), dataset, rules)
        name, known, assumed = detector.name, detector.names, assumptions(detector)
    said = sorted({judged.names[n] for a in judged.answers for n in a.labels.tolist()})
    boxes = [truth.labels[~truth.is_crowd] for truth in judged.truths]
    shown = {judged.names[n] for labels in boxes for n in labels.tolist()}
    doubts = (
        *name_tallies(
            name,
            [*said, *judged.unknown] if known is None else known,
            dataset.names,
            [label for label in dataset.names if label in shown],
            is_complete=known is not None,
        ),
        *limit_tallies(judged.truths, judged.rules.max_detections, {}),
        *answer_tallies(judged, name),
    )
    return replace(judged, tallies=(*dataset.tallies, *assumed, *doubts))


def answer(
    detector: Detector, dataset: Dataset, advance: Callable[[], object] | None = None
) -> dict[str, Detections]:
    """A detector's answers to all images of a data set, as they are stored.

    ``advance`` is called after each of them. DataError if an image cannot be read.
    """
    from midhaul.vision.images.image import decode  # noqa: PLC0415  needs OpenCV

    answers: dict[str, Detections] = {}
    for image in dataset.image_ids:
        pixels = decode(dataset.read(image), where=image)
        answers[image] = detector.detect(pixels, image_id=image)
        if advance is not None:
            advance()
    return answers
