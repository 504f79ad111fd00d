"""Exports of a run: CSV, OpenMetrics, MLflow, Weights & Biases, FiftyOne.

CSV and OpenMetrics need nothing else. A tracker gets a run of its own for each
configuration: the config as parameters, each metric as a number, and the ends of its
interval as ``<metric>.low`` and ``<metric>.high``. FiftyOne gets labels in the layout
of its ``FiftyOneImageDetectionDataset``, a folder for each configuration.
"""

from __future__ import annotations

import csv
import importlib
import io
import json
import re
from typing import TYPE_CHECKING, Any, cast

from midhaul.errors import DataError, PrerequisiteError, StoreError
from midhaul.runs import store
from midhaul.runs.summary import name_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from midhaul.runs.run import Run

COLUMNS = ("metric", "value", "low", "high", "n", "unit", "bound", "is_model", "remark")
_ENDS = ("value", "low", "high")


def csv_text(run: Run) -> str:
    """The summary, a line for each metric of each configuration; numbers in full."""
    manifest = run.manifest
    text = io.StringIO()
    write = csv.writer(text, lineterminator="\n").writerow
    write(("run", "name", "kind", "is_valid", "configuration", *COLUMNS))
    valid = "" if run.verdict is None else str(run.verdict.is_valid).lower()
    first = (run.id, manifest.name, manifest.kind, valid)
    for row in run.summary.rows:
        cells = ("" if row.get(key) is None else row[key] for key in COLUMNS)
        write((*first, name_of(row), *cells))
    return text.getvalue()


def openmetrics_text(run: Run) -> str:
    """The summary as OpenMetrics 1.0: a gauge for each metric, its ends by a label."""
    summary = run.summary
    lines: list[str] = []
    for metric in summary.metrics:
        name = f"midhaul_{re.sub(r'[^a-zA-Z0-9_]', '_', metric)}"
        declared = summary.declared.get(metric)
        said = metric if declared is None else declared.doc
        lines += [f"# TYPE {name} gauge", f"# HELP {name} {_escaped(said)}"]
        for row in summary.rows:
            if row["metric"] == metric:
                lines += _points(run, name, row)
    valid = run.verdict is not None and run.verdict.is_valid
    lines += ["# TYPE midhaul_run_is_valid gauge"]
    lines += [f"midhaul_run_is_valid{_labels(run, {})} {int(valid)}", "# EOF"]
    return "\n".join(lines) + "\n"


def _points(run: Run, name: str, row: Mapping[str, Any]) -> Iterator[str]:
    for end in _ENDS:
        if row[end] is not None:
            labels = _labels(run, {"configuration": name_of(row), "end": end})
            yield f"{name}{labels} {float(row[end])!r}"


def _labels(run: Run, more: Mapping[str, str]) -> str:
    manifest = run.manifest
    labels = {"run": run.id, "name": manifest.name, "kind": manifest.kind, **more}
    parts = (f'{key}="{_escaped(value)}"' for key, value in labels.items() if value)
    return "{" + ",".join(parts) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def to_mlflow(run: Run, uri: str) -> int:
    """Log a run to an MLflow server or store; how many runs it has become.

    PrerequisiteError if MLflow is not installed; StoreError if it does not take it.
    """
    mlflow = _library("mlflow")
    try:
        return _log_to(mlflow.MlflowClient(tracking_uri=uri), run)
    except mlflow.exceptions.MlflowException as error:
        message = f"MLflow does not take the run at {uri}: {error}"
        raise StoreError(message, "name a server or a store with --output") from error


def _log_to(client: Any, run: Run) -> int:
    kind = run.manifest.kind
    known = client.get_experiment_by_name(kind)
    experiment = known.experiment_id if known else client.create_experiment(kind)
    parameters = _parameters(run)
    configurations = _by_configuration(run)
    for name, numbers in configurations.items():
        title = f"{run.manifest.name or run.id} · {name}"
        begun = client.create_run(experiment, tags=_tags(run, name), run_name=title)
        for key, value in parameters.items():
            client.log_param(begun.info.run_id, key, value[:_LONGEST_PARAMETER])
        for key, number in numbers.items():
            client.log_metric(begun.info.run_id, key, number)
        client.set_terminated(begun.info.run_id)
    return len(configurations)


