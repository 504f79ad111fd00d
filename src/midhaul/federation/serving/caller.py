"""Retry, backoff, hedging, circuit breaker, rate limit: the calls of one provider.

Every attempt passes the same gates in the same order: the breaker, a place and a time
to begin, the breaker again (it may have opened meanwhile), and last the money, so that
none is held while a call waits. Whatever ends an attempt, a cancelled client included,
its reservation is settled or released and its place given back.

*Retries*: exponential backoff with full jitter, and a stock of them. Full jitter is
that of Brooker, "Exponential Backoff And Jitter" (AWS, 2015): the k-th wait is drawn
evenly from [0, min(cap, base 2^k)]. The stock is gRPC's retry throttling (proposal A6):
each retry takes one from it, each success puts a share of one back.

1. ``Retry-After`` is a lower bound of the wait, and one jitter comes on top of it, so
   that not all who were told the same come back at the same time.
2. The stock may be used up; gRPC stops at half of it.

*Circuit breaker*: who fails too often is left alone for a while. The three states are
those of Nygard, "Release It!" (2007): closed, where calls pass and are counted; open,
where none passes; half open, where a few probes pass and decide.

1. It opens on a failure rate in a sliding window of time, not on failures in a row.
2. A probe whose caller went away gives its place back and decides nothing.
3. Nobody being there, or whoever asks being denied, is no matter of rates: one such
   call opens it.
4. Only calls let through in the present state count: an answer that comes late from
   before an opening does not close it.

*Limiter*: how often, and how many at once; calls of one provider wait for it.
"""

from __future__ import annotations

import asyncio
import math
import socket
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from midhaul.errors import StoreError
from midhaul.federation.money.budget import Refusal
from midhaul.federation.money.ledger_file import price_nusd
from midhaul.federation.providers.base import Failure, was_unsent
from midhaul.federation.serving.request import Call
from midhaul.model import Prediction

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from midhaul.federation.money.budget import BudgetGuard, Reservation
    from midhaul.federation.providers.base import Provider
    from midhaul.federation.serving.request import FederationRequest, NotSent, Observer
    from midhaul.federation.serving.settings import (
        BreakerSettings,
        ProviderSettings,
        RetrySettings,
    )
    from midhaul.model import PredictionStatus


class Limiter:
    """Places for calls at the same time, and a rate at which they may begin.

    The rate is a virtual queue (the generic cell rate algorithm): each call is given a
    time to begin, a burst early at most. ``Retry-After`` of a provider moves it on. A
    rate is of calls per second, infinite for any number.
    """

    def __init__(
        self, *, n_at_once: int, rate_hz: float, burst: int, clock: Callable[[], float]
    ) -> None:
        self._places = asyncio.Semaphore(n_at_once)
        self._gap_s = 0.0 if math.isinf(rate_hz) else 1.0 / rate_hz
        self._burst_s = self._gap_s * (burst - 1)
        self._clock = clock
        self._next_s = -math.inf
        self._closed_until_s = -math.inf
        self.n_waiting = 0

    def pause(self, seconds: float) -> None:
        """Let no call begin for a while: the provider asked for it."""
        until = self._clock() + seconds
        self._closed_until_s = max(self._closed_until_s, until)

    async def enter(self, patience_s: float) -> bool:
        """Wait for a place and a time to begin; :meth:`leave` gives the place back.

        False where the wait is, or would be, longer than ``patience_s``.
        """
        begun = self._clock()
        if self._places.locked():
            if not await self._found_place(patience_s):
                return False
        else:
            await self._places.acquire()
        try:
            return await self._found_time(patience_s - (self._clock() - begun))
        except BaseException:
            self._places.release()
            raise

    def leave(self) -> None:
        """Give a place back."""
        self._places.release()

    async def _found_place(self, patience_s: float) -> bool:
        self.n_waiting += 1
        try:
            async with asyncio.timeout(max(0.0, patience_s)):
                await self._places.acquire()
        except TimeoutError:
            return False
        finally:
            self.n_waiting -= 1
        return True

    async def _found_time(self, patience_s: float) -> bool:
        """Take the next time to begin and wait for it; a place is held."""
        now = self._clock()
        begin = max(now, self._next_s - self._burst_s, self._closed_until_s)
        wait_s = begin - now
        if wait_s > patience_s:
            self._places.release()
            return False
        if self._gap_s:
            self._next_s = max(self._next_s, begin) + self._gap_s
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        return True


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


