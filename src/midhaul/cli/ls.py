"""``midhaul ls``: the runs there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from midhaul.cli.options import RUNS, Json, Out

if TYPE_CHECKING:
    from datetime import timedelta

    from midhaul.runs.run import Run


def ls(
    *,
    out: Out = RUNS,
    kind: Annotated[
        str | None, typer.Option("--kind", help="Only runs of this kind.")
    ] = None,
    group: Annotated[
        str | None, typer.Option("--group", help="Only runs of this sweep.")
    ] = None,
    json: Json = False,
) -> None:
    """List the runs, newest first."""
    from midhaul.cli import output
    from midhaul.runs.listing import damaged_runs, list_runs
    from midhaul.runs.run import utc_now

    runs = [
        run
        for run in reversed(list(list_runs(out)))
        if kind in {None, run.manifest.kind} and group in {None, run.manifest.group}
    ]
    for text in damaged_runs(out).values():
        output.say(f"left out: {text}")
    if json:
        output.print_json(
            [
                {**r.manifest.plain(), "status": r.status, "dir": str(r.dir)}
                for r in runs
            ]
        )
        return
    if not runs:
        output.say(f"no runs in {out}; begin with: midhaul demo")
        return
    now = utc_now()
    columns = ["run", "kind", "status", "verdict", "age", "group", "point"]
    output.print_table(columns, [_row(r, now - r.manifest.created) for r in runs])


def _row(run: Run, age: timedelta) -> list[object]:
    manifest = run.manifest
    point = ", ".join(f"{k}={v}" for k, v in (manifest.point or {}).items())
    return [
        run.id,
        manifest.kind,
        run.status,
        run.verdict_word,
        age_text(age.total_seconds()),
        manifest.group,
        point or None,
    ]


def age_text(seconds: float) -> str:
    """A time that has passed, in its largest unit."""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
