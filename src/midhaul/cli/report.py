"""``midhaul report``: the page of a run, once more."""

from __future__ import annotations

from typing import Annotated

import typer

from midhaul.cli.options import RUNS, Json, Open, Out


def report(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="Runs: folder, id, beginning of an id, or last.",
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
