"""Judging a run: what readers and answers leave in doubt reaches its verdict."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.tiny import SIZE, jpeg

from midhaul.runs.progress import SilentProgress
from midhaul.runs.run import Run
from midhaul.runs.spec import Spec
from midhaul.testbed.measure.config import AccuracyConfig, DataConfig, JudgeConfig
from midhaul.testbed.measure.experiment import accuracy

if TYPE_CHECKING:
    from pathlib import Path

    from midhaul.model import Tally
    from midhaul.runs.tables import Table

_BOXES = {"1": ("person", (10, 10, 20, 40)), "2": ("car", (30, 20, 40, 30))}


def write_data(folder: Path, names: tuple[str, str], **change: Any) -> DataConfig:
    """Two images with a person and a car, named as asked for."""
    (folder / "images").mkdir()
    for i in _BOXES:
        (folder / "images" / f"{i}.jpg").write_bytes(jpeg(SIZE))
    document = {
        "images": [
            {"id": int(i), "file_name": f"{i}.jpg", "width": SIZE[0], "height": SIZE[1]}
            for i in _BOXES
        ],
        "categories": [{"id": k, "name": n} for k, n in enumerate(names, 1)],
        "annotations": [
            {"id": k, "image_id": k, "category_id": k, "bbox": list(box), "iscrowd": 0}
            for k, (_, box) in enumerate(_BOXES.values(), 1)
        ],
    }
    (folder / "truth.json").write_text(json.dumps(document | change))
    return DataConfig(
        kind="coco", images=folder / "images", annotations=folder / "truth.json"
    )


def run_accuracy(
    folder: Path, data: DataConfig, judge: JudgeConfig | None = None
) -> Run:
    """Judge a detector that finds both, as ``person`` and ``car``."""
    rows = [
        {
            "image_id": i,
            "provider": "p",
            "label": label,
            "score": 0.9,
            "x1": x,
            "y1": y,
            "x2": x + w,
            "y2": y + h,
        }
        for i, (label, (x, y, w, h)) in _BOXES.items()
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "answers.parquet")
    config = AccuracyConfig(
        detectors=(Spec(f"recorded:{folder / 'answers.parquet'}"),),
        data=data,
        judge=judge or JudgeConfig(n_resamples=100),
        jobs=1,
    )
    run = Run.create(folder / "runs", "testbed.accuracy", config)
    accuracy(config, run, SilentProgress())
    run.finish()
    # A run that is continued says the same.
    again = Run.open(run.dir)
    again.verdict = None
    accuracy(config, again, SilentProgress())
    again.finish()
    assert again.verdict == run.verdict
    return Run.open(run.dir)


def value(run: Run, metric: str) -> float:
    """The value of a metric of the only configuration."""
    rows: list[dict[str, Any]] = run.sql("select * from summary").to_pylist()
    return next(row["value"] for row in rows if row["metric"] == metric)


def tallies(run: Run) -> tuple[Tally, ...]:
    """What stands beside the verdict."""
    assert run.verdict is not None
    return run.verdict.tallies


def test_other_spellings_are_assumed_and_told(tmp_path: Path) -> None:
    """Names that differ in case and blanks meet; the verdict says that they did."""
    run = run_accuracy(tmp_path, write_data(tmp_path, ("Person ", "CAR")))
    assert value(run, "ap") == pytest.approx(1)
    (assumed,) = tallies(run)
    assert (assumed.n, assumed.of) == (2, 2)
    assert run.verdict is not None
    assert run.verdict.is_valid


def test_answers_are_read_back_where_a_run_is_resumed_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new run passes its values on; one that goes on reads what it has, once."""
    asked: list[tuple[str, int | None]] = []
    read = Run.read

    def noted(run: Run, table: Table, part: int | None = None) -> pa.Table:
        asked.append((table.name, part))
        return read(run, table, part)

    monkeypatch.setattr(Run, "read", noted)
    run_accuracy(tmp_path, write_data(tmp_path, ("person", "car")))
    assert asked == [("detections", 0)]


def test_names_that_match_nothing_are_not_valid(tmp_path: Path) -> None:
    """A detector that knows half of the classes gives no valid accuracy."""
    run = run_accuracy(tmp_path, write_data(tmp_path, ("person", "Fahrzeug")))
    assert run.verdict is not None
    assert not run.verdict.is_valid
    assert "Fahrzeug" in run.verdict.reasons[0]
    assert "car, person" in run.verdict.advice[0]


def test_what_a_reader_mends_reaches_the_verdict(tmp_path: Path) -> None:
    """Boxes that are clipped or empty make a run not valid where they are many."""
    boxes = [[10, 10, 20, 40], [30, 20, 40, 30], [90, 20, 40, 30], [5, 5, 0, 9]]
    rows = [
        {"id": k, "image_id": 1 + k % 2, "category_id": 1, "bbox": b}
        for k, b in enumerate(boxes)
    ]
    run = run_accuracy(
        tmp_path, write_data(tmp_path, ("person", "car"), annotations=rows)
    )
    assert run.verdict is not None
    whats = [tally.what for tally in tallies(run) if tally.is_too_many]
    assert any("clipped" in what for what in whats)
    assert any("without extent" in what for what in whats)
    assert len(run.verdict.advice) == len(whats)


def test_rules_of_judging_are_keys(tmp_path: Path) -> None:
    """A dense image needs judge.max_detections, and is not valid with too few."""
    boxes = [[2 * k, 10 * j, 1, 8] for k in range(40) for j in range(4)]
    rows = [
        {"id": k, "image_id": 1, "category_id": 2, "bbox": b}
        for k, b in enumerate(boxes, 1)
    ]
    data = write_data(tmp_path, ("person", "car"), annotations=rows)
    few = run_accuracy(tmp_path, data)
    assert few.verdict is not None
    assert any("max_detections" in advice for advice in few.verdict.advice)
    many = run_accuracy(
        tmp_path, data, JudgeConfig(n_resamples=100, max_detections=200, iou=(0.5,))
    )
    assert not any(tally.is_too_many for tally in tallies(many))
