"""``midhaul export``: a run for other programs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from midhaul.cli.options import RUNS, Out, RunName


class ExportFormat(StrEnum):
    """What a run can be exported to."""

    csv = "csv"
    openmetrics = "openmetrics"
    mlflow = "mlflow"
    wandb = "wandb"
    fiftyone = "fiftyone"


def export(
    run: RunName,
    *,
    to: Annotated[
        ExportFormat, typer.Option("--to", help="For whom.", show_default=False)
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="PLACE",
            help="A file (csv, openmetrics; stdout without), a folder (fiftyone), a "
            "tracking URI (mlflow) or a project (wandb).",
            show_default=False,
        ),
    ] = "",
    out: Out = RUNS,
) -> None:
    """Write a run's numbers as CSV or OpenMetrics, or log it to a tracker.

    Each number goes with its interval, and each run with its verdict.
    """
    from midhaul import api
    from midhaul.cli import output as said
    from midhaul.runs import exports

    found = api.open_run(run, out=out)
    if to in {ExportFormat.csv, ExportFormat.openmetrics}:
        make = exports.csv_text if to is ExportFormat.csv else exports.openmetrics_text
        _put(make(found), output)
        return
    if to is ExportFormat.mlflow:
        n = exports.to_mlflow(found, output or f"sqlite:///{out / 'mlflow.db'}")
    elif to is ExportFormat.wandb:
        n = exports.to_wandb(found, output or "midhaul", out)
    else:
        folder = Path(output) if output else found.dir / "fiftyone"
        n = exports.to_fiftyone(found, folder)
        said.print_line(str(folder))
    said.say(f"{n} configurations of {found.id} to {to.value}")


def _put(text: str, output: str) -> None:
    """To a file, or to stdout where none is named."""
    from midhaul.cli import output as said
    from midhaul.runs.store import store_errors

    if not output:
        said.print_line(text.rstrip("\n"))
        return
    with store_errors(Path(output)):
        Path(output).write_text(text, encoding="utf-8")
