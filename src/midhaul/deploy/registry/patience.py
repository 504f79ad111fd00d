"""How a registry that fails, or has had enough of us, is asked again.

Waits double (exponential backoff) and are partly left to chance, so that many programs
do not come back in the same moment (RFC 9110, section 10.2.3, for ``Retry-After``; RFC
6585, section 4, for 429). What a registry asks for is granted up to a bound, and all
waits for one registry together have another.
"""

from __future__ import annotations

import asyncio
import email.utils
import math
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from midhaul.errors import NodeError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

_T = TypeVar("_T")
_EPOCH_S = 1e9
"""A number of seconds from here on is a time, not a wait; some write that."""


class BusyRegistryError(NodeError):
    """A registry limits requests, or rests, and said when to come again.

    Args:
        message: as of every error.
        hint: as of every error.
        wait_s: what it asks for.
    """

    def __init__(self, message: str, hint: str = "", *, wait_s: float) -> None:
        super().__init__(message, hint)
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """How often, and after which waits, a failed registry is asked again.

    Attributes:
        n_most: most failures in a row; one that brought bytes before it ends a row.
        first_s: wait before the second attempt; each further one doubles it.
        longest_s: no wait of our own is longer.
        longest_told_s: no wait that a registry asks for is longer; one that asks for
            more is left at once.
    """

    n_most: int = 8
    first_s: float = 0.2
    longest_s: float = 10.0
    longest_told_s: float = 60.0

    def wait_s(self, n_failures: int, rng: np.random.Generator) -> float:
        """The wait after some failures in a row, half of it left to chance."""
        full = min(self.longest_s, self.first_s * 2.0 ** min(n_failures - 1, 60))
        return full * rng.uniform(0.5, 1.0)

    def wait_after(
        self, error: NodeError, n_failures: int, rng: np.random.Generator
    ) -> float:
        """The wait after a failure: what the registry asks for, or one's own.

        Raises:
            NodeError: the failure, where there were too many, or the wait is too long.
        """
        if n_failures > self.n_most:
            raise error
        own_s = self.wait_s(n_failures, rng)
        if not isinstance(error, BusyRegistryError):
            return own_s
        if error.wait_s > self.longest_told_s:
            raise error
        # Not before the time: some count what comes too early against the next one.
        return max(own_s, error.wait_s * rng.uniform(1.0, 1.1))


class Patience:
    """Asks again until a registry answers, failed too often, or has had its time.

    Args:
        retries: how patient it is with one request.
        total_s: all waits for one registry together; afterwards each request to it has
            one attempt.
        rng: chance of the waits.
        sleep: waits for some seconds.
    """

    def __init__(
        self,
        retries: Retries | None = None,
        *,
        total_s: float = 120.0,
        rng: np.random.Generator | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._retries = retries or Retries(n_most=5)
        self._total_s = total_s
        self._rng = rng or np.random.default_rng()
        self._sleep = sleep
        self._waited_s: Counter[str] = Counter()

    async def __call__(self, registry: str, work: Callable[[], Awaitable[_T]]) -> _T:
        """Do something small, again where a registry failed.

        Raises:
            NodeError: it failed too often, or for too long.
        """
        n_failures = 0
        while True:
            try:
                return await work()
            except NodeError as error:
                n_failures += 1
                wait_s = self._retries.wait_after(error, n_failures, self._rng)
                if self._waited_s[registry] + wait_s > self._total_s:
                    raise
            self._waited_s[registry] += wait_s  # pyright: ignore[reportArgumentType]  seconds count, too
            await self._sleep(wait_s)


def told_wait_s(
    headers: Mapping[str, str], clock: Callable[[], float] = time.time
) -> float | None:
    """The wait that an answer asks for; None where it asks for none, or nonsense.

    ``Retry-After`` is a number of seconds or a date; the date is held against that of
    the answer, since two machines' clocks may differ.
    """
    text = headers.get("Retry-After", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        due_s = _date_s(text)
        if due_s is None:
            return None
        said_s = _date_s(headers.get("Date", ""))
        return max(0.0, due_s - (clock() if said_s is None else said_s))
    if not math.isfinite(seconds):
        return None
    return max(0.0, seconds - clock() if seconds >= _EPOCH_S else seconds)


def _date_s(text: str) -> float | None:
    """Seconds since 1970 of a date as HTTP writes it."""
    try:
        found = email.utils.parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
