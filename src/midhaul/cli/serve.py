"""``midhaul serve`` and ``testbed``: long-running processes, and nodes by hand."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from midhaul.cli.options import File, Json, Set

app = typer.Typer(
    help="Serve a node, a bridge, a federation or a memory in the foreground.",
    no_args_is_help=True,
)


@app.callback()
def group() -> None:
    """Serve a node, a bridge, a federation or a memory in the foreground."""


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


@app.command()
def memory(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="Its settings, TOML.", show_default=False),
    ],
) -> None:
    """Keep the right samples of what is offered, until SIGTERM; kills lose nothing."""
    from midhaul.services.memory import serve

    serve(file)


testbed_app = typer.Typer(
    help="Start, look at and stop nodes by hand.", no_args_is_help=True
)

State = Annotated[
    Path, typer.Option("--state", metavar="DIR", help="Folder of what is running.")
]
STATE = Path(".midhaul-testbed")


@testbed_app.command()
def up(
    file: File, *, set_: Set = None, state: State = STATE, json: Json = False
) -> None:
    """Start the nodes and links of an experiment file and leave them running."""
    from midhaul.cli.progress import shown_progress
    from midhaul.errors import ConfigError
    from midhaul.kinds import load_experiment
    from midhaul.runs.experiment_file import Override, read_file
    from midhaul.testbed import interactive
    from midhaul.testbed.measure.config import TestbedConfig

    overrides = [Override.parse(text) for text in set_ or ()]
    kind, config = load_experiment(read_file(file), overrides)
    if not isinstance(config, TestbedConfig):
        message = f"expected an experiment with nodes, found {kind.name} in {file}"
        raise ConfigError(message, "midhaul new testbed.measure prints one")
    with shown_progress() as progress:
        interactive.up(config, state, progress)
    _print(state, as_json=json)


@testbed_app.command()
def status(*, state: State = STATE, json: Json = False) -> None:
    """Say which nodes are running, and where they listen."""
    _print(state, as_json=json)


@testbed_app.command()
def down(*, state: State = STATE, json: Json = False) -> None:
    """Stop the nodes."""
    from midhaul.cli import output
    from midhaul.testbed import interactive

    stopped = interactive.down(state)
    if json:
        output.print_json({"stopped": stopped})
        return
    for name in stopped:
        output.print_line(f"stopped {name}")


def _print(state: Path, *, as_json: bool) -> None:
    from midhaul.cli import output
    from midhaul.testbed import interactive

    rows = [asdict(node) for node in interactive.status(state)]
    if as_json:
        output.print_json(rows)
    elif rows:
        output.print_table(list(rows[0]), [row.values() for row in rows])
    else:
        output.say("no nodes are running")
