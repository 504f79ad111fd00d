"""``midhaul network``: what simulators of networks need before they run."""

from __future__ import annotations

from typing import Annotated

import typer

from midhaul.cli.options import Json

app = typer.Typer(help="Prepare simulators of networks.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Prepare simulators of networks."""


@app.command()
def warm(
    simulators: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SIMULATOR…]",
            help="packet, fluid or links; all of them by default.",
            show_default=False,
        ),
    ] = None,
    *,
    json: Json = False,
) -> None:
    """Compile the kernels, which is done once, so that no run has to wait for it."""
    from midhaul.cli import output
    from midhaul.cli.progress import shown_progress
    from midhaul.errors import ConfigError, choice_hint
    from midhaul.machine.children import watched
    from midhaul.network import simulators as known

    names = simulators or list(known.KERNELS)
    for name in names:
        if name not in known.KERNELS:
            message = f"expected a simulator with kernels, found {name!r}"
            raise ConfigError(message, choice_hint(name, known.KERNELS))
    took: dict[str, float] = {}
    transports = [known.transport_named(name) for name in known.OF_EACH_FAMILY]
    with (
        watched(),
        shown_progress() as progress,
        progress.task("compiling", total=len(names)) as task,
    ):
        for name in names:
            took[name] = known.warm(name, transports, say=progress.note)
            task.advance()
    if json:
        output.print_json({"seconds": took})
        return
    output.print_table(["simulator", "seconds"], [[k, v] for k, v in took.items()])
