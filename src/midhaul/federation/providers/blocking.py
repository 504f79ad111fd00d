"""Blocking calls of a vendor's SDK, in a bounded pool of threads."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from midhaul.federation.providers.failures import (
    UNSENT,
    Failure,
    MalformedAnswerError,
    redacted,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from midhaul.federation.providers.answers import ReadAnswer
    from midhaul.model import Prediction


class BlockingCalls:
    """Makes an asynchronous provider of a blocking SDK.

    A thread that hangs cannot be stopped: the SDK's own timeouts end it. The caller is
    answered in time all the same; a call that found no free thread in time was not
    sent.

    Args:
        provider: its name.
        n_threads: most calls at the same time.
        errors: exceptions of the SDK.
        failure_of: what one of them means.
        secrets: what no message may show.
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
        """Run a call and say how it went.

        Args:
            work: asks the vendor and reads the answer; runs in a thread.
            item: id of the item.
            timeout_s: when to give up.
        """
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
