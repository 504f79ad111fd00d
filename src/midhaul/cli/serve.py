"""``midhaul serve``: one long-running process in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Serve a node, a bridge or a federation in the foreground.",
    no_args_is_help=True,
)


@app.callback()
def group() -> None:
    """Serve a node, a bridge or a federation in the foreground."""


@app.command()
def node(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="Its settings, JSON.", show_default=False),
    ],
) -> None:
    """Serve one node of a testbed until SIGTERM or Ctrl-C."""
    from midhaul.services.node import serve

    serve(file)


@app.command()
def bridge(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="Its settings, TOML or JSON.", show_default=False
        ),
    ],
) -> None:
    """Forward MQTT topics at the rates of a map until SIGTERM or Ctrl-C."""
    from midhaul.services.bridge import serve

    serve(file)


@app.command()
def federation(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="Its settings, TOML.", show_default=False),
    ],
) -> None:
    """Answer from several priced providers behind one address until SIGTERM."""
    from midhaul.services.federation import serve

    serve(file)
