"""Providers on this machine: detectors of midhaul, and recorded answers.

A detector has threads of its own; a recording answers after recorded or drawn
latencies.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from midhaul.errors import DataError, MidhaulError
from midhaul.federation.providers.answers import ReadAnswer
from midhaul.federation.providers.base import Failure, one_line
from midhaul.federation.providers.vendor import BlockingCalls
from midhaul.model import Detections, Prediction, Tags
from midhaul.vision.images.image import decode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Self

    from midhaul.federation.recordings.problem import Recording
    from midhaul.model import PredictionStatus
    from midhaul.vision.detectors.detector import Detector


class LocalProvider:
    """Asks a detector; what a call is worth is the price list's business.

    Its name is the detector's by default; more than one thread needs a detector that
    may be asked by several.
    """

    def __init__(
        self, detector: Detector, *, name: str | None = None, n_threads: int = 1
    ) -> None:
        self._detector = detector
        self._name = name or detector.name
        self._calls = BlockingCalls(
            self._name,
            n_threads=n_threads,
            errors=(MidhaulError, RuntimeError, MemoryError),
            failure_of=_failure_of,
        )

    async def __aenter__(self) -> Self:
        """The detector is loaded already."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """End the threads."""
        self._calls.close()

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    @property
    def names(self) -> tuple[str, ...]:
        """The detector's label set."""
        return self._detector.names

    async def predict(self, data: bytes, *, item: str, timeout_s: float) -> Prediction:
        """Ask about one image; see :class:`~..base.Provider`."""
        return await self._calls.call(
            lambda: self._detect(data, item), item=item, timeout_s=timeout_s
        )

    def _detect(self, data: bytes, item: str) -> ReadAnswer:
        pixels = decode(data, where=item)
        return ReadAnswer(answer=self._detector.detect(pixels, image_id=item))


def _failure_of(error: Exception) -> Failure:
    if isinstance(error, DataError):
        return Failure(status="refused", message=one_line(error.message))
    return Failure(status="unavailable", message=one_line(error))


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnLatency:
    """Latencies from a log-normal distribution.

    Attributes:
        median_s: half of the calls are quicker.
        spread: standard deviation of the logarithm; 0 gives all calls the median.
        seed: of the draws; a call of an item always takes the same.
    """

    median_s: float
    spread: float = 0.3
    seed: int = 0

    def of(self, provider: str, item: str) -> float:
        """Latency of the call of an item, in seconds."""
        text = f"{self.seed}:{provider}:{item}".encode()
        seed = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
        normal = np.random.default_rng(seed).standard_normal()
        return self.median_s * math.exp(self.spread * normal)


Latency = Literal["none", "recorded"] | DrawnLatency
"""No time, the recording's (none where it is not known), or drawn ones."""


class RecordedProvider:
    """Answers by item id; the bytes sent are not looked at.

    The latency of an answer is the one recorded or drawn, to the digit: nothing is
    measured, so a replay that does not really sleep gives the same numbers. DataError
    where the recording has no such provider.
    """

    def __init__(
        self,
        recording: Recording,
        provider: str,
        *,
        name: str | None = None,
        latency: Latency = "none",
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        if provider not in recording.providers:
            known = ", ".join(recording.providers)
            message = f"no provider {provider} in the recording; there are {known}"
            raise DataError(message)
        self._index = recording.providers.index(provider)
        self._recording = recording
        self._answers = recording.answers[self._index]
        self._places = {item: i for i, item in enumerate(recording.items)}
        self._name = name or provider
        self._latency = latency
        self._sleep = sleep

    async def __aenter__(self) -> Self:
        """Nothing to open."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing to close."""

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    @property
    def names(self) -> tuple[str, ...]:
        """The label set of the recording."""
        return self._recording.names

    async def predict(self, data: bytes, *, item: str, timeout_s: float) -> Prediction:
        """The recorded answer to an item.

        ``refused`` for an item that was not recorded, ``unavailable`` where the
        provider's answer is missing, ``timeout`` where it took too long.
        """
        del data
        place = self._places.get(item)
        if place is None:
            return self._failed(item, "refused", f"item {item} was not recorded", 0.0)
        latency_s = self._latency_s(item, place)
        await self._sleep(min(latency_s, timeout_s))
        if latency_s > timeout_s:
            message = f"no answer within {timeout_s:g} s"
            return self._failed(item, "timeout", message, timeout_s)
        if self._answers.is_missing[place]:
            message = "the recorded call failed"
            return self._failed(item, "unavailable", message, latency_s)
        found = ReadAnswer(answer=self._answer(place))
        return found.prediction(self._name, item, latency_s)

    def _failed(
        self, item: str, status: PredictionStatus, message: str, latency_s: float
    ) -> Prediction:
        failure = Failure(status=status, message=message)
        return failure.prediction(self._name, item, latency_s)

    def _answer(self, place: int) -> Detections | Tags:
        where = self._answers.of(place)
        labels, scores = self._answers.labels[where], self._answers.scores[where]
        names = self._recording.names
        if self._recording.task == "boxes":
            boxes = self._answers.boxes[where]
            return Detections(boxes=boxes, scores=scores, labels=labels, names=names)
        return Tags(scores=scores, labels=labels, names=names)

    def _latency_s(self, item: str, place: int) -> float:
        if isinstance(self._latency, DrawnLatency):
            return self._latency.of(self._name, item)
        latencies = self._recording.latencies_s
        if self._latency == "none" or latencies is None:
            return 0.0
        found = float(latencies[self._index, place])
        return found if math.isfinite(found) else 0.0
