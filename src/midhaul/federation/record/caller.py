"""Asking live providers: on a schedule, within limits and budgets, every call noted."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from midhaul.federation.money.budget import Refusal
from midhaul.federation.record.journal import (
    NOT_MADE,
    SKIPPED,
    UNFINISHED,
    CallKey,
    JournalCall,
    JournalEntry,
)
from midhaul.federation.serving.limiter import Limiter
from midhaul.model import Detections, Prediction, Tags

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from midhaul.federation.money.budget import BudgetGuard
    from midhaul.federation.providers.base import Provider
    from midhaul.federation.record.journal import Journal
    from midhaul.runs.progress import Task

_PATIENCE_S = 7 * 86_400.0
_FLUSH_S = 5.0
_GIVE_UP = 3
"""Calls in a row that a provider denies, or that do not reach it, until it is left
alone for the rest of a turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A provider with its limits.

    Attributes:
        provider: not opened yet.
        timeout_s: of a call.
        n_at_once: most calls at the same time.
        rate_hz: most calls per second; infinite for any number.
    """

    provider: Provider
    timeout_s: float
    n_at_once: int = 1
    rate_hz: float = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordTurn:
    """A slice of the image set in one pass.

    Attributes:
        number: of the turn, from 0.
        slice: of the image set.
        pass_number: of the pass.
        after_s: when it begins, after the begin of the run.
        items: ids of its images.
    """

    number: int
    slice: int
    pass_number: int
    after_s: float
    items: tuple[str, ...]


def turns_of(
    items: Sequence[str], *, n_slices: int, n_passes: int, every_s: float
) -> list[RecordTurn]:
    """Cut an image set into slices, as even as can be, and repeat them.

    Empty slices are left out; a turn begins ``every_s`` after the one before.
    """
    n = len(items)
    turns: list[RecordTurn] = []
    for pass_number in range(n_passes):
        for k in range(n_slices):
            part = tuple(items[k * n // n_slices : (k + 1) * n // n_slices])
            if part:
                turns.append(
                    RecordTurn(
                        number=len(turns),
                        slice=k,
                        pass_number=pass_number,
                        after_s=(pass_number * n_slices + k) * every_s,
                        items=part,
                    )
                )
    return turns


class Asker:
    """Makes all calls that are still to be made.

    ``save`` is called with a turn every few seconds, and at its end.
    """

    def __init__(
        self,
        asked: Sequence[Asked],
        journal: Journal,
        guard: BudgetGuard,
        *,
        read: Callable[[str], bytes],
        save: Callable[[RecordTurn], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._asked, self._journal, self._guard = asked, journal, guard
        self._read, self._save, self._clock = read, save, clock
        self.is_spent = False

    async def run(
        self,
        turns: Sequence[RecordTurn],
        ask: frozenset[CallKey],
        begins_s: float,
        task: Task,
    ) -> None:
        """Make calls turn by turn; the first begins at ``begins_s``, since 1970."""
        async with AsyncExitStack() as stack:
            for one in self._asked:
                await stack.enter_async_context(one.provider)
            limiters = [
                Limiter(
                    n_at_once=one.n_at_once,
                    rate_hz=one.rate_hz,
                    burst=1,
                    clock=time.monotonic,
                )
                for one in self._asked
            ]
            for turn in turns:
                if self.is_spent:
                    return
                if not any(key in ask for key in _keys(turn, self._asked)):
                    continue
                await asyncio.sleep(max(0.0, begins_s + turn.after_s - self._clock()))
                saver = asyncio.create_task(self._save_often(turn))
                try:
                    async with asyncio.TaskGroup() as group:
                        for one, limiter in zip(self._asked, limiters, strict=True):
                            group.create_task(
                                self._one_provider(
                                    one, limiter, turn, ask, begins_s, task
                                )
                            )
                finally:
                    saver.cancel()
                    self._save(turn)

    async def _save_often(self, turn: RecordTurn) -> None:
        while True:
            await asyncio.sleep(_FLUSH_S)
            self._save(turn)

    async def _one_provider(
        self,
        one: Asked,
        limiter: Limiter,
        turn: RecordTurn,
        ask: frozenset[CallKey],
        begins_s: float,
        task: Task,
    ) -> None:
        """Ask one provider about all images of a turn, as many at once as it may be."""
        waiting = iter(turn.items)
        in_vain: list[str] = []

        async def work() -> None:
            for item in waiting:
                key = CallKey(one.provider.name, item, turn.pass_number)
                if key not in ask or self.is_spent:
                    continue
                if len(in_vain) >= _GIVE_UP:
                    self._skip(turn, key, begins_s, in_vain[-1])
                else:
                    found = await self._call(one, limiter, turn, key, begins_s)
                    if found is None or found.status not in ("unreachable", "denied"):
                        in_vain.clear()
                    else:
                        in_vain.append(f"{found.status}: {found.message}")
                task.advance()

        async with asyncio.TaskGroup() as group:
            for _ in range(min(one.n_at_once, len(turn.items))):
                group.create_task(work())

    def _skip(self, turn: RecordTurn, key: CallKey, begins_s: float, why: str) -> None:
        """Note a call that is not made, as the provider cannot be had."""
        call = JournalCall(
            key=key,
            slice=turn.slice,
            planned_s=begins_s + turn.after_s,
            sent_s=self._clock(),
            status=SKIPPED,
            message=f"{key.provider} was left alone after {_GIVE_UP} calls, {why}",
        )
        self._journal.write(call)

    async def _call(
        self,
        one: Asked,
        limiter: Limiter,
        turn: RecordTurn,
        key: CallKey,
        begins_s: float,
    ) -> Prediction | None:
        """Make one call; None where it was not made."""
        before = self._journal.calls.get(key)
        n_asked = 1 if before is None or before.status in NOT_MADE else (
            before.n_asked + 1
        )  # fmt: skip
        data = await asyncio.to_thread(self._read, key.item)
        if not await limiter.enter(_PATIENCE_S):
            return None
        try:
            call = JournalCall(
                key=key,
                slice=turn.slice,
                planned_s=begins_s + turn.after_s,
                sent_s=self._clock(),
                upload_bytes=len(data),
                n_asked=n_asked,
            )
            leave = await self._guard.reserve_async(key.provider, key.item)
            if isinstance(leave, Refusal):
                self.is_spent = True
                self._journal.write(
                    replace(call, status="not_sent", message=leave.message)
                )
                return None
            self._journal.write(call)
            answer = await one.provider.predict(
                data, item=key.item, timeout_s=one.timeout_s
            )
            charged_usd = self._guard.conclude(
                leave, answer.status, is_sent=answer.has_reached
            )
            if answer.retry_after_s:
                limiter.pause(answer.retry_after_s)
            self._journal.write(_ended(call, answer, charged_usd))
            return answer
        finally:
            limiter.leave()


def _ended(call: JournalCall, answer: Prediction, charged_usd: float) -> JournalCall:
    return replace(
        call,
        status=answer.status,
        message=answer.message,
        latency_s=answer.latency_s,
        price_usd=charged_usd,
        n_dropped=answer.n_dropped,
        found=None if answer.answer is None else found_in(answer.answer),
    )


def found_in(answer: Detections | Tags) -> tuple[JournalEntry, ...]:
    """An answer row by row, in the provider's own words."""
    names = answer.names
    if isinstance(answer, Tags):
        nothing = (None, None, None, None)
        return tuple(
            JournalEntry(names[label], float(score), *nothing)
            for label, score in zip(answer.labels, answer.scores, strict=True)
        )
    return tuple(
        JournalEntry(names[label], float(score), *(float(x) for x in box))
        for label, score, box in zip(
            answer.labels, answer.scores, answer.boxes, strict=True
        )
    )


def keys_to_ask(
    turns: Sequence[RecordTurn],
    asked: Sequence[Asked],
    journal: Journal,
    ask_again: str,
) -> frozenset[CallKey]:
    """What is still to be asked."""
    again = {
        "never": NOT_MADE,
        "unfinished": NOT_MADE | {UNFINISHED},
    }
    wanted: set[CallKey] = set()
    for turn in turns:
        for key in _keys(turn, asked):
            known = journal.calls.get(key)
            if known is None:
                wanted.add(key)
            elif ask_again == "failed":
                if known.status != "ok":
                    wanted.add(key)
            elif known.status in again[ask_again]:
                wanted.add(key)
    return frozenset(wanted)


def _keys(turn: RecordTurn, asked: Sequence[Asked]) -> list[CallKey]:
    return [
        CallKey(one.provider.name, item, turn.pass_number)
        for one in asked
        for item in turn.items
    ]
