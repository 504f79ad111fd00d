"""Running one experiment: its log, its end and its errors.

Worker processes: calls in processes of their own, a few at a time.

Each call has a fresh process, so that one that dies takes no other with it, and every
process ends when the one that started it does, however that ends.

``parallel`` does the same work on many things in several of them.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from typing import TYPE_CHECKING, Any, TypeVar, cast

from midhaul.errors import (
    ConfigError,
    DataError,
    MidhaulError,
    PrerequisiteError,
    StoreError,
)
from midhaul.machine import children
from midhaul.machine.children import end_with_parent, without_main
from midhaul.runs.progress import Progress, SilentProgress
from midhaul.runs.run import Run

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence
    from multiprocessing.context import SpawnProcess

    from midhaul.runs.manifest import Status

Experiment = Callable[[Any, Run, Progress], None]
"""What a kind does: fill a run as its config says, telling its progress."""

_BAD_INPUT = (ConfigError, DataError, PrerequisiteError)
"""What is met when models and data are opened: a run that never began."""


def perform(experiment: Experiment, config: Any, run: Run, progress: Progress) -> None:
    """Let an experiment fill a run and write down how it ended.

    Raises:
        MidhaulError: what the experiment met; the run is marked failed. Where its input
            was bad and nothing was written yet, its folder is gone.
        KeyboardInterrupt: the user stopped it; the run is marked interrupted.
    """
    with _logged(run):
        run.log("begin", kind=run.manifest.kind, resumed=len(run.manifest.resumed))
        try:
            experiment(config, run, progress)
            run.finish("done")
        except KeyboardInterrupt:
            _end(run, "interrupted", None)
            raise
        except Exception as error:
            if children.was_interrupted():  # and a library has made this of it
                _end(run, "interrupted", None)
                raise KeyboardInterrupt from error
            if isinstance(error, _BAD_INPUT) and _is_empty(run):
                run.remove()
                raise
            _end(run, "failed", error)
            raise
        run.log("end", status="done")


def _is_empty(run: Run) -> bool:
    """Whether it has neither tables nor other files of its experiment."""
    files = run.dir / "files"
    return not run.tables() and not (files.is_dir() and any(files.iterdir()))


def in_words(error: Exception) -> str:
    """An error as a manifest or a table shows it."""
    return str(error) if isinstance(error, MidhaulError) else repr(error)


def _end(run: Run, status: Status, error: Exception | None) -> None:
    """Write down a bad end as far as the disk allows, without hiding its cause."""
    text = in_words(error) if error is not None else None
    with contextlib.suppress(StoreError):
        run.finish(status, text)
    with contextlib.suppress(StoreError):
        trace = traceback.format_exception(error) if error is not None else []
        run.log("end", status=status, error=text, traceback="".join(trace))


class _LogFile(logging.Handler):
    """Appends what midhaul's modules log to a run's ``log.jsonl``."""

    def __init__(self, run: Run) -> None:
        super().__init__(logging.INFO)
        self._run = run

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line; a full disk is told by the tables, not by the log."""
        try:
            level = record.levelname.lower()
            text = record.getMessage()
            self._run.log("message", level=level, logger=record.name, text=text)
        except (StoreError, TypeError, ValueError):
            self.handleError(record)


@contextlib.contextmanager
def _logged(run: Run) -> Generator[None]:
    logger = logging.getLogger("midhaul")
    handler, level = _LogFile(run), logger.level
    logger.addHandler(handler)
    logger.setLevel(min(level or logging.INFO, logging.INFO))
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


def n_jobs(asked: int) -> int:
    """How many processes to use: what was asked, or one per core for 0."""
    return asked or len(os.sched_getaffinity(0))


def parallel(
    work: Callable[[_Task], _Result], tasks: Sequence[_Task], *, jobs: int
) -> Iterator[tuple[int, _Result]]:
    """Do some work on every task and hand out results as they come.

    ``work`` is a function of a module, so that another process can import it. It yields
    the number of each task and its result, in any order. MidhaulError if a process was
    killed, by want of memory for example.
    """
    if jobs == 1 or len(tasks) < 2:  # noqa: PLR2004 - nothing to share out
        for number, task in enumerate(tasks):
            yield number, work(task)
        return
    pool = ProcessPoolExecutor(
        min(jobs, len(tasks)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=end_with_parent,
    )
    try:
        with without_main():
            numbers = {pool.submit(work, task): n for n, task in enumerate(tasks)}
        for future in as_completed(numbers):
            yield numbers.pop(future), future.result()
    except BrokenProcessPool as error:
        message = "a worker process was killed, perhaps for want of memory"
        raise MidhaulError(message, "use fewer processes: --set jobs=1") from error
    except BaseException:
        # Nobody wants what they are at, and it may take long.
        for process in pool._processes.values():  # noqa: SLF001 - public from 3.14 on
            process.kill()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def run_apart(
    function: Callable[..., None], calls: Mapping[str, tuple[object, ...]], jobs: int
) -> Iterator[tuple[str, str | None]]:
    """Call ``function(*arguments, progress)`` per entry, ``jobs`` at once.

    The function is importable by name, its arguments can be pickled. It yields each key
    when its process has ended, with what the call raised; a process that was killed
    says nothing.
    """
    context = multiprocessing.get_context("spawn")
    waiting = list(calls.items())
    active: dict[int, tuple[str, SpawnProcess, connection.Connection]] = {}
    try:
        while waiting or active:
            while waiting and len(active) < jobs:
                key, arguments = waiting.pop(0)
                receiver, sender = context.Pipe(duplex=False)
                target = (function, arguments, sender)
                process = context.Process(target=_work, args=target)
                with children.without_main():
                    process.start()
                sender.close()
                active[process.sentinel] = (key, process, receiver)
            for sentinel in connection.wait(list(active)):
                key, process, receiver = active.pop(cast("int", sentinel))
                process.join()
                yield key, _answer(receiver)
    finally:
        children.stop(_Worker(process) for _, process, _ in active.values())


class _Worker:
    """A process of multiprocessing, to be stopped like any other."""

    def __init__(self, process: SpawnProcess) -> None:
        self._process = process
        self.pid = process.pid or 0

    def poll(self) -> int | None:
        return self._process.exitcode


def _answer(receiver: connection.Connection) -> str | None:
    with receiver:
        try:
            return receiver.recv()
        except EOFError:
            return None


def _work(
    function: Callable[..., None],
    arguments: tuple[object, ...],
    sender: connection.Connection,
) -> None:
    children.end_with_parent()
    signal.signal(signal.SIGTERM, children.Interrupt())
    with sender, contextlib.suppress(KeyboardInterrupt):
        try:
            function(*arguments, SilentProgress())
        except Exception as error:  # noqa: BLE001  the parent tells it
            sender.send(in_words(error))
