"""A circuit breaker: who fails too often is left alone for a while.

The three states of Nygard, "Release It!" (2007): closed, where calls pass and are
counted; open, where none passes; half open, where a few probes pass and decide.

1. It opens on a failure rate in a sliding window of time, not on failures in a row.
2. A probe whose caller went away gives its place back and decides nothing.
3. Nobody being there, or whoever asks being denied, is no matter of rates: one such
   call opens it.
4. Only calls let through in the present state count: an answer that comes late from
   before an opening does not close it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from midhaul.federation.serving.settings import BreakerSettings
    from midhaul.model import PredictionStatus

BreakerState = Literal["closed", "open", "half_open"]


class Breaker:
    """The circuit breaker of one provider.

    Each call that :meth:`admit` let through ends with :meth:`record` or
    :meth:`forgive`, which take what it returned.
    """

    def __init__(self, settings: BreakerSettings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._ends: deque[tuple[float, bool]] = deque()
        self._n_failures = 0
        self._opened_s = 0.0
        self._is_open = False
        self._era = 0
        self._n_probing = 0
        self._n_good_probes = 0
        self.n_opened = 0

    @property
    def state(self) -> BreakerState:
        """What it lets through now."""
        if not self._is_open:
            return "closed"
        waited_s = self._clock() - self._opened_s
        return "open" if waited_s < self._settings.open_s else "half_open"

    @property
    def retry_after_s(self) -> float:
        """How long nobody will be asked; 0 where somebody may be."""
        if not self._is_open:
            return 0.0
        return max(0.0, self._opened_s + self._settings.open_s - self._clock())

    @property
    def is_blocking(self) -> bool:
        """True where no call may be made now."""
        state = self.state
        if state == "half_open":
            return self._n_probing + self._n_good_probes >= self._settings.n_probes
        return state == "open"

    def admit(self) -> int | None:
        """Ask to make a call: what :meth:`record` wants back, or None for no."""
        if self.is_blocking:
            return None
        self._n_probing += self._is_open
        return self._era

    def forgive(self, admitted: int) -> None:
        """End a call that tells nothing about the provider."""
        if admitted == self._era and self._is_open:
            self._n_probing -= 1

    def record(self, admitted: int, status: PredictionStatus) -> None:
        """End a call, of what :meth:`admit` returned for it."""
        if status in ("refused", "not_sent"):
            self.forgive(admitted)
            return
        if admitted != self._era:
            return
        is_fatal = status in self._settings.fatal
        is_failure = is_fatal or status in self._settings.statuses
        if self._is_open:
            self._n_probing -= 1
            self._judge_probe(is_failure=is_failure)
        elif is_fatal:
            self._open()
        else:
            self._count(is_failure=is_failure)

    def _judge_probe(self, *, is_failure: bool) -> None:
        if is_failure:
            self._open()
            return
        self._n_good_probes += 1
        if self._n_good_probes >= self._settings.n_probes:
            self._is_open = False
            self._restart()

    def _count(self, *, is_failure: bool) -> None:
        now_s = self._clock()
        self._ends.append((now_s, is_failure))
        self._n_failures += is_failure
        while self._ends[0][0] < now_s - self._settings.window_s:
            self._n_failures -= self._ends.popleft()[1]
        n = len(self._ends)
        if n >= self._settings.n_calls and (
            self._n_failures >= self._settings.failure_rate * n
        ):
            self._open()

    def _open(self) -> None:
        self._is_open = True
        self._opened_s = self._clock()
        self.n_opened += 1
        self._restart()

    def _restart(self) -> None:
        self._era += 1
        self._ends.clear()
        self._n_failures = self._n_probing = self._n_good_probes = 0
