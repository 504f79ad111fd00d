"""Tests of tables that are kept as they are written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from tests.support.toy_kind import NAME, ToyConfig

from midhaul.runs.kept import KeptTables
from midhaul.runs.run import Run
from midhaul.runs.tables import Column, Table

if TYPE_CHECKING:
    from pathlib import Path

STEPS = Table(
    "steps",
    "A step.",
    (
        Column("step", pa.int32(), "Its number."),
        Column("value", pa.float64(), "What it gave; null for nothing."),
        Column("words", pa.list_(pa.string()), "What it said."),
    ),
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run without anything."""
    return Run.create(tmp_path, NAME, ToyConfig())


def row(step: int) -> dict[str, object]:
    """A row whose values a file could change: missing, not a number, empty."""
    values = (None, float("nan"), 0.1)
    return {"step": step, "value": values[step % 3], "words": ["a"] * (step % 2)}


def test_what_is_kept_is_what_a_file_gives(run: Run) -> None:
    """In the order of the parts, whatever the order of writing; a part is replaced."""
    kept = KeptTables(run, STEPS)
    for part in (3, 0, 2, 0):
        kept.write(STEPS, [row(part), row(part + 1)], part)
    assert kept.parts(STEPS) == {0, 2, 3}
    assert str(kept.read(STEPS).to_pylist()) == str(run.read(STEPS).to_pylist())
    assert kept.read(STEPS).schema == run.read(STEPS).schema
    assert kept.read(STEPS, [2, 7])["step"].to_pylist() == [2, 3]


def test_a_resumed_run_reads_what_it_has_once(run: Run) -> None:
    """And nothing afterwards: the files may be away."""
    run.write(STEPS, [row(0)], part=0)
    kept = KeptTables(run, STEPS)
    run.drop("steps", [0])
    kept.write(STEPS, [row(1)], 1)
    run.drop("steps", [1])
    assert kept.read(STEPS)["step"].to_pylist() == [0, 1]
