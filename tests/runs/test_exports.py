"""A run for other programs: what they read is what it found."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from tests.support import toy_kind
from tests.support.toy_kind import NAME, ToyConfig

from midhaul.errors import DataError
from midhaul.runs.exports import csv_text, openmetrics_text, to_fiftyone, to_mlflow
from midhaul.runs.perform import perform
from midhaul.runs.progress import SilentProgress
from midhaul.runs.run import Run

GOLDEN = Path(__file__).parent.parent / "golden" / "runs"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run of the toy kind with an awkward name."""
    config = ToyConfig(name='a "b" \\ c', tags=("night",))
    run = Run.create(tmp_path, NAME, config)
    perform(toy_kind.run, config, run, SilentProgress())
    return run


def test_csv_has_the_numbers_in_full(run: Run) -> None:
    """A line for each metric, with the verdict beside it."""
    (row,) = csv.DictReader(io.StringIO(csv_text(run)))
    assert (row["name"], row["is_valid"]) == ('a "b" \\ c', "true")
    assert (row["metric"], float(row["value"]), row["low"]) == ("total", 6.0, "")


def test_openmetrics_are_what_its_parser_reads(run: Run) -> None:
    """The reference implementation takes names, labels and values."""
    found = {m.name: m for m in text_string_to_metric_families(openmetrics_text(run))}
    (sample,) = found["midhaul_total"].samples
    assert (sample.value, sample.labels["name"]) == (6.0, 'a "b" \\ c')
    assert sample.labels["end"] == "value"
    assert found["midhaul_run_is_valid"].samples[0].value == 1


def test_fiftyone_gets_shares_of_the_image(tmp_path: Path) -> None:
    """Boxes are left, top, width and height within the image, with scores."""
    (folder,) = GOLDEN.glob("*-testbed.accuracy-*")
    run = Run.open(folder)
    assert to_fiftyone(run, tmp_path / "fo") == run.count("configurations")
    file, *_ = (tmp_path / "fo").glob("*/labels.json")
    told = json.loads(file.read_text())
    assert len(told["labels"]) == run.count("images")
    every = [one for many in told["labels"].values() for one in many]
    assert every
    assert {one["label"] for one in every} == set(told["classes"])
    assert all(len(one["bounding_box"]) == 4 for one in every)
    assert all(0 <= one["confidence"] <= 1 for one in every)


def test_a_run_without_detections_has_none_to_export(run: Run, tmp_path: Path) -> None:
    """It says which kinds have."""
    with pytest.raises(DataError, match="has no detections"):
        to_fiftyone(run, tmp_path)


def test_mlflow_keeps_numbers_and_verdict(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own client reads them back from its file store."""
    mlflow = pytest.importorskip("mlflow", reason="compared where MLflow is at hand")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = f"file:{tmp_path / 'store'}"
    assert to_mlflow(run, uri) == 1
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(NAME)
    (kept,) = client.search_runs([experiment.experiment_id])
    assert kept.data.metrics["total"] == 6.0
    assert kept.data.tags["midhaul.verdict"] == "valid"
    assert kept.data.params["n_steps"] == "3"
