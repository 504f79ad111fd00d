"""A provider on this machine: any detector of midhaul, in threads of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.errors import DataError, MidhaulError
from midhaul.federation.providers.answers import ReadAnswer
from midhaul.federation.providers.base import Failure, one_line
from midhaul.federation.providers.vendor import BlockingCalls
from midhaul.vision.images.image import decode

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from midhaul.model import Prediction
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

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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
