"""``midhaul models``: detectors by name, inspection, formats, export; ``midhaul new``.

``midhaul new`` writes an experiment file to begin with.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from midhaul.cli.options import Json

if TYPE_CHECKING:
    from numpy.random import Generator

    from midhaul.vision.detectors.recognition.inspection import Inspection
    from midhaul.vision.format_benchmark import FormatResult


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


app = typer.Typer(
    help="List detectors, inspect a model, compare its formats, or export one.",
    no_args_is_help=True,
)

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


@app.command()
def inspect(
    model: Annotated[
        str,
        typer.Argument(
            help="A model's file (.onnx, .tflite) or its spec.", show_default=False
        ),
    ],
    *,
    image: Annotated[
        Path | None,
        typer.Option(
            "--image", metavar="FILE", help="Show it this, not a drawn scene."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The picture to write.")
    ] = None,
    threshold: Annotated[
        float, typer.Option("--threshold", help="Weaker boxes are not drawn.")
    ] = 0.25,
    json: Json = False,
) -> None:
    """Say how a model is fed and read: what is found, assumed and still to be said.

    Boxes of one picture are drawn. Ends with 2 while something has to be said.
    """
    from midhaul.cli import output
    from midhaul.errors import DataError
    from midhaul.vision.detectors.recognition.inspection import inspect_model
    from midhaul.vision.images.image import decode

    pixels = None
    if image is not None:
        try:
            pixels = decode(image.read_bytes(), where=str(image))
        except OSError as error:
            message = f"{image} cannot be read: {error.strerror or error}"
            raise DataError(message, "name an image with --image") from error
    seen = inspect_model(model, pixels)
    picture = None
    if seen.detections is not None:
        file = Path(seen.spec.partition("?")[0].partition(":")[2])
        picture = out or Path(f"{file.stem}-boxes.jpg")
        _draw(seen, picture, threshold)
    if json:
        output.print_json(seen.plain() | {"picture": picture and str(picture)})
    else:
        _print_inspection(seen, picture, threshold)
    if seen.asked:
        raise typer.Exit(2)


def _draw(seen: Inspection, file: Path, threshold: float) -> None:
    import numpy as np

    from midhaul.errors import ConfigError
    from midhaul.vision.images.image import draw, jpeg

    if seen.detections is None:
        return
    nobody = np.zeros((0, 4), np.float32)
    try:
        file.write_bytes(jpeg(draw(seen.pixels, nobody, seen.detections, threshold)))
    except OSError as error:
        message = f"cannot write {file}: {error.strerror or error}"
        raise ConfigError(message, "choose another file with --out") from error


def _print_inspection(seen: Inspection, picture: Path | None, threshold: float) -> None:
    from midhaul.cli import output

    parts = {
        "inputs": seen.inputs,
        "outputs": seen.outputs,
        "stated": seen.stated,
        "found": seen.found,
        "assumed": seen.assumed,
        "to be said": tuple(f"{key}: {what}" for key, what in seen.asked.items()),
    }
    output.print_line(f"{seen.spec}: {seen.family or 'by its card'}")
    for title, lines in parts.items():
        if lines:
            output.print_line(title)
            for line in lines:
                output.print_line(f"  {line}")
    if seen.detections is None:
        output.say(
            "write what is to be said into a card beside the model, or into ?KEY="
        )
        return
    n_sure = int((seen.detections.scores >= threshold).sum())
    n = len(seen.detections)
    output.print_line(f"{n} boxes, {n_sure} of at least {threshold:g}: {picture}")
    spec = f"'detectors=[\"{seen.spec}\"]'"
    output.print_line(f"measure it: midhaul run accuracy.toml --set {spec}")


@app.command()
def benchmark(
    model: Annotated[
        str,
        typer.Argument(
            help="A model's file, perhaps with options: own.onnx?labels=names.txt.",
            show_default=False,
        ),
    ],
    *,
    annotations: Annotated[
        Path | None,
        typer.Option("--annotations", metavar="FILE", help="COCO JSON to judge by."),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option("--images", metavar="DIR", help="Its images; drawn scenes else."),
    ] = None,
    n_images: Annotated[
        int, typer.Option("--n-images", help="How many, drawn by the seed 0.")
    ] = 50,
    calibration: Annotated[
        Path | None,
        typer.Option("--calibration", metavar="DIR", help="Images for static int8."),
    ] = None,
    threads: Annotated[int, typer.Option("--threads", help="Of each runtime.")] = 1,
    json: Json = False,
) -> None:
    """Compare one model by every runtime and precision: AP, time and size."""
    from midhaul.cli import output
    from midhaul.vision.data.opening import open_dataset
    from midhaul.vision.format_benchmark import benchmark_formats, formats_of

    formats = formats_of(model, calibration)
    if annotations is None:
        dataset = open_dataset("builtin", n_images=n_images)
    else:
        where = images or annotations.parent
        dataset = open_dataset("coco", images=where, annotations=annotations)
    dataset = dataset.sample(n_images, _chance())
    results, verdict = benchmark_formats(formats, dataset, threads=threads)
    if json:
        rows = [asdict(one) for one in results]
        notes = [tally.sentence for tally in verdict.tallies]
        output.print_json({"formats": rows, "counted": notes})
        return
    columns = ["runtime", "precision", "AP", "AP50", "ms", "25-75 %", "kB", "why not"]
    output.print_table(columns, [_format_row(one) for one in results])
    for tally in verdict.tallies:
        output.print_line(tally.sentence)


def _chance() -> Generator:
    import numpy as np

    return np.random.default_rng(0)


def _format_row(one: FormatResult) -> list[str]:
    if one.median_ms is None or one.ap is None or one.ap50 is None:
        return [one.runtime, one.precision, "", "", "", "", "", one.why_not]
    spread = f"{one.low_ms:.1f}-{one.high_ms:.1f}"
    size = "" if one.size_bytes is None else f"{one.size_bytes / 1e3:,.0f}"
    ap, ap50 = f"{one.ap:.3f}", f"{one.ap50:.3f}"
    ms = f"{one.median_ms:.1f}"
    return [one.runtime, one.precision, ap, ap50, ms, spread, size, ""]
