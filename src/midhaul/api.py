"""Running experiments and reading runs from Python: run, open_run, runs, compare.

The command line calls the same functions. What they take and give is in
``midhaul.__all__``.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, overload

import numpy as np

from midhaul.errors import ConfigError, StoreError, require, suggestion
from midhaul.kinds import KINDS, kind_named, load_experiment, presented
from midhaul.model.display import MOST_ROWS, Display, Shown, counted, number
from midhaul.runs.config import Config
from midhaul.runs.experiment_file import Override, file_of_values, parse_key, read_file
from midhaul.runs.listing import (
    ConfigDifference,
    being_run,
    differences,
    find_run,
    list_runs,
    unfinished,
)
from midhaul.runs.perform import perform
from midhaul.runs.progress import LineProgress, SilentProgress
from midhaul.runs.run import Run
from midhaul.stats.compare import MetricComparison
from midhaul.stats.compare import compare as compare_samples

if TYPE_CHECKING:
    from collections.abc import Callable

    from midhaul.kinds import Kind
    from midhaul.model.estimate import MetricSamples
    from midhaul.runs.experiment_file import ExperimentFile
    from midhaul.runs.progress import Progress

RUNS = "runs"
"""The folder of all runs, where nobody names another."""

Source = str | os.PathLike[str] | Config | Mapping[str, Any]
"""What can be run: an experiment file, a config, or its keys, ``kind`` among them."""


def run(
    source: Source,
    *,
    out: str | os.PathLike[str] = RUNS,
    set: Mapping[str, Any] | None = None,  # noqa: A002  as the command line calls it
    resume: bool = False,
    progress: Progress | None = None,
    quiet: bool = False,
) -> Run:
    """Run an experiment: a folder with its config, its tables and a summary.

    What is under way is told on stderr. An interrupt ends it in order: what was
    measured stays, and ``resume=True`` continues there.

    Args:
        source: an experiment file, a config, or its keys with ``kind`` among them;
            relative paths of the latter two begin in the current folder.
        out: the folder of all runs.
        set: values laid over it by dotted key, ``{"load.rate_hz": 20}``.
        resume: continue the newest unfinished run of this very config, if there is one.
        progress: where to tell how far it is, instead of stderr.
        quiet: tell nobody.

    Returns:
        The finished run.

    Raises:
        ConfigError: all mistakes of the config at once.
        MidhaulError: what the experiment met; the run is marked failed.
        KeyboardInterrupt: it was interrupted; the run is marked so.
    """
    if progress is None:
        progress = SilentProgress() if quiet else LineProgress()
    laid = [
        Override(key=parse_key(key), value=value, folder=Path.cwd())
        for key, value in (set or {}).items()
    ]
    kind, config = prepare(source, laid)
    experiment = kind.load_run()
    started = begin(kind, config, Path(out), resume=resume, say=progress.note)
    try:
        perform(experiment, config, started, progress)
    except KeyboardInterrupt:
        progress.note(
            f"interrupted; what was measured is in {started.dir}, and the same call "
            "with resume=True continues there"
        )
        raise
    return started


def prepare(source: Source, overrides: Sequence[Override] = ()) -> tuple[Kind, Config]:
    """The kind of an experiment and its complete config.

    Raises:
        ConfigError: all mistakes at once, or it describes a sweep.
    """
    file = _file_of(source)
    if file.sweep:
        message = f"{file.title} has a table [sweep]: it describes many runs"
        raise ConfigError(message, f"midhaul sweep {file.title}")
    return load_experiment(file, overrides)


def begin(
    kind: Kind, config: Config, out: Path, *, resume: bool, say: Callable[[str], None]
) -> Run:
    """A new run of a config, or its newest unfinished one.

    StoreError if the folder cannot be written, or if another process is at the run that
    would be resumed. Models and data are opened first: where that fails there is no
    folder.
    """
    if resume:
        key = config.hash()
        old = unfinished(out, key) or being_run(out, key)
        if old is not None:
            resumed = presented(Run.resume(old.dir))
            say(f"resuming {old.dir}")
            return resumed
        say("no unfinished run of this config by this code: beginning a new one")
    kind.open_inputs(config)
    started = presented(Run.create(out, kind.name, config))
    say(f"run {started.dir}")
    return started


def open_run(
    name: str | os.PathLike[str] = "last", *, out: str | os.PathLike[str] = RUNS
) -> Run:
    """The run that is meant.

    Args:
        name: its folder, its id, the unique beginning of its id, or ``last``.
        out: the folder of all runs.

    Raises:
        UnknownRunError: there is no such run, or more than one.
    """
    return presented(find_run(Path(out), os.fspath(name)))


def runs(
    *,
    out: str | os.PathLike[str] = RUNS,
    kind: str | None = None,
    group: str | None = None,
) -> RunList:
    """The runs there are, newest first.

    Args:
        out: the folder of all runs.
        kind: only runs of this kind.
        group: only runs of this sweep.
    """
    if kind is not None:
        kind_named(kind)
    found = reversed(list(list_runs(Path(out))))
    return RunList(
        tuple(
            presented(run)
            for run in found
            if kind in {None, run.manifest.kind} and group in {None, run.manifest.group}
        )
    )


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class RunList(Shown, Sequence[Run]):
    """Runs, newest first.

    Attributes:
        found: the runs.
    """

    found: tuple[Run, ...]

    def __len__(self) -> int:
        """Number of runs."""
        return len(self.found)

    @overload
    def __getitem__(self, index: int) -> Run: ...

    @overload
    def __getitem__(self, index: slice) -> RunList: ...

    def __getitem__(self, index: int | slice) -> Run | RunList:
        """One of them, or some."""
        if isinstance(index, slice):
            return RunList(self.found[index])
        return self.found[index]

    def _display(self) -> Display:
        return Display(
            text=counted(len(self), "run"),
            columns=("run", "kind", "status", "verdict", "created"),
            rows=[
                (
                    run.id,
                    run.manifest.kind,
                    run.status,
                    run.verdict_word,
                    f"{run.manifest.created:%Y-%m-%d %H:%M} UTC",
                )
                for run in self.found[:MOST_ROWS]
            ],
            n_rows=len(self),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Comparison(Shown):
    """Does the second run differ from the first?

    Attributes:
        first: id of the run that is the measure.
        second: id of the run that is judged.
        metrics: every metric and configuration that both have: better, worse, a tie, or
            why that cannot be told.
        differences: what else they differ in: code, config, libraries, machine.
        doubts: why a number of theirs may not be relied on, a sentence each.
    """

    first: str
    second: str
    metrics: tuple[MetricComparison, ...]
    differences: tuple[ConfigDifference, ...]
    doubts: tuple[str, ...]

    def __len__(self) -> int:
        """Number of metrics compared."""
        return len(self.metrics)

    def df(self) -> Any:
        """The metrics as a data frame of pandas, a row for each.

        Raises:
            PrerequisiteError: pandas is not installed.
        """
        rows = [dataclasses.asdict(one) for one in self.metrics]
        flat = [
            {
                **{k: v for k, v in row.items() if not isinstance(v, dict)},
                **{
                    f"{key}{end}": row[key][part]
                    for key in ("difference", "ratio")
                    for part, end in (("value", ""), ("low", "_low"), ("high", "_high"))
                },
            }
            for row in rows
        ]
        return cast("Any", require("pandas", "report")).DataFrame(flat)

    def reasons(self) -> list[str]:
        """Why something cannot be told, each reason once, with its metrics."""
        told = dict.fromkeys(one.reason for one in self.metrics if one.reason)
        return [
            f"cannot tell {', '.join(self._metrics_without(reason))}: {reason}"
            for reason in told
        ]

    def _metrics_without(self, reason: str) -> dict[str, None]:
        return dict.fromkeys(o.metric for o in self.metrics if o.reason == reason)

    def _line(self) -> str:
        counts = dict.fromkeys(_RESULTS, 0)
        for one in self.metrics:
            counts[one.result] += 1
        said = ", ".join(f"{n} {result}" for result, n in counts.items() if n)
        return f"{self.second} against {self.first}: {said or 'nothing shared'}"

    def _display(self) -> Display:
        order = {result: place for place, result in enumerate(_RESULTS)}
        shown = sorted(self.metrics, key=lambda one: order[one.result])
        return Display(
            text=self._line(),
            columns=("configuration", "metric", "first", "second", "ratio", "result"),
            rows=[
                (
                    one.configuration,
                    one.metric,
                    one.first,
                    one.second,
                    f"{number(one.ratio.value)} "
                    f"[{number(one.ratio.low)}, {number(one.ratio.high)}]",
                    one.result,
                )
                for one in shown[:MOST_ROWS]
            ],
            n_rows=len(shown),
            remarks=(
                *self.doubts,
                *self.reasons(),
                *(
                    f"{d.about} {d.key}: {d.first} → {d.second}"
                    for d in self.differences
                ),
            ),
        )


_RESULTS = ("worse", "better", "tie", "cannot tell", "unknown")
"""In the order in which a reader wants to see them."""


def compare(
    first: str | os.PathLike[str] | Run,
    second: str | os.PathLike[str] | Run,
    *,
    seed: int = 0,
    out: str | os.PathLike[str] = RUNS,
    metrics: Sequence[str] = (),
    configurations: Sequence[str] = (),
    progress: Progress | None = None,
) -> Comparison:
    """Compare two runs metric by metric: better, worse, a tie, or cannot tell.

    Args:
        first: the run that is the measure, or what :func:`open_run` takes.
        second: the run that is judged.
        seed: of the resampling.
        out: the folder of all runs.
        metrics: only these; all where there are none.
        configurations: only these, by their names or the beginnings of them.
        progress: where to tell how far it is.

    Raises:
        UnknownRunError: there is no such run.
        ConfigError: nothing here knows a run's kind, the runs are of two, or they
            share no such metric or configuration.
        StoreError: a table is damaged, or one of them failed before it had any.
    """
    a, b = (x if isinstance(x, Run) else open_run(x, out=out) for x in (first, second))
    for run in (a, b):
        if not run.tables():
            message = f"run {run.id} has nothing to compare: it is {run.status}"
            raise StoreError(message, f"midhaul show {run.id}")
    if a.manifest.kind != b.manifest.kind:
        message = (
            f"{a.id} is a run of {a.manifest.kind}, {b.id} one of {b.manifest.kind}: "
            "only runs of one kind can be compared"
        )
        raise ConfigError(message, f"midhaul ls --kind {a.manifest.kind}")
    told = progress or SilentProgress()
    with told.task("reading runs", 2) as task:
        found: list[list[MetricSamples]] = []
        for run in (a, b):
            samples = kind_named(run.manifest.kind).samples_of(run)
            found.append(_asked(samples, metrics, configurations))
            task.advance()
    one, two = found
    with told.task("comparing metrics", len(one)) as task:
        rng = np.random.default_rng(seed)
        compared = compare_samples(one, two, rng, advance=task.advance)
    return Comparison(
        first=a.id,
        second=b.id,
        metrics=tuple(compared),
        differences=tuple(differences(a, b)),
        doubts=(*a.doubts, *b.doubts),
    )


def _asked(
    samples: Sequence[MetricSamples],
    metrics: Sequence[str],
    configurations: Sequence[str],
) -> list[MetricSamples]:
    """The metrics that are asked for; ConfigError for a name that none has."""
    known = list(dict.fromkeys(one.metric for one in samples))
    for name in metrics:
        if name not in known:
            message = f"there is no metric {name!r} to compare{suggestion(name, known)}"
            raise ConfigError(message, f"there are: {', '.join(known) or 'none'}")
    names = list(dict.fromkeys(one.configuration for one in samples))
    for name in configurations:
        if not any(one.startswith(name) for one in names):
            near = suggestion(name, names)
            message = f"there is no configuration {name!r}{near}"
            raise ConfigError(message, f"there are: {', '.join(names) or 'none'}")
    return [
        one
        for one in samples
        if (not metrics or one.metric in metrics)
        and (not configurations or one.configuration.startswith(tuple(configurations)))
    ]


def _file_of(source: Source) -> ExperimentFile:
    """What a source is as an experiment file; ConfigError if it is none."""
    if isinstance(source, Config):
        return file_of_values(source.plain(), type(source).__name__)
    if isinstance(source, Mapping):
        return file_of_values(source)
    if isinstance(source, str | os.PathLike):  # pyright: ignore[reportUnnecessaryIsInstance]
        return read_file(Path(source))
    message = (
        "expected an experiment file, a config or its keys, found a "
        f"{type(source).__name__}"
    )
    raise ConfigError(message, f"a config's kind is one of {', '.join(KINDS)}")
