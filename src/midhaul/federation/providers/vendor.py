"""Vendor SDKs as providers: what all vendors have in common stands here once.

Their blocking calls run in a bounded pool of threads.

What images a vendor takes is checked before anything is sent (and paid).
"""

from __future__ import annotations

import asyncio
import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from midhaul.errors import DataError
from midhaul.federation.providers.answers import Words, detections_of, tags_of
from midhaul.federation.providers.base import (
    UNSENT,
    Failure,
    MalformedAnswerError,
    redacted,
)
from midhaul.vision.images.image import size, upright

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Self

    from midhaul.federation.providers.answers import AnswerEntries, ReadAnswer
    from midhaul.model import Prediction

    Ask = Callable[[bytes, "Size", float], AnswerEntries]
    """Asks the vendor about an image of some size, and gives up after some seconds."""


class BlockingCalls:
    """Makes an asynchronous provider of a blocking SDK.

    A thread that hangs cannot be stopped: the SDK's own timeouts end it. The caller is
    answered in time all the same; a call that found no free thread in time was not
    sent. No message shows the ``secrets``.
    """

    def __init__(
        self,
        provider: str,
        *,
        n_threads: int,
        errors: tuple[type[Exception], ...] = (),
        failure_of: Callable[[Exception], Failure],
        secrets: Sequence[str] = (),
    ) -> None:
        self._provider = provider
        self._errors = errors
        self._failure_of = failure_of
        self._secrets = secrets
        self._pool = ThreadPoolExecutor(n_threads, thread_name_prefix=provider)

    async def call(
        self, work: Callable[[], ReadAnswer], *, item: str, timeout_s: float
    ) -> Prediction:
        """Run a call and say how it went."""
        begin = time.perf_counter()
        task = self._pool.submit(self._guarded, work)
        waiting = asyncio.wrap_future(task)
        waiting.add_done_callback(_look_at)
        try:
            await asyncio.wait({waiting}, timeout=max(0.0, timeout_s))
        except asyncio.CancelledError as error:
            if task.cancel():
                error.add_note(UNSENT)
            waiting.cancel()
            raise
        was_waiting = task.cancel()
        waiting.cancel()
        latency_s = time.perf_counter() - begin
        if was_waiting:
            message = f"no thread was free within {timeout_s:g} s"
            failure = Failure(status="not_sent", message=message, is_sent=False)
            return failure.prediction(self._provider, item, latency_s)
        if not task.done():
            message = f"no answer within {timeout_s:g} s"
            failure = Failure(status="timeout", message=message)
            return failure.prediction(self._provider, item, latency_s)
        return task.result().prediction(self._provider, item, latency_s)

    def close(self) -> None:
        """Take no more calls; those that run end with the SDK's timeouts."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _guarded(self, work: Callable[[], ReadAnswer]) -> ReadAnswer | Failure:
        try:
            return work()
        except MalformedAnswerError as error:
            return Failure(status="malformed", message=str(error))
        except self._errors as error:
            failure = self._failure_of(error)
            text = redacted(failure.message, self._secrets)
            return replace(failure, message=text)


def _look_at(waiting: asyncio.Future[Any]) -> None:
    """Take note of an exception, which the task itself raises where it is asked."""
    if not waiting.cancelled():
        waiting.exception()


_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
)


class Size(NamedTuple):
    """Width and height of an image, as a person sees it."""

    width_px: int
    height_px: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLimits:
    """What a vendor takes."""

    formats: tuple[str, ...]
    max_bytes: int
    min_side_px: int = 1
    max_side_px: float = math.inf
    max_pixels: float = math.inf

    def check(self, data: bytes, item: str) -> Size | Failure:
        """The size of an image, or why the vendor would not take it."""
        if len(data) > self.max_bytes:
            return _refused(
                f"{item} has {len(data)} bytes, the vendor takes {self.max_bytes}"
            )
        found = format_of(data)
        if found not in self.formats:
            kinds = ", ".join(self.formats)
            what = found or "no image that midhaul knows"
            return _refused(f"{item} is {what}, the vendor takes {kinds}")
        try:
            width, height = size(data, where=item)
        except DataError as error:
            return _refused(error.message)
        sides = (width, height)
        if min(sides) < self.min_side_px or max(sides) > self.max_side_px:
            return _refused(
                f"{item} has {width}x{height} px, the vendor takes sides of "
                f"{self.min_side_px} to {self.max_side_px:g} px"
            )
        if width * height > self.max_pixels:
            return _refused(
                f"{item} has {width}x{height} px, the vendor takes "
                f"{self.max_pixels:g} px in all"
            )
        return Size(width, height)


def format_of(data: bytes) -> str:
    """Format by the first bytes of a file; empty where it is none of ours."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return next((name for magic, name in _MAGIC if data.startswith(magic)), "")


