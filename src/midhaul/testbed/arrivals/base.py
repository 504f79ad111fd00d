"""What every arrival process offers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np


class Arrivals(Protocol):
    """A process that says when requests are sent, whatever becomes of them."""

    @property
    def rate_hz(self) -> float:
        """Mean number of requests per second."""
        ...

    def times(self, rng: np.random.Generator) -> Iterator[float]:
        """Planned sends in seconds since the process began, in order.

        The iterator is lazy, so that nobody needs to know beforehand how many requests
        a count, a duration or a warm-up will take. Equal generators give equal times.

        Args:
            rng: source of chance; a process without chance does not touch it.
        """
        ...
