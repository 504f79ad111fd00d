"""``midhaul models``: the detectors that are known by name, and exporting one."""

from __future__ import annotations

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
    """List the built-in detectors and the models whose cards midhaul brings."""
    from midhaul.cli import output
    from midhaul.vision.card import shipped_cards
    from midhaul.vision.runtimes.builtin import builtin_cards

    cards = [(f"builtin:{card.name}", card) for card in builtin_cards()]
    cards += [(f"onnx:{card.file}", card) for card in shipped_cards()]
    rows = [
        {
            "detector": spec,
            "input": f"{card.input_width}x{card.input_height}",
            "decoder": card.decoder,
            "labels": len(card.names),
            "licence": card.licence,
        }
        for spec, card in cards
    ]
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
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The ONNX file.")
    ] = None,
    json: Json = False,
) -> None:
    """Export a detector of torchvision to ONNX, with its model card beside it."""
    from midhaul.cli import output
    from midhaul.vision.export import export as export_model

    file = export_model(name, weights, out if out is not None else Path(f"{name}.onnx"))
    if json:
        output.print_json({"file": str(file), "card": str(file.with_suffix(".toml"))})
    else:
        output.print_line(str(file))