class Retries:
    """The retries of one provider."""

    def __init__(self, settings: RetrySettings, rng: np.random.Generator) -> None:
        self._settings = settings
        self._rng = rng
        self._stock = float(settings.burst)

    def succeeded(self) -> None:
        """Put a share of a retry into the stock."""
        self._stock = min(self._settings.burst, self._stock + self._settings.share)

    def wait_s(self, n_made: int, failed: Prediction) -> float | None:
        """Seconds to wait after ``n_made`` attempts; None for no other one."""
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


@dataclass(slots=True, kw_only=True)
class Attempt:
    """One attempt under way.

    Attributes:
        number: of the attempt at this provider, from 1.
        is_hedge: true for a second call beside a slow one.
        begun_s: when somebody wished to ask.
        sent_s: when the call was made; None where it was not yet.
    """

    number: int
    is_hedge: bool
    begun_s: float
    sent_s: float | None = None


def conclude(
    request: FederationRequest,
    guard: BudgetGuard,
    reserved: Reservation,
    status: PredictionStatus,
    *,
    is_sent: bool = True,
) -> float:
    """Settle or release a reservation; what was charged, in USD."""
    charged = guard.conclude(reserved, status, is_sent=is_sent)
    request.purse.give_back(reserved.price_nusd - price_nusd(charged))
    return charged


async def first_ok(tasks: set[asyncio.Task[Prediction]]) -> Prediction:
    """The first answer; the last failure where all fail."""
    waiting = set(tasks)
    found: Prediction | None = None
    while waiting:
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            found = task.result()
            if found.is_ok:
                return found
    assert found is not None  # noqa: S101 - there was one task at least
    return found


_SHORTEST_S = 1e-3
"""With less time than this nobody is asked."""

_NO_CONNECTION = (ConnectionRefusedError, socket.gaierror)
"""What a stranger's provider may raise before anything was sent."""

_SLACK = 0.1
"""Share of a time-out by which its timer may be late."""
_EARLY_S = 2e-3
"""By which a timer may be early: event loops count whole milliseconds."""
_CONNECT_S = 3.0
"""In which a connection comes about, though two of its first packets be lost."""


