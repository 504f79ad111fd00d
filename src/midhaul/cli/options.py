"""Options that several verbs take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RUNS = Path("runs")

File = Annotated[
    Path,
    typer.Argument(help="The experiment file.", metavar="FILE", show_default=False),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Lay a value over the file, e.g. load.rate_hz=20 or "
        "nodes.edge1.resize=0.5; may be repeated.",
    ),
]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of all runs.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Wide = Annotated[
    bool,
    typer.Option(
        "--wide", help="A line for each row, however long; also off a terminal."
    ),
]
Columns = Annotated[
    str,
    typer.Option(
        "--columns",
        metavar="A,B",
        help="Metrics (columns, of a table) to print, or all.",
        show_default=False,
    ),
]
Open = Annotated[bool, typer.Option("--open", help="Open it in the browser.")]
NoReport = Annotated[bool, typer.Option("--no-report", help="Write no report.")]
CalledBy = Annotated[
    str | None,
    typer.Option(
        "--name",
        metavar="TEXT",
        help="What to call the run: in ls, in its report, in place of its id.",
    ),
]


def known_runs(incomplete: str) -> list[str]:
    """Ids and names of the runs here that begin so, for the shell's completion."""
    from midhaul.runs.listing import list_runs

    found = [run.manifest for run in list_runs(RUNS)]
    names = ["last", *(one.name for one in found if one.name), *(m.id for m in found)]
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]


RunName = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="A run: its folder, its id, the beginning of its id, its name, or last.",
        show_default=False,
        autocompletion=known_runs,
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Continue the newest unfinished run of the same config by the same code; "
        "begin a new one when there is none.",
    ),
]
