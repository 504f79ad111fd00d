"""Faults on a schedule: any provider, made slow, busy, broken or quietly worse.

Which call meets a fault follows from the schedule's seed, the provider, the item and
how often that item was asked before, so a replay meets the same faults whatever the
order of its calls. Windows of time are those of the clock that is passed.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from midhaul.errors import ConfigError
from midhaul.federation.providers.base import Failure, unreachable
from midhaul.model import Detections, Prediction

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Self

    from midhaul.federation.providers.base import Provider
    from midhaul.model import Tags

FaultKind = Literal[
    "timeout",
    "throttled",
    "unavailable",
    "unreachable",
    "malformed",
    "slow",
    "degraded",
]
"""What goes wrong: no answer, HTTP 429, HTTP 503, no connection, an answer that cannot
be read, an answer late by a factor, or an answer that is quietly worse."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that goes wrong for a while.

    Attributes:
        begins_s: from when on, in seconds of the clock.
        ends_s: until when.
        share: of the calls in that time, 0 to 1.
        factor: how much later the answer comes (``slow``).
        retry_after_s: what ``throttled`` asks to wait.
        drop: share of an answer's entries that go missing (``degraded``).
        swap: share that get another label of the label set (``degraded``).
        jitter: by how much corners move, as standard deviation in sides of the box
            (``degraded``).
    """

    kind: FaultKind
    begins_s: float = 0.0
    ends_s: float = math.inf
    share: float = 1.0
    factor: float = 5.0
    retry_after_s: float = 1.0
    drop: float = 0.3
    swap: float = 0.3
    jitter: float = 0.1

    def __post_init__(self) -> None:
        """Check the ranges."""
        shares = (self.share, self.drop, self.swap)
        if not all(0 <= share <= 1 for share in shares):
            message = f"shares of a fault lie in 0 to 1, found {shares}"
            raise ConfigError(message)
        amounts = (self.retry_after_s, self.jitter, self.ends_s - self.begins_s)
        if self.factor < 1 or not all(amount >= 0 for amount in amounts):
            message = f"a fault of kind {self.kind} has a time or a size below 0"
            raise ConfigError(
                message, "factor is at least 1, and ends_s after begins_s"
            )


class FaultyProvider:
    """A provider with faults; what it is not hit by, it passes on.

    Of several faults at a time the first failure counts, and the others add up; windows
    refer to the clock.
    """

    def __init__(
        self,
        inner: Provider,
        faults: tuple[Fault, ...],
        *,
        seed: int = 0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._inner = inner
        self._faults = faults
        self._seed = seed
        self._clock = clock
        self._sleep = sleep
        self._n_asked: dict[str, int] = {}

    async def __aenter__(self) -> Self:
        """Open the provider."""
        await self._inner.__aenter__()
        return self

    async def __aexit__(self, *how: object) -> None:
        """Close the provider."""
        await self._inner.__aexit__(*cast("Any", how))

    @property
    def name(self) -> str:
        """The provider's name."""
        return self._inner.name

    @property
    def names(self) -> tuple[str, ...]:
        """The provider's label set."""
        return self._inner.names

    async def predict(self, data: bytes, *, item: str, timeout_s: float) -> Prediction:
        """The provider's answer, or what the faults make of it."""
        now_s = self._clock()
        attempt = self._n_asked.get(item, 0)
        self._n_asked[item] = attempt + 1
        rng = _rng(self._seed, self.name, item, attempt)
        hits = [
            fault
            for fault, chance in zip(
                self._faults, rng.random(len(self._faults)), strict=True
            )
            if fault.begins_s <= now_s < fault.ends_s and chance < fault.share
        ]
        failure = await self._failure(hits, timeout_s)
        if failure is not None:
            latency_s = timeout_s if failure.status == "timeout" else 0.0
            return failure.prediction(self.name, item, latency_s)
        found = await self._inner.predict(data, item=item, timeout_s=timeout_s)
        for fault in hits:
            if found.answer is not None and fault.kind == "degraded":
                found = replace(found, answer=degraded(found.answer, fault, rng))
            elif fault.kind == "slow":
                found = await self._slow(found, fault, timeout_s)
        return found

    async def _failure(self, hits: list[Fault], timeout_s: float) -> Failure | None:
        for fault in hits:
            if fault.kind == "timeout":
                await self._sleep(timeout_s)
                message = f"no answer within {timeout_s:g} s"
                return Failure(status="timeout", message=message)
            if fault.kind == "throttled":
                return Failure(
                    status="throttled",
                    message="HTTP 429: too many requests",
                    retry_after_s=fault.retry_after_s,
                )
            if fault.kind == "unavailable":
                message = "HTTP 503: service unavailable"
                return Failure(status="unavailable", message=message)
            if fault.kind == "unreachable":
                return unreachable("connection refused")
            if fault.kind == "malformed":
                message = "an answer that begins with <!DOCTYPE html>"
                return Failure(status="malformed", message=message)
        return None

    async def _slow(
        self, found: Prediction, fault: Fault, timeout_s: float
    ) -> Prediction:
        """The answer later by a factor, or no answer in time."""
        latency_s = found.latency_s * fault.factor
        await self._sleep(max(0.0, min(latency_s, timeout_s) - found.latency_s))
        if latency_s <= timeout_s:
            return replace(found, latency_s=latency_s)
        message = f"no answer within {timeout_s:g} s"
        failure = Failure(status="timeout", message=message)
        return failure.prediction(self.name, found.item, timeout_s)


def degraded(
    answer: Detections | Tags, fault: Fault, rng: np.random.Generator
) -> Detections | Tags:
    """An answer that is quietly worse: some entries gone, renamed or moved.

    The answer is not changed.
    """
    keep = rng.random(len(answer)) >= fault.drop
    labels, scores = answer.labels[keep].copy(), answer.scores[keep]
    n_names = len(answer.names)
    if n_names > 1:
        is_swapped = rng.random(len(labels)) < fault.swap
        shift = rng.integers(1, n_names, len(labels))
        labels[is_swapped] = ((labels + shift) % n_names)[is_swapped]
    labels = labels.astype(np.int32)
    if not isinstance(answer, Detections):
        return replace(answer, scores=scores, labels=labels)
    boxes = answer.boxes[keep]
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    moved = boxes + rng.normal(0.0, fault.jitter, boxes.shape) * sides
    corners = np.concatenate(
        [
            np.minimum(moved[:, :2], moved[:, 2:]),
            np.maximum(moved[:, :2], moved[:, 2:]),
        ],
        axis=1,
    )
    boxes = np.maximum(corners, 0).astype(np.float32)
    return replace(answer, boxes=boxes, scores=scores, labels=labels)


def _rng(seed: int, provider: str, item: str, attempt: int) -> np.random.Generator:
    text = f"{seed}:{provider}:{attempt}:{item}".encode()
    digest = hashlib.blake2b(text, digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))