class Caller:
    """Calls one provider, for all requests.

    Who gives the provider opens it; the observer is told of every attempt.
    """

    def __init__(
        self,
        provider: Provider,
        settings: ProviderSettings,
        guard: BudgetGuard,
        *,
        observer: Observer,
        rng: np.random.Generator,
        clock: Callable[[], float],
    ) -> None:
        self.name = provider.name
        self.settings = settings
        self.breaker = Breaker(settings.breaker, clock)
        self._provider = provider
        self._guard = guard
        self._observer = observer
        self._clock = clock
        self._retries = Retries(settings.retry, rng)
        self._limiter = Limiter(
            n_at_once=settings.n_at_once,
            rate_hz=settings.rate_hz,
            burst=settings.burst,
            clock=clock,
        )

    @property
    def n_waiting(self) -> int:
        """Calls that wait for a place."""
        return self._limiter.n_waiting

    async def call(self, request: FederationRequest) -> Prediction:
        """Ask until there is an answer, or no sense in asking again.

        Gives the last attempt's answer or failure; the request's list of calls grows.
        """
        n_made = 0
        while True:
            n_made += 1
            found = await self._hedged(request, n_made)
            if found.is_ok:
                self._retries.succeeded()
                return found
            wait_s = self._retries.wait_s(n_made, found)
            if wait_s is None or self.breaker.is_blocking:
                return found
            if self._clock() + wait_s + _SHORTEST_S > request.deadline_s:
                return found
            self._retries.take()
            await asyncio.sleep(wait_s)

    async def _hedged(self, request: FederationRequest, number: int) -> Prediction:
        """One attempt, and a second one beside it where the first is slow."""
        after_s = self.settings.hedge_after_s
        if after_s is None:
            return await self._attempt(request, number)
        first = asyncio.create_task(self._attempt(request, number))
        tasks = {first}
        try:
            await asyncio.wait(tasks, timeout=after_s)
            if first.done():
                return first.result()
            second = self._attempt(request, number, is_hedge=True)
            tasks.add(asyncio.create_task(second))
            return await first_ok(tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _attempt(
        self, request: FederationRequest, number: int, *, is_hedge: bool = False
    ) -> Prediction:
        attempt = Attempt(number=number, is_hedge=is_hedge, begun_s=self._clock())
        if self.breaker.is_blocking:
            return self._blocked(request, attempt)
        patience_s = request.deadline_s - attempt.begun_s
        if not await self._limiter.enter(patience_s):
            what = f"no call of {self.name} can begin before the deadline"
            return self._not_sent(request, attempt, "limits", what)
        try:
            admitted = self.breaker.admit()
            if admitted is None:
                return self._blocked(request, attempt)
            return await self._admitted(request, attempt, admitted)
        finally:
            self._limiter.leave()

    async def _admitted(
        self, request: FederationRequest, attempt: Attempt, admitted: int
    ) -> Prediction:
        """Reserve money and ask; the breaker hears what became of it, or nothing."""
        counted: PredictionStatus = "not_sent"
        try:
            reserved = await self._reserve(request, attempt)
            if isinstance(reserved, Prediction):
                return reserved
            left_s = request.deadline_s - self._clock()
            if left_s < _SHORTEST_S:
                conclude(request, self._guard, reserved, "not_sent", is_sent=False)
                what = "the deadline came before the call"
                return self._not_sent(request, attempt, "deadline", what)
            timeout_s = min(left_s, self.settings.timeout_s)
            found = await self._ask(request, attempt, reserved, timeout_s)
            if self._is_to_blame(found.status, attempt, timeout_s):
                counted = found.status
            if found.retry_after_s > 0:
                self._limiter.pause(found.retry_after_s)
            return found
        finally:
            self.breaker.record(admitted, counted)

    def _is_to_blame(
        self, status: PredictionStatus, attempt: Attempt, timeout_s: float
    ) -> bool:
        """Whether a time-out is the provider's: it had its time, and we had ours.

        Where the request's deadline left it less time, or where this process was so
        busy that it came to look at its timers late, nobody knows. That holds for the
        time in which a connection came about too.
        """
        if status not in ("timeout", "unreachable"):
            return True
        took_s = self._clock() - (attempt.sent_s or 0.0)
        enough_s = self.settings.timeout_s
        if status == "unreachable":
            if took_s < timeout_s * (1 - _SLACK) - _EARLY_S:
                return True  # it was refused, and not waited for
            enough_s = min(enough_s, _CONNECT_S)
        return timeout_s >= enough_s and took_s < timeout_s * (1 + _SLACK)

    async def _reserve(
        self, request: FederationRequest, attempt: Attempt
    ) -> Reservation | Prediction:
        try:
            reserved = await self._guard.reserve_async(self.name, request.item)
        except StoreError as error:
            return self._not_sent(request, attempt, "ledger", error.message)
        if isinstance(reserved, Refusal):
            self._note_wait(request, reserved.retry_after_s)
            return self._not_sent(request, attempt, "budget", reserved.message)
        if request.purse.take(reserved.price_nusd):
            return reserved
        self._guard.release(reserved)
        what = (
            f"a call of {self.name} costs up to {reserved.price_usd:.9g} USD, more "
            "than is left of the request's own budget"
        )
        return self._not_sent(request, attempt, "budget", what)

    async def _ask(
        self,
        request: FederationRequest,
        attempt: Attempt,
        reserved: Reservation,
        timeout_s: float,
    ) -> Prediction:
        attempt.sent_s = self._clock()
        try:
            async with asyncio.timeout(timeout_s):
                found = await self._provider.predict(
                    request.data, item=request.item, timeout_s=timeout_s
                )
        except TimeoutError as error:
            found = self._too_late(request, error, timeout_s)
        except asyncio.CancelledError as error:
            self._give_up(request, attempt, reserved, error)
            raise
        except Exception as error:  # noqa: BLE001  a stranger's provider may raise
            text = f"{type(error).__name__}: {error}".split("\n")[0]
            is_sent = not isinstance(error, _NO_CONNECTION)
            status = "unavailable" if is_sent else "unreachable"
            found = self._failed(request, status, text, is_sent=is_sent)
        charged = conclude(
            request, self._guard, reserved, found.status, is_sent=found.has_reached
        )
        why: NotSent = "limits" if found.status == "not_sent" else ""
        self._note(
            request, attempt, found.status, found.message, charged, why,
            is_sent=found.has_reached,
        )  # fmt: skip
        return found

    def _too_late(
        self, request: FederationRequest, error: TimeoutError, timeout_s: float
    ) -> Prediction:
        """A time-out: of the provider, unless nothing has reached it."""
        if was_unsent(error):
            message = f"no connection within {timeout_s:g} s"
            return self._failed(request, "unreachable", message)
        message = f"no answer within {timeout_s:g} s"
        return self._failed(request, "timeout", message, is_sent=True)

    def _give_up(
        self,
        request: FederationRequest,
        attempt: Attempt,
        reserved: Reservation,
        error: BaseException,
    ) -> None:
        """End a call that nobody waits for: it is paid, unless it was never sent."""
        message = "nobody waited for the answer any more"
        if was_unsent(error):
            conclude(request, self._guard, reserved, "not_sent", is_sent=False)
            self._note(request, attempt, "cancelled", message, 0.0, "cancelled")
            return
        charged = self._guard.settle(reserved)
        self._note(request, attempt, "cancelled", message, charged, is_sent=True)

    def _blocked(self, request: FederationRequest, attempt: Attempt) -> Prediction:
        self._note_wait(request, self.breaker.retry_after_s)
        what = f"the circuit breaker of {self.name} is open"
        return self._not_sent(request, attempt, "breaker", what)

    def _not_sent(
        self, request: FederationRequest, attempt: Attempt, why: NotSent, message: str
    ) -> Prediction:
        self._note(request, attempt, "not_sent", message, 0.0, why)
        return self._failed(request, "not_sent", message)

    def _failed(
        self,
        request: FederationRequest,
        status: PredictionStatus,
        message: str,
        *,
        is_sent: bool = False,
    ) -> Prediction:
        failure = Failure(status=status, message=message, is_sent=is_sent)
        return failure.prediction(self.name, request.item, 0.0)

    def _note(
        self,
        request: FederationRequest,
        attempt: Attempt,
        status: PredictionStatus | Literal["cancelled"],
        message: str,
        charged: float,
        why: NotSent = "",
        *,
        is_sent: bool = False,
    ) -> None:
        now = self._clock()
        sent_s = now if attempt.sent_s is None else attempt.sent_s
        call = Call(
            provider=self.name,
            round=request.round,
            attempt=attempt.number,
            is_hedge=attempt.is_hedge,
            status=status,
            not_sent=why,
            message=message,
            wait_s=sent_s - attempt.begun_s,
            latency_s=now - sent_s,
            price_usd=charged,
            is_sent=is_sent,
        )
        request.calls.append(call)
        self._observer.called(call)

    @staticmethod
    def _note_wait(request: FederationRequest, wait_s: float) -> None:
        request.retry_after_s = max(request.retry_after_s, wait_s)