_LONGEST_PARAMETER = 500


def to_wandb(run: Run, project: str, folder: Path) -> int:
    """Log a run to Weights & Biases; how many runs it has become.

    PrerequisiteError if wandb is not installed.
    """
    wandb = _library("wandb")
    configurations = _by_configuration(run)
    for name, numbers in configurations.items():
        begun = wandb.init(
            project=project,
            name=f"{run.manifest.name or run.id} · {name}",
            group=run.id,
            config=run.config_values(),
            tags=list(run.manifest.tags),
            notes=run.manifest.note,
            dir=str(folder),
            reinit=True,
        )
        begun.summary.update({**numbers, **_tags(run, name)})
        begun.finish()
    return len(configurations)


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        message = f"this export needs {name}, which is not installed"
        raise PrerequisiteError(message, f"pip install {name}") from error


def _by_configuration(run: Run) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for row in run.summary.rows:
        numbers = found.setdefault(name_of(row), {})
        for end in _ENDS:
            key = row["metric"] + ("" if end == "value" else f".{end}")
            if row[end] is not None:
                numbers[key] = float(row[end])
    return found


def _parameters(run: Run) -> dict[str, str]:
    return dict(_flat(run.config_values()))


def _flat(value: object, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, below in cast("dict[str, object]", value).items():
            yield from _flat(below, f"{key}.{name}" if key else name)
    else:
        yield key, value if isinstance(value, str) else json.dumps(value, default=str)


def _tags(run: Run, name: str) -> dict[str, str]:
    """What must stand beside the numbers wherever they go: the verdict first."""
    manifest = run.manifest
    reasons = run.verdict.reasons if run.verdict else ()
    tags = {
        "midhaul.run": run.id,
        "midhaul.kind": manifest.kind,
        "midhaul.configuration": name,
        "midhaul.verdict": run.verdict_word or "not judged",
        "midhaul.reasons": " ".join(reasons),
        "midhaul.code": manifest.code_version,
        "midhaul.note": manifest.note,
    }
    tags |= {f"tag.{tag}": "true" for tag in manifest.tags}
    return {key: value for key, value in tags.items() if value}


def to_fiftyone(run: Run, folder: Path) -> int:
    """Write the detections of each configuration as labels; how many folders.

    DataError if the run has no detections, as only those of the testbed do.
    """
    if not {"detections", "images", "configurations"} <= set(run.tables()):
        message = f"run {run.id} of {run.manifest.kind} has no detections"
        raise DataError(message, "export a run of testbed.measure or testbed.accuracy")
    rows = run.sql("""
        SELECT c.name, d.image, d.boxes, d.scores, d.labels, i.width_px, i.height_px
        FROM detections d JOIN configurations c USING (configuration)
        JOIN images i USING (image) ORDER BY d.configuration, d.image
    """).to_pylist()
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for row in rows:
        found.setdefault(str(row["name"]), {})[str(row["image"])] = _objects(row)
    for place, (name, labels) in enumerate(found.items()):
        known = sorted({one["label"] for many in labels.values() for one in many})
        text = json.dumps({"classes": known, "labels": labels}, ensure_ascii=False)
        stem = re.sub(r"[^\w.-]+", "-", name).strip("-")
        file = folder / f"{place:03}-{stem}" / "labels.json"
        store.write_whole(file, lambda path, text=text: _write(path, text))
    return len(found)


def _objects(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The boxes of an image: left, top, width and height as shares of its size."""
    width, height = float(row["width_px"]), float(row["height_px"])
    corners = row["boxes"]
    objects: list[dict[str, Any]] = []
    for place, (score, label) in enumerate(
        zip(row["scores"], row["labels"], strict=True)
    ):
        x1, y1, x2, y2 = corners[4 * place : 4 * place + 4]
        box = [x1 / width, y1 / height, (x2 - x1) / width, (y2 - y1) / height]
        objects.append({"label": label, "bounding_box": box, "confidence": score})
    return objects


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
