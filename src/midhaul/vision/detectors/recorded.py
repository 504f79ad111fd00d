"""Replays detections that were recorded before, in the time that they took.

The Parquet file has one row per box: ``image_id``, ``provider``, ``label``, ``score``,
``x1``, ``y1``, ``x2``, ``y2`` in px of the image recorded, as people see it. With the
columns ``width`` and ``height`` (px of that image) boxes follow a resize; without, they
cannot.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from midhaul import documents
from midhaul.errors import ConfigError, DataError, choice_hint
from midhaul.model import Detections
from midhaul.vision.detectors.detector import Stated, read_float
from midhaul.vision.images.orientation import has_same_shape
from midhaul.vision.judge.matching import as_double

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from midhaul.vision.images.image import Pixels

_COLUMNS = ("image_id", "provider", "label", "score", "x1", "y1", "x2", "y2")
_SIZES = ("width", "height")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedDetections:
    """What one provider answered.

    Attributes:
        provider: its name.
        names: every label in the file, sorted.
        answers: detections per image, best first; images on which the provider found
            nothing but another one did are there, and empty.
        sizes: width and height in px of the recorded image, where known.
    """

    provider: str
    names: tuple[str, ...]
    answers: Mapping[str, Detections]
    sizes: Mapping[str, tuple[float, float]]


class RecordedDetector:
    """Looks an image's answer up by its id.

    ``service_s`` is the mean time that an answer takes, with the CPU free; ``cv`` its
    standard deviation over that. It follows a gamma distribution drawn by ``rng``, and
    is constant where 0.
    """

    def __init__(
        self,
        recording: RecordedDetections,
        *,
        service_s: float,
        cv: float,
        rng: np.random.Generator,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._recording = recording
        self._service_s = service_s
        self._cv = cv
        self._rng = rng
        self._sleep = sleep

    @property
    def name(self) -> str:
        """What tables and charts call it: its provider."""
        return self._recording.provider

    @property
    def names(self) -> tuple[str, ...]:
        """The label set."""
        return self._recording.names

    @property
    def caveat(self) -> str:
        """What reports must say beside its numbers."""
        if self._service_s == 0:
            return "recorded detections: no service time"
        return "recorded detections: drawn service times"

    def detect(self, pixels: Pixels, *, image_id: str = "") -> Detections:
        """Replay the answer to ``image_id``, on an image of the size of ``pixels``.

        DataError if the image is not in the file, or was recorded at another size.
        """
        found = self._recording.answers.get(image_id)
        if found is None:
            message = f"no detections are recorded for image {image_id!r}"
            hint = "choose images of the recording, e.g. " + ", ".join(
                list(self._recording.answers)[:3]
            )
            raise DataError(message, hint)
        height, width = pixels.shape[:2]
        if image_id in self._recording.sizes:
            was = self._recording.sizes[image_id]
            if not has_same_shape(was, (width, height)):
                message = (
                    f"detections of image {image_id!r} were recorded on a picture of "
                    f"{was[0]:g}x{was[1]:g} px, shown is one of {width}x{height} px"
                )
                hint = "record again, on pictures as people see them (EXIF applied)"
                raise DataError(message, hint)
            found = found.scaled(width / was[0], height / was[1])
        elif len(found) and _centres_leave(found.boxes, width, height):
            message = (
                f"detections of image {image_id!r} were recorded on an image larger "
                f"than the {width}x{height} px shown"
            )
            raise DataError(message, "do not resize, or add columns width and height")
        if self._service_s > 0:
            self._sleep(self._draw_s())
        limit = np.array([width, height] * 2, found.boxes.dtype)
        return Detections(
            boxes=np.clip(found.boxes, 0, limit),
            scores=found.scores,
            labels=found.labels,
            names=found.names,
        )

    def _draw_s(self) -> float:
        if self._cv == 0:
            return self._service_s
        shape = 1 / self._cv**2
        return float(self._rng.gamma(shape, self._service_s / shape))


def read_recording(file: Path, provider: str | None) -> RecordedDetections:
    """Read the answers of one provider.

    Ids of images may be integers. Without a provider, the file holds one only.
    DataError if the file is missing or holds something else; ConfigError if there is no
    such provider in it, or none was named.
    """
    table = _read(file)
    ids: list[str] = pc.unique(table["image_id"]).to_pylist()
    names = tuple(sorted(pc.unique(table["label"]).to_pylist()))
    providers = sorted(pc.unique(table["provider"]).to_pylist())
    if provider is None and len(providers) == 1:
        provider = providers[0]
    if provider is None or provider not in providers:
        message = f"{file} has no detections of provider {provider!r}"
        if provider is None:
            message = f"{file} holds {len(providers)} providers; name one"
        raise ConfigError(message, choice_hint(provider or "", providers))
    sizes: dict[str, tuple[float, float]] = {}
    if set(_SIZES) <= set(table.column_names):
        columns = [table[name].to_pylist() for name in ("image_id", *_SIZES)]
        sizes = {one: (w, h) for one, w, h in zip(*columns, strict=True)}
    answers = {one: Detections.empty(names) for one in ids}
    is_his = pa.array([one == provider for one in table["provider"].to_pylist()])
    answers |= _split(table.filter(is_his), names)
    return RecordedDetections(
        provider=provider, names=names, answers=answers, sizes=sizes
    )


def providers_of(file: Path) -> list[str]:
    """The providers whose answers a file holds.

    DataError if the file is missing or holds something else.
    """
    return sorted(pc.unique(_read(file)["provider"]).to_pylist())


def stated(location: str, options: Mapping[str, str]) -> Stated:
    """A recording does not say what else its provider could have answered."""
    del location, options
    return Stated()


def load(
    location: str, options: Mapping[str, str], *, threads: int, seed: int
) -> RecordedDetector:
    """Load the recording of one ``provider``, with ``service_s`` and ``cv``.

    ConfigError if an option is wrong; DataError if the file is missing or holds
    something else.
    """
    del threads
    return RecordedDetector(
        read_recording(Path(location), options.get("provider")),
        service_s=read_float(options, "service_s", 0.0),
        cv=read_float(options, "cv", 0.0),
        rng=np.random.default_rng(seed),
    )


def _read(file: Path) -> Any:
    try:
        found = pq.ParquetFile(file).schema_arrow.names
        missing = [name for name in _COLUMNS if name not in found]
        if missing:
            message = (
                f"{file} should have the columns {', '.join(_COLUMNS)}, but has no "
                f"{', '.join(missing)}"
            )
            raise DataError(message)
        wanted = [name for name in (*_COLUMNS, *_SIZES) if name in found]
        table = documents.read_parquet(file, wanted)
        texts = {name: pa.string() for name in _COLUMNS[:3]}
        kinds = {name: table.schema.field(name).type for name in wanted}
        numbers = {
            n: k if pa.types.is_float32(k) else pa.float64() for n, k in kinds.items()
        }
        fields = [(name, texts.get(name, numbers[name])) for name in wanted]
        table = table.cast(pa.schema(fields))
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = (str(error).splitlines() or ["it is damaged"])[0]
        message = f"recorded detections {file} cannot be read: {reason}"
        raise DataError(message, "give the path of a Parquet file") from error
    for name in wanted:
        column = table[name]
        n_known = len(column) - column.null_count
        if name not in texts:
            n_known = int(np.isfinite(column.to_numpy()).sum())
        if n_known < len(column):
            n = len(column) - n_known
            message = f"recorded detections {file}: {n} rows have no value of {name}"
            raise DataError(message, "give every row a number or a text there")
    return table


def _split(table: Any, names: tuple[str, ...]) -> dict[str, Detections]:
    """Detections by image, best first."""
    ids: list[str] = table["image_id"].to_pylist()
    scores = as_double(table["score"].to_numpy())
    corners = [as_double(table[key].to_numpy()) for key in _COLUMNS[4:]]
    boxes = np.stack(corners, axis=1)
    index = {name: number for number, name in enumerate(names)}
    labels = np.array([index[one] for one in table["label"].to_pylist()], np.int32)
    order = np.argsort(-scores, kind="stable")
    rows: dict[str, list[int]] = {}
    for row in order.tolist():
        rows.setdefault(ids[row], []).append(row)
    return {
        image: Detections(
            boxes=boxes[take],
            scores=np.clip(scores[take], 0, 1),
            labels=labels[take],
            names=names,
        )
        for image, take in rows.items()
    }


def _centres_leave(boxes: np.ndarray, width: int, height: int) -> bool:
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    return bool((centres > np.array([width, height])).any())
