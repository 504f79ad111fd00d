"""``midhaul sweep``: one experiment file, many runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from midhaul.cli.compare import GATE, Strict
from midhaul.cli.options import RUNS, File, Json, NoReport, Out, Set

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from midhaul.kinds import Kind
    from midhaul.runs.experiment_file import Override
    from midhaul.runs.sweep import Sweep, SweepOutcome

Over = Annotated[
    list[str] | None,
    typer.Option(
        "--over",
        metavar="KEY=V1,V2",
        help="Vary a key, on top of the file's table [sweep]; may be repeated.",
    ),
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
    out: Out = RUNS,
    jobs: Jobs = 1,
    no_report: NoReport = False,
    strict: Strict = False,
    json: Json = False,
) -> None:
    """Run every combination of values; what was finished before is skipped."""
    from midhaul.cli import output
    from midhaul.cli.progress import shown_progress
    from midhaul.machine.children import watched
    from midhaul.runs.sweep import run_sweep

    kind, planned = _plan(file, set_ or (), over or ())
    if kind.is_exclusive and jobs > 1:
        output.say(f"{kind.name} measures time: one point after the other")
        jobs = 1
    output.say(f"sweep {planned.group}: {len(planned.points)} points")
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
    file: Path, overrides: Sequence[str], over: Sequence[str]
) -> tuple[Kind, Sweep]:
    from midhaul.kinds import kind_of
    from midhaul.runs.experiment_file import Override, read_file
    from midhaul.runs.sweep import Sweep, points_of

    source = read_file(file)
    laid = [Override.parse(text) for text in overrides]
    kind = kind_of(source, laid)
    axes = [parse_over(text) for text in over]
    points = points_of(source, kind.load_config(), laid, axes)
    return kind, Sweep(kind=kind.name, experiment=kind.load_run(), points=points)


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
    """Print a line per point, with its headline where it has one configuration."""
    from midhaul.cli import output
    from midhaul.runs.summary import estimate_text

    found = [_summary(out, outcome) for outcome in outcomes]
    known = {row["metric"]: row["unit"] for rows in found for row in rows}
    is_single = all(len({r["configuration"] for r in rows}) < 2 for rows in found)  # noqa: PLR2004  none or one
    metrics = [m for m in kind.headline or known if m in known] if is_single else []
    keys = list(outcomes[0].point.settings)
    lines: list[list[object]] = []
    for outcome, rows in zip(outcomes, found, strict=True):
        values = {row["metric"]: estimate_text(row) for row in rows}
        settings = [outcome.point.settings[key] for key in keys]
        facts = [outcome.status, _verdict(outcome), outcome.run, _error(outcome)]
        lines.append([*settings, *(values.get(m) for m in metrics), *facts])
    heads = [f"{m} [{known[m]}]" if known[m] else m for m in metrics]
    output.print_table([*keys, *heads, "status", "verdict", "run", "error"], lines)


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
