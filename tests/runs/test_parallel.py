"""The same work on many things, in several processes."""

from __future__ import annotations

import os

import pytest

from midhaul.errors import MidhaulError
from midhaul.runs.perform import n_jobs, parallel


def square(number: int) -> int:
    """A number times itself."""
    return number * number


def die(number: int) -> int:
    """End the process, as the kernel does when memory runs out."""
    os.kill(os.getpid(), 9)
    return number


def fail(number: int) -> int:
    """Fail on one of them."""
    if number == 2:
        message = "two is too much"
        raise MidhaulError(message, "use one")
    return number


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_task_gives_its_result_once(jobs: int) -> None:
    """Results carry the number of their task, in any order."""
    found = dict(parallel(square, range(10, 20), jobs=jobs))
    assert found == {n: (10 + n) ** 2 for n in range(10)}


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_of_the_work_is_raised_here(jobs: int) -> None:
    """Message and hint survive the way between processes."""
    with pytest.raises(MidhaulError, match="two is too much") as caught:
        list(parallel(fail, [1, 2, 3], jobs=jobs))
    assert caught.value.hint == "use one"


def test_a_killed_worker_is_told() -> None:
    """Not a traceback of a pool, but what to do."""
    with pytest.raises(MidhaulError, match="was killed"):
        list(parallel(die, [1, 2], jobs=2))


def test_no_tasks_no_processes() -> None:
    """Nothing to do is done."""
    assert list(parallel(square, [], jobs=2)) == []
    assert n_jobs(3) == 3
    assert n_jobs(0) >= 1
