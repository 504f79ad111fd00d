"""Many runs of one experiment file, each with other values, that share a group.

A point is finished when a run of the same config by the same code is done: starting a
sweep again runs what is missing, resumes what was cut off and repeats nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import random
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal, TypeVar

from midhaul.errors import ConfigError, StoreError
from midhaul.machine.locks import FileLock
from midhaul.runs import listing, store
from midhaul.runs.config import Config
from midhaul.runs.experiment_file import Override, parse_key
from midhaul.runs.manifest import this_process
from midhaul.runs.perform import Experiment, in_words, perform, run_apart
from midhaul.runs.run import Run

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence
    from pathlib import Path

    from midhaul.model import Verdict
    from midhaul.runs.experiment_file import ExperimentFile
    from midhaul.runs.progress import Progress

_Config = TypeVar("_Config", bound=Config)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One combination of a sweep's values."""

    settings: Mapping[str, object]
    config: Config

    @property
    def name(self) -> str:
        """Its values, as they are written: ``load.rate_hz=5,seed=1``."""
        return ",".join(f"{key}={value}" for key, value in self.settings.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """A kind's experiment and the points it is to visit.

    Attributes:
        kind: name of the kind.
        experiment: what each point runs; importable by name in other processes.
        points: all different.
        only: patterns of names as a shell has them (``*rate_hz=5*``); what fits none is
            left out, and the group stays that of all. All points where empty.
    """

    kind: str
    experiment: Experiment
    points: tuple[Point, ...]
    only: tuple[str, ...] = ()

    @property
    def chosen(self) -> tuple[Point, ...]:
        """The points that are visited."""
        return tuple(
            point
            for point in self.points
            if not self.only or any(fnmatchcase(point.name, p) for p in self.only)
        )

    @property
    def group(self) -> str:
        """Twelve hex digits that the points' runs share."""
        hashes = "".join(sorted(point.config.hash() for point in self.points))
        return hashlib.sha256((self.kind + hashes).encode()).hexdigest()[:12]

    def shuffled(self) -> list[Point]:
        """The points in an order left to the seed of the first."""
        points = sorted(self.chosen, key=lambda point: point.config.hash())
        seed = self.points[0].config.seed if self.points else 0
        random.Random(seed).shuffle(points)  # noqa: S311  no secret
        return points


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepOutcome:
    """What became of a point.

    Attributes:
        point: the point.
        status: ``skipped`` when it was finished before.
        run: id of its run; None when none could be begun.
        error: why it failed.
        verdict: whether the run may be believed.
    """

    point: Point
    status: Literal["done", "skipped", "failed", "killed", "running"]
    run: str | None
    error: str | None = None
    verdict: Verdict | None = None


def points_of(
    file: ExperimentFile,
    model: type[_Config],
    overrides: Sequence[Override],
    over: Sequence[tuple[str, Sequence[Override]]],
) -> tuple[Point, ...]:
    """All combinations of the file's ``[sweep]`` and of ``--over``.

    ``overrides`` are laid over the file first; a key of ``[sweep]`` is replaced by
    ``over``. ConfigError if a value does not fit its key, or nothing varies.
    """
    folder = file.path.parent
    axes = {
        key: [Override(key=parse_key(key), value=v, folder=folder) for v in values]
        for key, values in file.sweep.items()
    }
    axes |= {key: list(values) for key, values in over}
    if not axes:
        message = f"{file.path} varies nothing"
        raise ConfigError(message, "add a table [sweep], or --over load.rate_hz=5,10")
    points: dict[str, Point] = {}
    for values in itertools.product(*axes.values()):
        config = file.config(model, [*overrides, *values])
        settings = {key: value.value for key, value in zip(axes, values, strict=True)}
        points.setdefault(config.hash(), Point(settings=settings, config=config))
    return tuple(points.values())


def run_sweep(
    sweep: Sweep, root: Path, progress: Progress, *, jobs: int = 1
) -> list[SweepOutcome]:
    """Visit every point that is not finished, in random order.

    A point that fails is an outcome, and the others are visited all the same. Outcomes
    are in the order of ``sweep.chosen``; with one job they run in this process.
    StoreError if another process is at the same sweep.
    """
    with _only_one(root, sweep), progress.task("points", len(sweep.chosen)) as task:
        outcomes: dict[str, SweepOutcome] = {}
        visit = (
            _visit_apart(sweep, root, jobs)
            if jobs > 1
            else _visit(sweep, root, progress)
        )
        for outcome in visit:
            outcomes[outcome.point.config.hash()] = outcome
            task.advance()
            if outcome.error is not None:
                progress.note(f"a point failed: {outcome.error.splitlines()[0]}")
    return [outcomes[point.config.hash()] for point in sweep.chosen]


def begin_point(root: Path, sweep: Sweep, point: Point) -> Run:
    """The run of a point: the one that was cut off, or a new one."""
    if (old := listing.unfinished(root, point.config.hash())) is not None:
        return Run.resume(old.dir)
    return Run.create(
        root, sweep.kind, point.config, group=sweep.group, point=point.settings
    )


def _visit(sweep: Sweep, root: Path, progress: Progress) -> Iterator[SweepOutcome]:
    for point in sweep.shuffled():
        if (outcome := _settled(root, point)) is not None:
            yield outcome
            continue
        try:
            run = begin_point(root, sweep, point)
            perform(sweep.experiment, point.config, run, progress)
        except Exception as error:  # noqa: BLE001  a failed point is an outcome
            yield _outcome(root, point, in_words(error))
        else:
            yield _outcome(root, point)


def _visit_apart(sweep: Sweep, root: Path, jobs: int) -> Iterator[SweepOutcome]:
    waiting: dict[str, Point] = {}
    for point in sweep.shuffled():
        if (outcome := _settled(root, point)) is not None:
            yield outcome
        else:
            waiting[point.config.hash()] = point
    calls = {key: (sweep, root, point) for key, point in waiting.items()}
    for key, error in run_apart(run_point, calls, jobs):
        yield _outcome(root, waiting[key], error)


def run_point(sweep: Sweep, root: Path, point: Point, progress: Progress) -> None:
    """Run one point; what a worker process does."""
    run = begin_point(root, sweep, point)
    perform(sweep.experiment, point.config, run, progress)


def _settled(root: Path, point: Point) -> SweepOutcome | None:
    """The outcome of a point that is finished or being run elsewhere."""
    for run in reversed(listing.runs_of(root, point.config.hash())):
        if run.status == "done":
            verdict = run.verdict
            return SweepOutcome(
                point=point, status="skipped", run=run.id, verdict=verdict
            )
        if run.status == "running":
            error = f"run {run.id} is being run by another process"
            return SweepOutcome(point=point, status="running", run=run.id, error=error)
    return None


def _outcome(root: Path, point: Point, error: str | None = None) -> SweepOutcome:
    """What the newest run of a point says, or the error that kept it from saying so."""
    runs = listing.runs_of(root, point.config.hash())
    if not runs:
        text = error or "its process was killed before it began"
        return SweepOutcome(point=point, status="failed", run=None, error=text)
    run = runs[-1]
    if run.status == "done":
        return SweepOutcome(point=point, status="done", run=run.id, verdict=run.verdict)
    status = "killed" if run.status == "killed" and error is None else "failed"
    text = error or run.manifest.error or "its process was killed"
    return SweepOutcome(point=point, status=status, run=run.id, error=text)


@contextlib.contextmanager
def _only_one(root: Path, sweep: Sweep) -> Generator[None]:
    """Hold a lock that the system releases when this process ends, however it does."""
    path = root / f".sweep-{sweep.group}.lock"
    with store.store_errors(path):
        root.mkdir(parents=True, exist_ok=True)
        process = this_process()
        try:
            lock = FileLock(path, f"process {process.pid} on {process.host}")
        except BlockingIOError as error:
            message = f"this sweep (group {sweep.group}) is run by {error.strerror}"
            raise StoreError(message, f"midhaul ls --out {root}") from error
    try:
        yield
    finally:
        lock.release()
