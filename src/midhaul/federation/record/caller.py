"""Asking live providers: on a schedule, within limits and budgets, every call noted.

The *journal* of a recording has a line before each call, and one behind it. Lines are
with the kernel before anything else happens, so they survive whatever ends the process.
Who reads the journal knows which calls were made, which were answered and how, and
which were cut off; tables are made from it.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from midhaul import documents
from midhaul.errors import StoreError
from midhaul.federation.money.budget import Refusal
from midhaul.federation.serving.caller import Limiter
from midhaul.model import Detections, Prediction, Tags

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from typing import Self

    from midhaul.federation.money.budget import BudgetGuard
    from midhaul.federation.providers.base import Provider
    from midhaul.runs.progress import Task

UNFINISHED = "unfinished"
SKIPPED = "skipped"
"""The status of a call that was not made because its provider cannot be had."""

NOT_MADE = frozenset({"not_sent", SKIPPED})
"""Statuses of calls that were not made, and that a resumed run makes."""


class CallKey(NamedTuple):
    """What a call is about.

    Attributes:
        number: of the pass over the image set.
    """

    provider: str
    item: str
    number: int


class JournalEntry(NamedTuple):
    """One box or label of an answer; the corners are None without a box."""

    label: str
    score: float
    x1: float | None
    y1: float | None
    x2: float | None
    y2: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalCall:
    """A call, as far as it is known.

    Attributes:
        planned_s: when its slice was to begin, since 1970.
        status: how it went; ``unfinished`` where nobody knows.
        latency_s: from the call to the answer; None without.
        found: the answer; None without.
        n_asked: how often it was asked so far.
        n_dropped: boxes or labels of the answer that could not be read.
    """

    key: CallKey
    slice: int
    planned_s: float
    sent_s: float
    status: str = UNFINISHED
    message: str = ""
    latency_s: float | None = None
    price_usd: float = 0.0
    upload_bytes: int = 0
    found: tuple[JournalEntry, ...] | None = None
    n_asked: int = 1
    n_dropped: int = 0


class Journal:
    """Appends to a journal; closed by ``with``.

    What is in the file is read first. StoreError where it cannot be read or written.

    Attributes:
        calls: the last call about everything that was ever asked.
    """

    def __init__(self, file: Path) -> None:
        self.calls, n_bytes = _read(file)
        try:
            with file.open("ab") as whole:
                whole.truncate(n_bytes)  # a last line that was never finished
            self._file = file.open("ab", buffering=0)
        except OSError as error:
            message = f"{file} cannot be written: {error}"
            raise StoreError(message) from error

    def __enter__(self) -> Self:
        """The journal itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._file.close()

    def write(self, call: JournalCall) -> None:
        """Note a call that is about to be made, or what became of it.

        StoreError where the disk does not take it; the call must not be made then.
        """
        text = json.dumps(asdict(call), separators=(",", ":"))
        try:
            self._file.write(text.encode() + b"\n")
        except OSError as error:
            message = f"{self._file.name} cannot be written: {error}"
            raise StoreError(message) from error
        self.calls[call.key] = call


def _read(file: Path) -> tuple[dict[CallKey, JournalCall], int]:
    """All calls of a journal, and the length of its whole lines."""
    calls: dict[CallKey, JournalCall] = {}
    n_bytes = 0
    if not file.exists():
        return calls, n_bytes
    try:
        with file.open("rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                call = _call(documents.parse_json(line))
                calls[call.key] = call
                n_bytes += len(line)
    except (OSError, ValueError, TypeError, KeyError) as error:
        message = f"{file} cannot be read as a journal: {error}"
        raise StoreError(message, "begin a new run") from error
    return calls, n_bytes


def _call(fields: dict[str, Any]) -> JournalCall:
    found = fields["found"]
    rows = None if found is None else tuple(JournalEntry(*row) for row in found)
    known: dict[str, Any] = {**fields, "key": CallKey(*fields["key"]), "found": rows}
    return JournalCall(**known)


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
        after_s: when it begins, after the begin of the run.
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
    again = {"never": NOT_MADE, "unfinished": NOT_MADE | {UNFINISHED}}
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
