"""``midhaul run``, ``demo`` and ``sweep``: a file, a shipped one, many values of it."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from midhaul.cli.compare import GATE, Bound, Bounds, Strict, failures_of
from midhaul.cli.options import (
    RUNS,
    CalledBy,
    File,
    Json,
    NoReport,
    Open,
    Out,
    Resume,
    Set,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from midhaul.kinds import Kind
    from midhaul.runs.config import Config
    from midhaul.runs.experiment_file import Override
    from midhaul.runs.run import Run
    from midhaul.runs.sweep import Sweep, SweepOutcome


def run(
    file: File,
    *,
    set_: Set = None,
    name: CalledBy = None,
    out: Out = RUNS,
    resume: Resume = False,
    no_report: NoReport = False,
    open_: Open = False,
    strict: Strict = False,
    gate: Bounds = None,
    json: Json = False,
) -> None:
    """Run an experiment file: a folder with tables, a summary and a report."""
    from midhaul.cli.output import print_result, say

    bounds = [Bound.parse(text) for text in gate or ()]
    done = run_file(file, set_ or (), out, resume=resume, name=name)
    print_result(done, as_json=json, with_report=not no_report, open_it=open_)
    if strict or bounds:
        failures = failures_of(done, bounds)
        for text in failures:
            say(f"gate: {text}")
        if failures:
            raise typer.Exit(GATE)


def run_file(
    file: Path,
    overrides: Sequence[str],
    out: Path,
    *,
    resume: bool = False,
    name: str | None = None,
) -> Run:
    """Run an experiment file and return the finished run.

    MidhaulError if the file is wrong, or the experiment failed.
    """
    from midhaul import api
    from midhaul.cli.output import say

    kind, config = api.prepare(file, _laid(overrides, name))
    experiment = kind.load_run()
    started = api.begin(kind, config, out, resume=resume, say=say)
    _perform(experiment, config, started)
    return started


def _laid(overrides: Sequence[str], name: str | None) -> list[Override]:
    """What is laid over a file: of ``--set``, and of ``--name``."""
    from pathlib import Path

    from midhaul.runs.experiment_file import Override

    found = [Override.parse(text) for text in overrides]
    if name is not None:
        found.append(Override(key=("name",), value=name, folder=Path.cwd()))
    return found


def _perform(experiment: Any, config: Config, started: Run) -> None:
    from midhaul.cli.guard import UnforeseenError
    from midhaul.cli.output import say
    from midhaul.cli.progress import shown_progress
    from midhaul.errors import MidhaulError
    from midhaul.machine.children import watched
    from midhaul.runs.perform import perform

    def interrupted() -> None:
        say(f"what was measured is in {started.dir}; continue with: {resume_command()}")

    def out_of_time() -> None:
        started.finish("interrupted")
        interrupted()
        say("midhaul: interrupted")

    try:
        with watched(out_of_time), shown_progress() as progress:
            perform(experiment, config, started, progress)
    except KeyboardInterrupt:
        interrupted()
        raise
    except (ModuleNotFoundError, MemoryError):
        raise
    except MidhaulError:
        if not started.dir.exists():
            say("nothing was begun: there is no folder of it")
        elif started.tables():
            say(f"what was measured before is in {started.dir}")
        else:
            say(f"nothing but the error is in {started.dir}")
        raise
    except Exception as error:
        message = f"the experiment failed: {type(error).__name__}: {error}"
        hint = f"the traceback is in {started.dir / 'log.jsonl'}; please report it"
        raise UnforeseenError(message, hint) from error


def resume_command() -> str:
    """The command of this process with ``--resume``."""
    words = ["midhaul", *sys.argv[1:]]
    return shlex.join(words if "--resume" in words else [*words, "--resume"])


def demo(
    *,
    set_: Set = None,
    name: CalledBy = None,
    out: Out = RUNS,
    resume: Resume = False,
    open_: Open = False,
    json: Json = False,
) -> None:
    """Run a testbed of two edges and a cloud over built-in scenes, to a report."""
    from importlib import resources

    from midhaul.cli.output import print_result

    packaged = resources.files("midhaul.cli").joinpath("demo.toml")
    with resources.as_file(packaged) as file:
        done = run_file(file, set_ or (), out, resume=resume, name=name)
    print_result(done, as_json=json, with_report=True, open_it=open_)


Over = Annotated[
    list[str] | None,
    typer.Option(
        "--over",
        metavar="KEY=V1,V2",
        help="Vary a key, on top of the file's table [sweep]; may be repeated.",
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="PATTERN",
        help="Only points whose name fits, as *seed=1*; may be repeated.",
    ),
]
ListPoints = Annotated[
    bool, typer.Option("--list", help="Name the points and run nothing.")
]
Jobs = Annotated[
    int,
    typer.Option(
        "--jobs",
        min=1,
        help="Points at once; kinds that measure time are run one after the other.",
    ),
]


def sweep(
    file: File,
    *,
    over: Over = None,
    set_: Set = None,
    name: CalledBy = None,
    out: Out = RUNS,
    jobs: Jobs = 1,
    only: Only = None,
    list_: ListPoints = False,
    no_report: NoReport = False,
    strict: Strict = False,
    json: Json = False,
) -> None:
    """Run every combination of values; what was finished before is skipped."""
    from midhaul.cli import output
    from midhaul.cli.progress import shown_progress
    from midhaul.machine.children import watched
    from midhaul.runs.sweep import run_sweep

    kind, planned = _plan(file, _laid(set_ or (), name), over or (), only or ())
    if list_:
        if json:
            output.print_json([dict(point.settings) for point in planned.chosen])
        else:
            for point in planned.chosen:
                output.print_line(point.name)
        return
    if kind.is_exclusive and jobs > 1:
        output.say(f"{kind.name} measures time: one point after the other")
        jobs = 1
    output.say(f"sweep {planned.group}: {len(planned.chosen)} points")
    try:
        with watched(), shown_progress() as progress:
            outcomes = run_sweep(planned, out, progress, jobs=jobs)
    except KeyboardInterrupt:
        output.say("interrupted; the same command finishes what is missing")
        raise
    if not no_report:
        _write_reports(kind, out, outcomes)
    if json:
        _print_json(planned.group, out, outcomes)
    else:
        _print(kind, out, outcomes)
    failed = [o for o in outcomes if o.status not in {"done", "skipped"}]
    if failed:
        output.say(f"{len(failed)} of {len(outcomes)} points failed; see the table")
        raise typer.Exit(1)
    doubtful = [o for o in outcomes if o.verdict is not None and not o.verdict.is_valid]
    if strict and doubtful:
        output.say(f"gate: {len(doubtful)} of {len(outcomes)} points are not valid")
        raise typer.Exit(GATE)


def _plan(
    file: Path, laid: Sequence[Override], over: Sequence[str], only: Sequence[str]
) -> tuple[Kind, Sweep]:
    from midhaul.errors import ConfigError
    from midhaul.kinds import kind_of
    from midhaul.runs.experiment_file import read_file
    from midhaul.runs.sweep import Sweep, points_of

    source = read_file(file)
    kind = kind_of(source, laid)
    axes = [parse_over(text) for text in over]
    points = points_of(source, kind.load_config(), laid, axes)
    planned = Sweep(
        kind=kind.name, experiment=kind.load_run(), points=points, only=tuple(only)
    )
    if not planned.chosen:
        message = f"--only: no point fits {', '.join(only)}"
        raise ConfigError(message, "midhaul sweep FILE --list names them")
    return kind, planned


def parse_over(text: str) -> tuple[str, list[Override]]:
    """Read ``a.b=v1,v2`` as ``--over`` gives it; commas inside brackets do not part.

    ConfigError if it has no key or no value.
    """
    from pathlib import Path

    from midhaul.errors import ConfigError
    from midhaul.runs.experiment_file import Override, parse_key, parse_value

    key, equals, listed = text.partition("=")
    if not equals or not listed:
        message = f"--over expects KEY=VALUE,VALUE, found {text!r}"
        raise ConfigError(message, "for example --over load.rate_hz=5,10,20")
    values = parse_value(f"[{listed}]")
    if not isinstance(values, list):
        values = [parse_value(part.strip()) for part in listed.split(",")]
    steps, folder = parse_key(key), Path.cwd()
    found = cast("list[object]", values)
    return key, [Override(key=steps, value=v, folder=folder) for v in found]


def _write_reports(kind: Kind, out: Path, outcomes: Sequence[SweepOutcome]) -> None:
    from midhaul.cli.output import say
    from midhaul.errors import MidhaulError
    from midhaul.runs.run import Run

    for outcome in outcomes:
        if outcome.status == "done" and outcome.run is not None:
            try:
                kind.write_report(Run.open(out / outcome.run))
            except MidhaulError as error:
                say(f"midhaul: no reports were written: {error.message}")
                say(f"hint: {error.hint}")
                return


def _print(kind: Kind, out: Path, outcomes: Sequence[SweepOutcome]) -> None:
    """Print each point, with its headline where it has one configuration."""
    from midhaul.cli import output
    from midhaul.runs.summary import estimate_text

    found = [_summary(out, outcome) for outcome in outcomes]
    known = {row["metric"] for rows in found for row in rows}
    declared = kind.load_metrics()
    is_single = all(len({r["configuration"] for r in rows}) < 2 for rows in found)  # noqa: PLR2004  none or one
    metrics = [m for m in kind.headline if m in known] if is_single else []
    facts = ["status", "verdict", "run"]
    facts += ["error"] if any(map(_error, outcomes)) else []
    lines: list[list[object]] = []
    for outcome, rows in zip(outcomes, found, strict=True):
        texts = {
            row["metric"]: estimate_text(row, declared.get(row["metric"]))
            for row in rows
        }
        told = [outcome.status, _verdict(outcome), outcome.run, _error(outcome)]
        settings = outcome.point.settings.values()
        lines.append([*settings, *map(texts.get, metrics), *told[: len(facts)]])
    heads = [*outcomes[0].point.settings, *(declared[m].label for m in metrics), *facts]
    output.print_table(heads, lines, fold={"error"})


def _print_json(group: str, out: Path, outcomes: Sequence[SweepOutcome]) -> None:
    from midhaul.cli import output

    points = [
        {
            "settings": dict(o.point.settings),
            "status": o.status,
            "run": o.run,
            "error": o.error,
            "is_valid": o.verdict.is_valid if o.verdict is not None else None,
            "summary": _summary(out, o),
        }
        for o in outcomes
    ]
    output.print_json({"group": group, "points": points})


def _summary(out: Path, outcome: SweepOutcome) -> list[dict[str, Any]]:
    from midhaul.runs.run import Run

    if outcome.run is None or outcome.status not in {"done", "skipped"}:
        return []
    return Run.open(out / outcome.run).summary.rows


def _verdict(outcome: SweepOutcome) -> str | None:
    if outcome.verdict is None:
        return None
    return "valid" if outcome.verdict.is_valid else "not valid"


def _error(outcome: SweepOutcome) -> str | None:
    return outcome.error.splitlines()[0] if outcome.error else None
