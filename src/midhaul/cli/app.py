"""The verbs and what they share."""

from __future__ import annotations

from typing import Annotated

import typer

import midhaul
from midhaul.cli import check, compare, export, models, network, run, runs, serve, show
from midhaul.cli import models as new
from midhaul.cli import run as demo
from midhaul.cli.guard import Verbs

app = typer.Typer(
    cls=Verbs,
    name="midhaul",
    help="A workbench for machine-learning inference between the edge and the cloud.",
    epilog="Exit codes: 0 done, 1 experiment failed, 2 bad input, 3 something must be "
    "installed first, 4 a gate or --strict says no, 70 unforeseen (a file says what), "
    "130 interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:  # noqa: FBT001  a callback of typer
    if wanted:
        typer.echo(f"midhaul {midhaul.__version__}")
        raise typer.Exit


@app.callback()
def options(
    *,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Show the version.",
        ),
    ] = False,
) -> None:
    """Take the options that stand before the verb."""
    del debug, version


app.command()(demo.demo)
app.command()(new.new)
app.command()(check.check)
app.command()(run.run)
app.command()(run.sweep)
app.command()(runs.ls)
app.command()(show.show)
app.command()(compare.compare)
app.command()(show.report)
app.command()(export.export)
app.command()(runs.rm)
app.command()(runs.gc)
app.command()(check.doctor)
app.add_typer(serve.app, name="serve")
app.add_typer(serve.testbed_app, name="testbed")
app.add_typer(models.app, name="models")
app.add_typer(network.app, name="network")
