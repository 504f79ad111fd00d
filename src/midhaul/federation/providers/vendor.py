"""A vendor's SDK as a provider: what all vendors have in common stands here once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from midhaul.errors import DataError
from midhaul.federation.providers.failures import Failure
from midhaul.vision.images import upright

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from midhaul.federation.providers.answers import ReadAnswer, Words
    from midhaul.federation.providers.blocking import BlockingCalls
    from midhaul.federation.providers.image_limits import ImageLimits, Size
    from midhaul.model import Prediction

    Ask = Callable[[bytes, Size, float], ReadAnswer]
    """Asks the vendor about an image of some size, and gives up after some seconds."""


class VendorProvider:
    """Checks an image against the vendor's limits and asks in a thread.

    The vendor is sent the picture as a person sees it: one that EXIF turns is turned
    first, so that its answer is in that frame whatever it does with EXIF.

    Args:
        name: its name.
        limits: what the vendor takes.
        words: where the vendor's words are gathered.
        calls: the threads, and what the SDK's exceptions mean.
        ask: the call itself; blocks.
        close: closes the SDK's connections.
        longest_s: when the SDK gives up on its own.
    """

    def __init__(
        self,
        name: str,
        *,
        limits: ImageLimits,
        words: Words,
        calls: BlockingCalls,
        ask: Ask,
        close: Callable[[], object],
        longest_s: float,
    ) -> None:
        self._name = name
        self._limits = limits
        self._words = words
        self._calls = calls
        self._ask = ask
        self._close = close
        self._longest_s = longest_s

    async def __aenter__(self) -> Self:
        """Connections open with the first calls."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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
        wait_s = min(timeout_s, self._longest_s)
        return await self._calls.call(
            lambda: self._ask(upright_data, checked, wait_s),
            item=item,
            timeout_s=timeout_s,
        )


def _upright(data: bytes, item: str) -> bytes:
    """The picture without a turn in its EXIF; what is no picture is left as it is."""
    try:
        return upright(data, where=item)
    except DataError:
        return data  # the limits say what is wrong with it
