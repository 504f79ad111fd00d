"""``midhaul show`` and ``report``: what a run found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from midhaul.cli.options import RUNS, Columns, Json, Open, Out, Wide, known_runs

if TYPE_CHECKING:
    import pyarrow as pa

    from midhaul.runs.run import Run

Table = Annotated[
    str | None, typer.Option("--table", metavar="NAME", help="Print this table.")
]
Query = Annotated[
    str | None,
    typer.Option("--sql", metavar="QUERY", help="Print the answer to this query."),
]
Config = Annotated[bool, typer.Option("--config", help="Print the complete config.")]
Log = Annotated[bool, typer.Option("--log", help="Print the log.")]
Limit = Annotated[
    int, typer.Option("--limit", min=0, help="Rows of a table to print; 0 for all.")
]
Name = Annotated[
    str,
    typer.Argument(
        metavar="[RUN]",
        help="A run: its folder, id, beginning of its id, name, or last.",
        autocompletion=known_runs,
    ),
]


def show(
    name: Name = "last",
    *,
    table: Table = None,
    sql: Query = None,
    config: Config = False,
    log: Log = False,
    limit: Limit = 50,
    wide: Wide = False,
    columns: Columns = "",
    out: Out = RUNS,
    json: Json = False,
) -> None:
    """Show a run: how it ended, its summary, its tables, its config or its log."""
    from midhaul.cli import output
    from midhaul.kinds import presented
    from midhaul.runs.listing import find_run
    from midhaul.runs.run import LOG

    run = presented(find_run(out, name))
    if table is not None or sql is not None:
        rows = _rows(run, table, sql)
        if columns:
            rows = _selected(rows, names(columns))
        _print_rows(rows, limit=limit, wide=wide, as_json=json)
    elif config:
        _show_config(run, as_json=json)
    elif log:
        output.print_line("\n".join(_lines(run, LOG)))
    else:
        _show_run(run, wide=wide, columns=names(columns), as_json=json)


def names(listed: str) -> list[str]:
    """What an option lists, parted by commas."""
    return [name for one in listed.split(",") if (name := one.strip())]


def _rows(run: Run, table: str | None, sql: str | None) -> pa.Table:
    from midhaul.errors import StoreError, suggestion

    known = run.tables()
    if table is not None and table not in known:
        message = f"run {run.id} has no table {table!r}{suggestion(table, known)}"
        raise StoreError(message, f"its tables: {', '.join(known) or 'none yet'}")
    query = sql if sql is not None else f'FROM "{table}"'
    return run.sql(query)


def _selected(found: pa.Table, columns: list[str]) -> pa.Table:
    from midhaul.errors import ConfigError, suggestion

    if columns == ["all"]:
        return found
    for name in columns:
        if name not in found.column_names:
            near = suggestion(name, found.column_names)
            message = f"--columns: there is no column {name!r}{near}"
            raise ConfigError(message, f"there are: {', '.join(found.column_names)}")
    return found.select(columns)


def _print_rows(found: pa.Table, *, limit: int, wide: bool, as_json: bool) -> None:
    from midhaul.cli import output

    shown = found if limit == 0 else found.slice(0, limit)
    if as_json:
        output.print_json(shown.to_pylist())
        return
    rows = [row.values() for row in shown.to_pylist()]
    output.print_table(found.column_names, rows, wide=wide)
    if len(shown) < len(found):
        output.say(f"{len(shown)} of {len(found)} rows; --limit 0 prints all")


def _show_config(run: Run, *, as_json: bool) -> None:
    from midhaul.cli import output
    from midhaul.runs.run import CONFIG

    if as_json:
        output.print_json(run.config_values())
    else:
        output.print_line("\n".join(_lines(run, CONFIG)))


def _lines(run: Run, name: str) -> list[str]:
    from midhaul.errors import StoreError

    try:
        return (run.dir / name).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        message = f"run {run.id} has no {name}: {error.strerror}"
        raise StoreError(message) from error


def _show_run(run: Run, *, wide: bool, columns: list[str], as_json: bool) -> None:
    from midhaul.cli import output
    from midhaul.cli.output import print_summary, print_verdict
    from midhaul.runs.summary import REPORT

    summary = run.summary
    counts = {name: run.count(name) for name in run.tables()}
    report = run.dir / REPORT
    if as_json:
        plain = {**run.manifest.plain(), "status": run.status, "dir": str(run.dir)}
        plain["report"] = str(report) if report.exists() else None
        output.print_json({"run": plain, "rows": counts, "summary": summary.rows})
        return
    manifest = run.manifest
    own = {"name": manifest.name, "note": manifest.note}
    own["tags"] = ", ".join(manifest.tags)
    facts: dict[str, object] = {
        "run": run.dir,
        **{key: value for key, value in own.items() if value},
        "kind": manifest.kind,
        "status": run.status,
        "created": f"{manifest.created:%Y-%m-%d %H:%M:%S} UTC",
        "config": manifest.config_hash,
        "code": f"{manifest.code_version} {manifest.commit or ''}".strip(),
        "machine": ", ".join(
            str(manifest.machine[key])
            for key in ("cpu", "cores", "os", "kernel")
            if key in manifest.machine
        ),
        "tables": ", ".join(f"{name} ({n})" for name, n in counts.items()),
    }
    if report.exists():
        facts["report"] = report
    if manifest.error:
        facts["error"] = manifest.error
    output.print_facts(facts)
    print_summary(summary, wide=wide, columns=columns)
    print_verdict(run.verdict, manifest.notes)


def report(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="Runs: folder, id, beginning of an id, name, or last.",
            autocompletion=known_runs,
            show_default=False,
        ),
    ],
    *,
    out: Out = RUNS,
    open_: Open = False,
    json: Json = False,
) -> None:
    """Write the report of runs from their tables, and print where it is."""
    from midhaul import api
    from midhaul.cli import output

    runs = [api.open_run(name, out=out) for name in names]
    files = [run.report() for run in runs]
    if json:
        pairs = zip(runs, files, strict=True)
        output.print_json([{"run": r.id, "report": str(f)} for r, f in pairs])
    else:
        for file in files:
            output.print_line(str(file))
    if open_:
        for file in files:
            file.open()