def _refused(message: str) -> Failure:
    return Failure(status="refused", message=message, is_sent=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorSettings:
    """How a vendor is asked.

    Attributes:
        task: ``boxes`` asks for objects, ``tags`` for labels of the whole image.
        endpoint: address instead of the vendor's, or of the environment's.
        min_score: what is below is left out, 0 to 1.
        n_threads: most calls at the same time.
        longest_s: when the SDK gives up on its own.
    """

    task: Literal["boxes", "tags"] = "boxes"
    endpoint: str = ""
    min_score: float = 0.0
    n_threads: int = 16
    longest_s: float = 30.0

    @property
    def is_boxes(self) -> bool:
        """Whether objects are asked for."""
        return self.task == "boxes"


class VendorProvider:
    """Checks an image against the vendor's limits and asks in a thread.

    The vendor is sent the picture as a person sees it: one that EXIF turns is turned
    first, so that its answer is in that frame whatever it does with EXIF. ``ask``
    blocks, ``errors`` are exceptions of the SDK, and no message shows the ``secrets``.
    """

    def __init__(
        self,
        name: str,
        settings: VendorSettings,
        *,
        limits: ImageLimits,
        ask: Ask,
        close: Callable[[], object],
        errors: tuple[type[Exception], ...],
        failure_of: Callable[[Exception], Failure],
        secrets: Sequence[str],
    ) -> None:
        self._name = name
        self._settings = settings
        self._limits = limits
        self._words = Words()
        self._ask = ask
        self._close = close
        self._calls = BlockingCalls(
            name,
            n_threads=settings.n_threads,
            errors=errors,
            failure_of=failure_of,
            secrets=secrets,
        )

    async def __aenter__(self) -> Self:
        """Connections open with the first calls."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close connections and threads."""
        self._calls.close()
        self._close()

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    @property
    def names(self) -> tuple[str, ...]:
        """The labels that it has answered so far."""
        return self._words.names

    async def predict(self, data: bytes, *, item: str, timeout_s: float) -> Prediction:
        """Ask about one image; see :class:`~..base.Provider`."""
        # Vendors do not say, or say for some formats only, whether they apply EXIF.
        upright_data = await asyncio.to_thread(_upright, data, item)
        checked = self._limits.check(upright_data, item)
        if isinstance(checked, Failure):
            return checked.prediction(self._name, item, 0.0)
        wait_s = min(timeout_s, self._settings.longest_s)
        return await self._calls.call(
            lambda: self._read(self._ask(upright_data, checked, wait_s), checked),
            item=item,
            timeout_s=timeout_s,
        )

    def _read(self, found: AnswerEntries, size: Size) -> ReadAnswer:
        if self._settings.is_boxes:
            return detections_of(found, self._words, *size)
        return tags_of(found, self._words)


def _upright(data: bytes, item: str) -> bytes:
    """The picture without a turn in its EXIF; what is no picture is left as it is."""
    try:
        return upright(data, where=item)
    except DataError:
        return data  # the limits say what is wrong with it
