"""The same work on many things, in several processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, TypeVar

from midhaul.errors import MidhaulError
from midhaul.machine.children import end_with_parent, without_main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


def n_jobs(asked: int) -> int:
    """How many processes to use: what was asked, or one per core for 0."""
    return asked or len(os.sched_getaffinity(0))


def parallel(
    work: Callable[[_Task], _Result], tasks: Sequence[_Task], *, jobs: int
) -> Iterator[tuple[int, _Result]]:
    """Do some work on every task and hand out results as they come.

    Args:
        work: a function of a module, so that another process can import it.
        tasks: its arguments.
        jobs: processes; with 1, all is done in this one.

    Yields:
        The number of the task and its result, in any order.

    Raises:
        MidhaulError: a process was killed, by want of memory for example.
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
