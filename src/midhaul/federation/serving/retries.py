"""When to call again: exponential backoff with full jitter, and a stock of retries.

Full jitter is that of Brooker, "Exponential Backoff And Jitter" (AWS, 2015): the k-th
wait is drawn evenly from [0, min(cap, base 2^k)]. The stock is gRPC's retry throttling
(proposal A6): each retry takes one from it, each success puts a share of one back.

1. ``Retry-After`` is a lower bound of the wait, and one jitter comes on top of it, so
   that not all who were told the same come back at the same time.
2. The stock may be used up; gRPC stops at half of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from midhaul.federation.serving.settings import RetrySettings
    from midhaul.model import Prediction


class Retries:
    """The retries of one provider.

    Args:
        settings: when and how often.
        rng: of the waits.
    """

    def __init__(self, settings: RetrySettings, rng: np.random.Generator) -> None:
        self._settings = settings
        self._rng = rng
        self._stock = float(settings.burst)

    def succeeded(self) -> None:
        """Put a share of a retry into the stock."""
        self._stock = min(self._settings.burst, self._stock + self._settings.share)

    def wait_s(self, n_made: int, failed: Prediction) -> float | None:
        """How long to wait before the next attempt, in seconds.

        Args:
            n_made: attempts made so far.
            failed: the last of them.

        Returns:
            None where there must not be another one.
        """
        settings = self._settings
        if n_made >= settings.attempts or failed.status not in settings.statuses:
            return None
        if self._stock < 1:
            return None
        longest = min(settings.cap_s, settings.base_s * 2.0 ** (n_made - 1))
        return failed.retry_after_s + float(self._rng.uniform(0.0, longest))

    def take(self) -> None:
        """Take a retry, which is about to be made, from the stock."""
        self._stock -= 1
