"""A recording without any data: midhaul's own detectors, asked about its own scenes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.federation.recordings.problem import Answers, Recording
from midhaul.vision.data.names import map_labels
from midhaul.vision.data.opening import open_dataset
from midhaul.vision.detectors.detector import load_detector
from midhaul.vision.images.image import decode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midhaul.model import Detections
    from midhaul.runs.progress import Progress
    from midhaul.vision.data.dataset import Dataset

PRICES_USD = {
    "street-n": 0.0001,
    "street-s": 0.0002,
    "street-m": 0.0004,
    "street-l": 0.0007,
    "street-x": 0.001,
}
"""An invented price list: larger detectors cost more, about as their time does."""

_FLOOR = 0.02
"""Scores below are nobody's answer; they would only slow fusion down."""


def record_builtin(
    n_scenes: int, specs: Sequence[str], seed: int, progress: Progress
) -> Recording:
    """Ask detectors about scenes that are drawn from a seed.

    Gives a recording of boxes with a truth; a detector without a price is free.
    """
    dataset = open_dataset("builtin", n_images=n_scenes, seed=seed)
    detectors = [load_detector(spec) for spec in specs]
    found: list[list[Detections]] = [[] for _ in detectors]
    with progress.task("asking the built-in providers", total=n_scenes) as task:
        for image in dataset.image_ids:
            pixels = decode(dataset.read(image), where=image)
            for answers, detector in zip(found, detectors, strict=True):
                one = detector.detect(pixels, image_id=image)
                answers.append(one.take(one.scores >= _FLOOR))
            task.advance()
    names = tuple(detector.name for detector in detectors)
    return Recording(
        task="boxes",
        items=dataset.image_ids,
        names=dataset.names,
        providers=names,
        prices_usd=np.array([PRICES_USD.get(name, 0.0) for name in names]),
        answers=tuple(answers_of(answers, dataset.names) for answers in found),
        truth=truth_of(dataset),
        sizes_px=np.array([dataset.sizes[i] for i in dataset.image_ids], np.float32),
    )


def answers_of(found: Sequence[Detections], names: tuple[str, ...]) -> Answers:
    """One provider's boxes on all images, where their labels are in ``names``."""
    mapped = [map_labels(one, names)[0] for one in found]
    return Answers.of_rows(
        np.repeat(np.arange(len(mapped)), [len(one) for one in mapped]),
        len(mapped),
        np.concatenate([one.labels for one in mapped]),
        np.concatenate([one.scores for one in mapped]),
        np.concatenate([one.boxes for one in mapped]),
    )


def truth_of(dataset: Dataset) -> Answers:
    """The human boxes of all images of a data set; crowds count neither way."""
    truths = [dataset.truth[image] for image in dataset.image_ids]
    labels = np.concatenate([one.labels for one in truths])
    return Answers.of_rows(
        np.repeat(np.arange(len(truths)), [len(one) for one in truths]),
        len(truths),
        labels,
        np.ones(len(labels), np.float32),
        np.concatenate([one.boxes for one in truths]),
        is_ignored=np.concatenate([one.is_crowd for one in truths]),
    )
