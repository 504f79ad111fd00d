"""A priced source of predictions, as the federation calls it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from midhaul.model import Prediction


class Provider(Protocol):
    """Answers one item at a time; the conformance suite is ``providers.checks``.

    A provider is opened with ``async with`` and closed with it.
    """

    async def __aenter__(self) -> Self:
        """Open it."""
        ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        ...

    @property
    def name(self) -> str:
        """Unique name, as ledgers and tables show it."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """Its label set, in its own words; grows where it cannot be known before."""
        ...

    async def predict(self, data: bytes, *, item: str, timeout_s: float) -> Prediction:
        """Ask about one item.

        Args:
            data: the encoded image (or other input), as it is sent.
            item: id of the item, which recorded providers answer by.
            timeout_s: when to give up.

        Returns:
            The answer, or how it failed. ``price_usd`` is 0 here: what a call costs is
            the price list's business, whoever is the provider. Failures of the far end
            are values; nothing is raised for them.
        """
        ...
