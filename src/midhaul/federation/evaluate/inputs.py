"""Recordings and features as experiment files name them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from midhaul.errors import DataError
from midhaul.federation.recordings.builtin import record_builtin
from midhaul.federation.recordings.cleaning import CleaningRules
from midhaul.federation.recordings.findings import FindingCounter
from midhaul.federation.recordings.source import (
    RecordingSource,
    draw_items,
    open_recording,
)
from midhaul.vision.data.files import list_images, read_bytes
from midhaul.vision.data.opening import open_dataset

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jaxtyping import Float32, Float64

    from midhaul.federation.evaluate.config import FeaturesConfig, RecordingConfig
    from midhaul.federation.features.base import FeatureExtractor
    from midhaul.federation.recordings.findings import Reason
    from midhaul.federation.recordings.problem import Recording
    from midhaul.model import Tally
    from midhaul.runs.progress import Progress

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
        from midhaul.federation.features.embedding import (  # noqa: PLC0415
            load_embedding,
        )

        return load_embedding(cast("Path", config.model), config.output)
    if config.kind == "statistics":
        from midhaul.federation.features.statistics import (  # noqa: PLC0415
            ImageStatistics,
        )

        return ImageStatistics()
    from midhaul.federation.features.base import NoFeatures  # noqa: PLC0415

    return NoFeatures()
