"""``midhaul models``: the detectors that are known by name, and exporting one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from midhaul.cli.options import Json

app = typer.Typer(help="List detectors, or export one to ONNX.", no_args_is_help=True)

Weights = Annotated[
    str, typer.Option("--weights", help="DEFAULT (downloads), none (random) or a file.")
]


@app.command()
def ls(*, json: Json = False) -> None:
    """List the detectors that are known by name, with their licences."""
    from midhaul.cli import output
    from midhaul.vision.export import known_models

    rows = [asdict(model) for model in known_models()]
    if json:
        output.print_json(rows)
    else:
        output.print_table(list(rows[0]), [row.values() for row in rows])


@app.command()
def export(
    name: Annotated[
        str,
        typer.Argument(help="A detector of torchvision, by name.", show_default=False),
    ],
    *,
    weights: Weights = "DEFAULT",
    seed: Annotated[int, typer.Option("--seed", help="Seed of random weights.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The ONNX file.")
    ] = None,
    json: Json = False,
) -> None:
    """Export a detector of torchvision to ONNX, with its model card beside it."""
    from midhaul.cli import output
    from midhaul.vision.export import export_torchvision

    file = out if out is not None else Path(f"{name}.onnx")
    card = export_torchvision(name, weights, file, seed=seed)
    if json:
        output.print_json({"file": str(file), "card": str(card)})
    else:
        output.print_line(f"{file}\n{card}")
