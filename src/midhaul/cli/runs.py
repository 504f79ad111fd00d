"""``midhaul ls``, ``rm`` and ``gc``: the runs there are, and those to be rid of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from midhaul.cli.options import RUNS, Json, Out, Wide, known_runs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from midhaul.runs.run import Run

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")]
_DAY_S = 86_400


def ls(
    *,
    out: Out = RUNS,
    kind: Annotated[
        str | None, typer.Option("--kind", help="Only runs of this kind.")
    ] = None,
    group: Annotated[
        str | None, typer.Option("--group", help="Only runs of this sweep.")
    ] = None,
    tag: Annotated[
        str | None, typer.Option("--tag", help="Only runs with this tag.")
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=0, help="Runs to print; 0 for all.")
    ] = 0,
    wide: Wide = False,
    json: Json = False,
) -> None:
    """List the runs, newest first, each with its verdict and what it found."""
    from midhaul.cli import output
    from midhaul.kinds import presented
    from midhaul.runs.listing import damaged_runs, list_runs
    from midhaul.runs.run import utc_now

    every = list(list_runs(out))
    runs = [
        presented(run)
        for run in reversed(every)
        if kind in {None, run.manifest.kind}
        and group in {None, run.manifest.group}
        and (tag is None or tag in run.manifest.tags)
    ]
    shown = runs[: limit or None]
    for text in damaged_runs(out).values():
        output.say(f"left out: {text}")
    if json:
        output.print_json([_plain(run) for run in shown])
        return
    if not runs:
        output.say(f"no runs in {out}; begin with: midhaul demo")
        return
    _print(shown, [run.id for run in every], utc_now(), wide=wide)
    if len(shown) < len(runs):
        output.say(f"{len(shown)} of {len(runs)} runs; --limit 0 prints all")


def _print(
    runs: Sequence[Run], every: Sequence[str], now: datetime, *, wide: bool
) -> None:
    """Two lines for each run on a terminal, else a line of columns."""
    from midhaul.cli import output
    from midhaul.runs.listing import short_ids

    if wide or not output.is_seen():
        columns = ["run", "name", "kind", "status", "verdict", "age", "group"]
        rows = [_row(run, now) for run in runs]
        output.print_table([*columns, "point", "tags", "found"], rows, wide=wide)
        return
    short = short_ids(every)
    for run in runs:
        manifest = run.manifest
        state = run.verdict_word if run.status == "done" else run.status
        age = age_text((now - manifest.created).total_seconds())
        tags = [f"#{tag}" for tag in manifest.tags]
        first = [short[run.id], manifest.kind, state or "not judged", age]
        output.print_text("  ".join([*first, manifest.name, *tags]).strip())
        told = [_point(run), _found(run)]
        for text in filter(None, told):
            output.print_text(text, 4)


def _row(run: Run, now: datetime) -> list[object]:
    manifest = run.manifest
    return [
        run.id,
        manifest.name or None,
        manifest.kind,
        run.status,
        run.verdict_word,
        age_text((now - manifest.created).total_seconds()),
        manifest.group,
        _point(run) or None,
        " ".join(manifest.tags) or None,
        _found(run) or None,
    ]


def _plain(run: Run) -> dict[str, object]:
    plain = {**run.manifest.plain(), "status": run.status, "dir": str(run.dir)}
    return {**plain, "found": _found(run)}


def _point(run: Run) -> str:
    return ", ".join(f"{k}={v}" for k, v in (run.manifest.point or {}).items())


def _found(run: Run) -> str:
    """Its headline, or its error; a table that is damaged must not end the list."""
    from midhaul.errors import MidhaulError

    if run.manifest.error:
        return run.manifest.error.splitlines()[0]
    try:
        return run.summary.headline_text()
    except MidhaulError as error:
        return error.message


def age_text(seconds: float) -> str:
    """A time that has passed, in its largest unit."""
    for unit, length in (("d", _DAY_S), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def rm(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="Runs: folder, id, beginning of an id, name, or last.",
            show_default=False,
            autocompletion=known_runs,
        ),
    ],
    *,
    yes: Yes = False,
    out: Out = RUNS,
) -> None:
    """Delete runs with all that is in their folders."""
    from midhaul.runs.listing import find_run

    found = {run.id: run for run in (find_run(out, name) for name in names)}
    _delete(list(found.values()), yes=yes)


def gc(
    *,
    older_than: Annotated[
        float,
        typer.Option("--older-than", metavar="DAYS", min=0, help="Only older ones."),
    ] = 0.0,
    yes: Yes = False,
    out: Out = RUNS,
) -> None:
    """Delete the runs that failed, were interrupted or were killed.

    A run that can still be resumed is among them; what is finished or being run stays.
    """
    from midhaul.cli import output
    from midhaul.runs.listing import list_runs
    from midhaul.runs.run import utc_now

    now = utc_now()
    found = [
        run
        for run in list_runs(out)
        if run.status in {"failed", "interrupted", "killed"}
        and (now - run.manifest.created).total_seconds() >= older_than * _DAY_S
    ]
    if not found:
        output.say(f"nothing to delete in {out}")
        return
    _delete(found, yes=yes)


def _delete(runs: Sequence[Run], *, yes: bool) -> None:
    """Say what goes, ask, and delete it."""
    from midhaul.cli import output
    from midhaul.model.numbers import size_text

    n_bytes = 0
    for run in runs:
        size = _bytes_of(run.dir)
        n_bytes += size
        name = f"  {run.manifest.name}" if run.manifest.name else ""
        output.print_line(f"{run.dir}  {run.status}  {size_text(size)}{name}")
    what = f"{len(runs)} runs" if len(runs) > 1 else "this run"
    if not yes:
        typer.confirm(f"delete {what}, {size_text(n_bytes)}?", abort=True, err=True)
    for run in runs:
        run.remove()
    output.say(f"deleted {what}, {size_text(n_bytes)}")


def _bytes_of(folder: Path) -> int:
    return sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file())
