"""``midhaul check``: all that is wrong with experiment files, data sets and models."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from midhaul.cli.options import Json

if TYPE_CHECKING:
    from collections.abc import Callable

    from midhaul.runs.config import Config
    from midhaul.vision.checking import Checked

_FAULTY = 2


class DataKind(StrEnum):
    """Formats of data sets."""

    coco = "coco"
    yolo = "yolo"
    voc = "voc"


def check(
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="TARGET…",
            help="Experiment files, data sets (a folder, a COCO JSON file, a "
            "data.yaml), models, recorded detections, or detectors such as "
            "builtin:street-s.",
            show_default=False,
        ),
    ],
    *,
    kind: Annotated[
        DataKind | None,
        typer.Option("--kind", help="Format of the data sets; found out without."),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            "--images", metavar="DIR", help="Folder of the images of a COCO file."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """List every mistake with its place and what mends it; exit 2 if there is one."""
    from midhaul.cli import output
    from midhaul.cli.progress import shown_progress

    found: list[Checked] = []
    with shown_progress() as progress:
        for target in targets:
            with progress.task(f"checking {target}") as bar:
                found += _check(target, kind, images, bar.advance)
    if json:
        output.print_json([_plain(checked) for checked in found])
    else:
        for checked in found:
            _print(checked)
    if any(checked.faults for checked in found):
        raise typer.Exit(_FAULTY)


def _check(
    target: str,
    kind: DataKind | None,
    images: Path | None,
    advance: Callable[[], None],
) -> list[Checked]:
    from midhaul.errors import ConfigError, DataError
    from midhaul.vision.checking import Checked, check_model, check_path, is_spec
    from midhaul.vision.data.dataset import DataFault

    path = Path(target)
    try:
        if path.suffix.lower() == ".toml":
            return _check_file(path, advance)
        if not path.exists() and is_spec(target):
            return [check_model(target)]
        of_kind = None if kind is None else kind.value
        return [check_path(path, kind=of_kind, images=images, advance=advance)]
    except (ConfigError, DataError) as error:
        fault = DataFault(message=error.message, hint=error.hint)
        return [Checked(what=target, faults=(fault,))]


def _check_file(path: Path, advance: Callable[[], None]) -> list[Checked]:
    """An experiment file with the data and the detectors that it names; or a card."""
    from midhaul.errors import DataError
    from midhaul.kinds import load_experiment
    from midhaul.runs.experiment_file import read_file
    from midhaul.vision.checking import Checked
    from midhaul.vision.detectors.card import read_card

    source = read_file(path)
    if "kind" not in source.values and "decoder" in source.values:
        return [Checked(what=f"model card {path}: {read_card(path).name}")]
    if not path.is_file():
        message = f"there is no file {path}"
        raise DataError(message)
    kind, config = load_experiment(source, [])
    return [
        Checked(what=f"experiment {path} ({kind.name})"),
        *_inputs(config, advance),
    ]


def _inputs(config: Config, advance: Callable[[], None]) -> list[Checked]:
    """The data set and the detectors of an experiment of the testbed."""
    from midhaul.testbed.measure.config import AccuracyConfig, TestbedConfig
    from midhaul.testbed.measure.from_config import dataset_of
    from midhaul.vision.checking import check_dataset, check_model

    if isinstance(config, AccuracyConfig):
        specs = [str(spec) for spec in config.detectors]
    elif isinstance(config, TestbedConfig):
        specs = [str(node.detector) for node in config.nodes if node.detector]
    else:
        return []
    found = [check_model(spec) for spec in dict.fromkeys(specs)]
    data, seed = config.data, config.seed
    if data.kind != "builtin":
        found.append(
            check_dataset(
                f"data ({data.kind})",
                lambda faults: dataset_of(data, seed, faults),
                advance,
            )
        )
    return found


def _plain(checked: Checked) -> dict[str, object]:
    return {
        "what": checked.what,
        "faults": [
            {"message": fault.message, "hint": fault.hint} for fault in checked.faults
        ],
        "notes": list(checked.notes),
    }


def _print(checked: Checked) -> None:
    from midhaul.cli import output

    n = len(checked.faults)
    verdict = "clean" if not n else "1 mistake:" if n == 1 else f"{n} mistakes:"
    output.print_line(f"{checked.what}: {verdict}")
    for fault in checked.faults:
        output.print_line(f"  {fault.message}")
        if fault.hint:
            output.print_line(f"    {fault.hint}")
    for note in checked.notes:
        output.print_line(f"note    {note}")
