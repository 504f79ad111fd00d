"""Recordings and features as experiment files name them.

Without any data, midhaul's own detectors are asked about its own scenes.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from midhaul.errors import DataError
from midhaul.federation.recordings.cleaning import CleaningRules
from midhaul.federation.recordings.findings import FindingCounter
from midhaul.federation.recordings.problem import Answers, Recording
from midhaul.federation.recordings.source import (
    RecordingSource,
    draw_items,
    open_recording,
)
from midhaul.vision.data.files import list_images, read_bytes
from midhaul.vision.data.names import map_labels
from midhaul.vision.data.opening import open_dataset
from midhaul.vision.detectors.detector import load_detector
from midhaul.vision.images.image import decode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jaxtyping import Float32, Float64

    from midhaul.federation.evaluate.config import FeaturesConfig, RecordingConfig
    from midhaul.federation.features.base import FeatureExtractor
    from midhaul.federation.recordings.findings import Reason
    from midhaul.model import Detections, Tally
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


_SHIPPED = ("coco80", "voc20")


def recording_of(
    config: RecordingConfig, seed: int, progress: Progress
) -> tuple[Recording, tuple[Tally, ...]]:
    """The recording of an experiment, and what was dropped or mended on the way."""
    counter = FindingCounter()
    if config.kind == "builtin":
        recording = record_builtin(config.n_scenes, config.detectors, seed, progress)
        if config.providers:
            recording = recording.only(config.providers)
        if config.n_items is not None:
            recording = draw_items(recording, config.n_items, seed)
    else:
        recording = open_recording(_source(config, seed), counter)
    accepted: set[Reason] = set()
    if config.mismatch == "intersection":
        accepted = {"item not in the truth", "item not answered by everybody"}
    tallies = counter.report().tallies(accepted)
    return _priced(recording, config.prices_usd), tallies


def features_of(
    config: FeaturesConfig,
    data: RecordingConfig,
    seed: int,
    recording: Recording,
    progress: Progress,
) -> tuple[Float32[np.ndarray, "n d"], tuple[str, ...]]:
    """What is known of items before anybody is asked, with names.

    Built-in scenes are drawn again.
    """
    extractor = _extractor(config)
    if not extractor.is_of_images:
        return extractor.extract(recording), extractor.names
    read = image_reader(data, config.images, seed)
    rows: list[Float32[np.ndarray, "n d"]] = []
    with progress.task("describing the items", total=len(recording)) as task:
        for number, item in enumerate(recording.items):
            data_of = read(item)
            if data_of is None:
                message = f"item {item} has no image to describe"
                raise DataError(message, "set features.images to their folder")
            part = recording.take(np.array([number]))
            rows.append(extractor.extract(part, [data_of]))
            task.advance()
    return np.concatenate(rows), extractor.names


def image_reader(
    data: RecordingConfig, images: Path | None, seed: int
) -> Callable[[str], bytes | None]:
    """How the encoded image of an item is found; it gives None where there is none."""
    if data.kind == "builtin":
        scenes = open_dataset("builtin", n_images=data.n_scenes, seed=seed)
        return scenes.read
    if images is None:
        return lambda _: None
    files = {path.stem: path for path in list_images(images).values()}

    def read(item: str) -> bytes | None:
        path = files.get(item) or files.get(item.zfill(12))
        return None if path is None else read_bytes(path)

    return read


def _source(config: RecordingConfig, seed: int) -> RecordingSource:
    said: Any = config.vocabulary or None
    if said is not None and said not in _SHIPPED:
        said = Path(said)
    return RecordingSource(
        kind=config.kind,
        file=cast("Path", config.file),
        task=config.task,
        truth=config.truth,
        split=config.split,
        labels=config.labels,
        vocabulary=said,
        rules=CleaningRules(percent_providers=frozenset(config.percent_providers)),
        mismatch=config.mismatch,
        providers=config.providers,
        prices_usd=config.prices_usd,
        price_usd=config.price_usd,
        n_items=config.n_items,
        seed=seed,
    )


def _priced(recording: Recording, prices_usd: Mapping[str, float]) -> Recording:
    """The recording with some prices replaced. DataError where a price is of nobody."""
    unknown = set(prices_usd) - set(recording.providers)
    if unknown:
        known = ", ".join(recording.providers)
        message = f"data.prices_usd has {min(unknown)}, which is no provider"
        raise DataError(message, f"providers: {known}")
    prices: Float64[np.ndarray, " p"] = recording.prices_usd.copy()
    for name, price in prices_usd.items():
        prices[recording.providers.index(name)] = price
    return replace(recording, prices_usd=prices)


def _extractor(config: FeaturesConfig) -> FeatureExtractor:
    if config.kind == "embedding":
        from midhaul.federation.features.embedding import load_embedding  # noqa: PLC0415

        return load_embedding(cast("Path", config.model), config.output)
    if config.kind == "statistics":
        from midhaul.federation.features.statistics import ImageStatistics  # noqa: PLC0415

        return ImageStatistics()
    from midhaul.federation.features.base import NoFeatures  # noqa: PLC0415

    return NoFeatures()
