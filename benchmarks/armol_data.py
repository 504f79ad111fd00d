"""The detections, images and prices that Armol's table is drawn from.

Detectors were trained on COCO's train2017, so what is learned here on ``train`` and
judged on ``val`` sees detectors at their best while it learns. The strict protocol
learns, calibrates and tests within ``val``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from midhaul.federation.evaluate.config import FusionConfig
from midhaul.federation.evaluate.split_and_fit import prepare
from midhaul.federation.features.embedding import load_embedding
from midhaul.federation.features.statistics import ImageStatistics
from midhaul.federation.fusion import fuser_named
from midhaul.federation.policies.base import Examples
from midhaul.federation.recordings.parquet import read_parquet
from midhaul.federation.recordings.problem import Answers, split_items

if TYPE_CHECKING:
    from midhaul.federation.fusion.base import Fuser
    from midhaul.federation.recordings.problem import Recording

DATA = Path(__file__).parent.parent.parent / "shared" / "data"
THREE = ("fastestdet_352", "ssd-mobilenet-v1-quant_300", "yolo-fastestv2_352")
"""Weak detectors of three families that are about as good as each other, as Armol's."""
TEN = (
    *THREE,
    "nanodet-m_320",
    "nanodet-m_416",
    "picodet-s_320",
    "leyolo-nano_320",
    "yolov5n_320",
    "yolov8n_320",
    "yolo11n_320",
)
EMBEDDING = ("yolox_nano.onnx", "input.315")
"""Backbone of a detector that is no provider here: 256 channels."""
LEAST_SCORE = 0.05
PRICE_USD = 0.001
SECOND_PRICES = (1.0, 2.25, 1.0, 1.5)
"""Thousandths of a USD, in turn: the second provider at what Google really asks."""
CALIBRATION_SHARE = 0.2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Parts:
    """Items to learn from, to calibrate on and to be judged on.

    Attributes:
        train: examples.
        calibration: examples.
        test: examples.
        numbers: ``(k,)`` of the test items among all that are ever tested.
        fuser: of all of them.
    """

    train: Examples
    calibration: Examples
    test: Examples
    numbers: np.ndarray
    fuser: Fuser


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class World:
    """Everything that was recorded, described once.

    Attributes:
        train: answers about images of train2017, with their features.
        val: the same of val2017.
    """

    train: Examples
    val: Examples

    def with_providers(self, names: tuple[str, ...], *, equal: bool = True) -> World:
        """The same with some providers, at equal prices or at the second list's."""
        return World(
            train=_with_providers(self.train, names, equal=equal),
            val=_with_providers(self.val, names, equal=equal),
        )

    def across(self, seed: int) -> Parts:
        """Learn on train2017, test on all of val2017."""
        learn, hold = split_items(
            self.train.recording.items,
            seed,
            (1 - CALIBRATION_SHARE, CALIBRATION_SHARE),
        )
        return Parts(
            train=taken(self.train, learn),
            calibration=taken(self.train, hold),
            test=self.val,
            numbers=np.arange(len(self.val)),
            fuser=self.val.fuser,
        )

    def within(self, seed: int) -> Parts:
        """The strict split: 40/10/50 within val2017."""
        train, hold, test = split_items(self.val.recording.items, seed)
        return Parts(
            train=taken(self.val, train),
            calibration=taken(self.val, hold),
            test=taken(self.val, test),
            numbers=test,
            fuser=self.val.fuser,
        )


def load(data: Path, fuser: str = "wbf") -> World:
    """Read detections and truth, and describe the images."""
    parts: list[Examples] = []
    for name in ("train", "val"):
        recording = read_parquet(
            data / "coco_detections" / f"{name}.parquet",
            task="boxes",
            truth_file=data / "coco_mini" / f"instances_{name}.json",
            price_usd=PRICE_USD,
        )
        answers = tuple(above(one, LEAST_SCORE) for one in recording.answers)
        recording = replace(recording, answers=answers)
        parts.append(
            Examples(
                recording=recording,
                features=_describe(recording, data, name),
                fuser=fuser_named(fuser),
            )
        )
    return World(train=parts[0], val=parts[1])


def stacked(parts: Parts, seed: int) -> Parts:
    """The same with calibrated scores and the learned fuser, fitted on ``train``."""
    train, hold, test = parts.train, parts.calibration, parts.test
    prepared = prepare(
        train.recording,
        hold.recording,
        (train.features, hold.features),
        FusionConfig(),
        "truth",
        np.random.default_rng([seed, 1]),
    )
    shown = test.recording
    if prepared.scores is not None:
        shown = replace(prepared.scores.apply(shown), truth=shown.truth)
    return replace(
        parts,
        train=prepared.train,
        calibration=prepared.calibration,
        test=replace(test, recording=shown, fuser=prepared.fuser),
        fuser=prepared.fuser,
    )


def taken(examples: Examples, items: np.ndarray) -> Examples:
    """Some of the examples."""
    return replace(
        examples,
        recording=examples.recording.take(items),
        features=examples.features[items],
    )


def above(answers: Answers, score: float) -> Answers:
    """The entries from a score on."""
    keep = np.flatnonzero(answers.scores >= score)
    return Answers.of_rows(
        answers.items[keep],
        len(answers),
        answers.labels[keep],
        answers.scores[keep],
        answers.boxes[keep],
        is_missing=answers.is_missing,
    )


def present(recording: Recording, names: tuple[str, ...]) -> tuple[str, ...]:
    """These providers, or as many others where some are not in the recording."""
    if set(names) <= set(recording.providers):
        return names
    return tuple(sorted(recording.providers)[: len(names)])


def _with_providers(
    examples: Examples, names: tuple[str, ...], *, equal: bool
) -> Examples:
    recording = examples.recording.only(names)
    if not equal:
        prices = np.resize(np.array(SECOND_PRICES) * 1e-3, len(names))
        recording = replace(recording, prices_usd=prices)
    return replace(examples, recording=recording)


def _describe(recording: Recording, data: Path, name: str) -> np.ndarray:
    """Statistics of each image, and the embedding where its model is there."""
    folder = data / "coco_mini" / name
    images = [_image(folder, item).read_bytes() for item in recording.items]
    columns = [ImageStatistics().extract(recording, images)]
    model = data / "models" / EMBEDDING[0]
    if model.is_file():
        embedding = load_embedding(model, EMBEDDING[1])
        columns.append(embedding.extract(recording, images))
    return np.concatenate(columns, axis=1)


def _image(folder: Path, item: str) -> Path:
    return folder / f"{int(item):012d}.jpg"
