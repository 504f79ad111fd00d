"""``midhaul models``, the detectors known by name and their export; ``midhaul new``.

``midhaul new`` writes an experiment file to begin with.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from midhaul.cli.options import Json


def new(
    kind: Annotated[
        str | None,
        typer.Argument(help="Kind of the experiment; without it they are listed."),
    ] = None,
    *,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write to this file.")
    ] = None,
    json: Json = False,
) -> None:
    """Print an experiment file with every key, its default and its meaning."""
    from midhaul.cli import output
    from midhaul.errors import ConfigError
    from midhaul.kinds import KINDS, kind_named
    from midhaul.runs.schema import keys, template

    if kind is None:
        listed = [{"kind": k.name, "summary": k.summary} for k in KINDS.values()]
        if json:
            output.print_json(listed)
        else:
            output.print_table(["kind", "what for"], [i.values() for i in listed])
        return
    config = kind_named(kind).load_config()
    if json:
        output.print_json([key.plain() for key in keys(config)])
        return
    text = template(config.model_validate({"kind": kind}))
    if out is None:
        output.print_line(text.rstrip())
        return
    if out.exists():
        message = f"{out} exists"
        raise ConfigError(message, "choose another name for --out, or delete it")
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        message = f"cannot write {out}: {error.strerror}"
        raise ConfigError(message) from error
    output.say(f"wrote {out}; run it with: midhaul run {out}")


app = typer.Typer(help="List detectors, or export one to ONNX.", no_args_is_help=True)

Weights = Annotated[
    str, typer.Option("--weights", help="DEFAULT (downloads), none (random) or a file.")
]


@app.command()
def ls(*, json: Json = False) -> None:
    """List the detectors that are known by name, with their licences."""
    from midhaul.cli import output
    from midhaul.vision.detectors.export import known_models

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
    from midhaul.vision.detectors.export import export_torchvision

    file = out if out is not None else Path(f"{name}.onnx")
    card = export_torchvision(name, weights, file, seed=seed)
    if json:
        output.print_json({"file": str(file), "card": str(card)})
    else:
        output.print_line(f"{file}\n{card}")
