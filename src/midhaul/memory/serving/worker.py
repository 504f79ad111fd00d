"""Group commit: one thread does all operations of a memory, those that wait together.

Batches that have come while the thread was busy are offered as one, written down as one
record and synced once. So the more is asked, the less each costs. Nobody is answered
before what they asked for is written down.
"""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from midhaul.errors import MidhaulError
from midhaul.memory.serving.engine import Operation, OperationKind, Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from midhaul.memory.samples import Samples
    from midhaul.memory.serving.engine import ServedMemory
    from midhaul.memory.serving.messages import Piece
    from midhaul.memory.serving.store import MemoryStore

_MOST_JOBS = 64
_MOST_TOGETHER = 16
"""Batches that are offered as one, so that nobody waits for many others."""
_UNAVAILABLE = 503


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MemoryJob:
    """Something to be done by the thread: an operation, or a question.

    Attributes:
        operation: None for a question.
        question: what is asked of the memory.
        answer: its outcome, or its error.
    """

    operation: Operation | None = None
    question: Callable[[], Any] | None = None
    answer: Future[Any] = field(default_factory=Future[Any])


class MemoryWorker:
    """The thread of a memory.

    Args:
        engine: which nobody else touches from now on.
        store: the same, but for snapshots.
        clock: seconds since some epoch; what operations are dated by.
        is_synced: whether the disk is waited for before answers are given.
        after: called in the thread after each round, with no operation under way.
    """

    def __init__(
        self,
        engine: ServedMemory,
        store: MemoryStore,
        clock: Callable[[], float],
        *,
        is_synced: bool,
        after: Callable[[], None] = lambda: None,
    ) -> None:
        self._engine = engine
        self._store = store
        self._clock = clock
        self._is_synced = is_synced
        self._after = after
        self._jobs: queue.SimpleQueue[MemoryJob | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="memory", daemon=True)
        self._is_last = False

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def operate(self, kind: OperationKind, **said: Any) -> Future[Any]:
        """Have an operation done; its outcome, or :class:`Refused`."""
        job = MemoryJob(operation=Operation(kind=kind, now_s=self._clock(), **said))
        self._jobs.put(job)
        return job.answer

    def ask(self, question: Callable[[], Any]) -> Future[Any]:
        """Have something read while no operation is under way."""
        job = MemoryJob(question=question)
        self._jobs.put(job)
        return job.answer

    def stop(self) -> None:
        """Do what waits, and end."""
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        while not self._is_last:
            jobs = self._waiting()
            outcomes: list[tuple[MemoryJob, Any]] = []
            while jobs:
                n = self._n_together(jobs)
                outcomes += self._done(jobs[:n])
                jobs = jobs[n:]
            self._give(outcomes)
            self._after()

    def _waiting(self) -> list[MemoryJob]:
        """The jobs that are there, one at least unless it is the end."""
        found: list[MemoryJob] = []
        job = self._jobs.get()
        while job is not None:
            found.append(job)
            if len(found) == _MOST_JOBS:
                return found
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return found
        self._is_last = True
        return found

    def _n_together(self, jobs: list[MemoryJob]) -> int:
        """How many of the first jobs are offers that may be one."""
        if not self._engine.is_settled:
            return 1
        n = 0
        for job in jobs[:_MOST_TOGETHER]:
            if job.operation is None or job.operation.kind != "offer":
                break
            n += 1
        return max(n, 1)

    def _done(self, jobs: list[MemoryJob]) -> list[tuple[MemoryJob, Any]]:
        """What became of jobs: a question, an operation, or several offers."""
        first = jobs[0]
        try:
            if first.operation is None:
                return [(first, None if first.question is None else first.question())]
            if first.operation.kind == "offer":
                return self._offered(jobs)
            return [(first, self._performed(first.operation))]
        except Exception as error:  # noqa: BLE001 - it is told to whom it concerns
            return [(job, error) for job in jobs]

    def _offered(self, jobs: list[MemoryJob]) -> list[tuple[MemoryJob, Any]]:
        """Admit batches one by one; what is admitted is written down and offered."""
        found: list[tuple[MemoryJob, Any]] = []
        admitted: list[MemoryJob] = []
        pieces: list[Piece] = []
        parts: list[Samples] = []
        for job in jobs:
            piece = cast("Operation", job.operation).pieces[0]
            try:
                parts.append(self._engine.admitted(piece))
            except Refused as refusal:
                found.append((job, refusal))
                continue
            admitted.append(job)
            pieces.append(piece)
        if not admitted:
            return found
        whole = Operation(kind="offer", now_s=self._clock(), pieces=tuple(pieces))
        try:
            self._store.append(whole)
        except MidhaulError as error:
            return [*found, *((job, error) for job in admitted)]
        outcomes = self._engine.offer(parts, whole.now_s)
        return [*found, *zip(admitted, outcomes, strict=True)]

    def _performed(self, operation: Operation) -> Any:
        if operation.kind == "label":
            self._engine.labels_of(operation.pieces[0])  # what is none is not kept
        self._store.append(operation)
        return self._engine.perform(operation)[0]

    def _give(self, outcomes: list[tuple[MemoryJob, Any]]) -> None:
        """Answer everybody, after what was done is on the disk where that is wanted."""
        failure: MidhaulError | None = None
        if self._is_synced and any(job.operation for job, _ in outcomes):
            try:
                self._store.journal.sync()
            except MidhaulError as error:
                failure = error
        for job, outcome in outcomes:
            result = failure if failure is not None and job.operation else outcome
            if not job.answer.set_running_or_notify_cancel():
                continue
            if isinstance(result, MidhaulError):
                result = Refused(_UNAVAILABLE, "disk", result.message)
            if isinstance(result, Exception):
                job.answer.set_exception(result)
            else:
                job.answer.set_result(result)
