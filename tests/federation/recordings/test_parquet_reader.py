"""Recorded answers in Parquet, read and written."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from tests.federation.recordings.made import assert_same, recordings

from midhaul.errors import DataError
from midhaul.federation.recordings.findings import FindingCounter
from midhaul.federation.recordings.parquet import read_parquet, write_parquet

if TYPE_CHECKING:
    from midhaul.federation.recordings.problem import Recording


def _write(file: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), file)
    return file


@given(recording=recordings())
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read_again(recording: Recording) -> None:
    """A recording survives its way through Parquet, to the last array."""
    with TemporaryDirectory() as folder:
        write_parquet(recording, Path(folder) / "new")
        assert_same(read_parquet(Path(folder) / "new", task=recording.task), recording)


def test_labels_in_one_file_with_their_truth(tmp_path: Path) -> None:
    """FrugalML's columns give one label an item, its truth and the prices."""
    file = _write(
        tmp_path / "a.parquet",
        row=[0, 1, 0, 1],
        item=["x", "x", "x", "x"],
        provider=["A", "A", "B", "B"],
        price_usd=[0.5, 0.5, 0.25, 0.25],
        label=pa.array([10, 2, 2, 2], pa.int16()),
        score=[0.5, 1.0, 0.1, 0.0],
        truth=pa.array([10, 2, 10, 2], pa.int16()),
    )
    found = read_parquet(file, task="labels")
    assert found.items == ("0:x", "1:x")
    assert found.names == ("2", "10")
    assert found.prices_usd.tolist() == [0.5, 0.25]
    assert found.answers[0].labels.tolist() == [1, 0]
    assert found.truth is not None
    assert found.truth.labels.tolist() == [1, 0]


def test_a_label_that_is_not_there_is_missing(tmp_path: Path) -> None:
    """Without a row, a provider of labels did not answer; one of tags found nothing."""
    file = _write(
        tmp_path / "a.parquet",
        item=["x", "y", "x"],
        provider=["A", "A", "B"],
        label=["a", "b", "a"],
        score=[0.5, 1.0, 0.1],
    )
    labels = read_parquet(file, task="labels", price_usd=1)
    assert labels.answers[1].is_missing.tolist() == [False, True]
    tags = read_parquet(file, task="tags", price_usd=1)
    assert not tags.answers[1].is_missing.any()


def test_boxes_with_the_truth_of_another_file(tmp_path: Path) -> None:
    """The truth gives the items, sizes and difficult boxes; other rows are counted."""
    file = _write(
        tmp_path / "a.parquet",
        image_id=[7, 8, 9],
        provider=["A", "A", "A"],
        label=["car", "car", "cat"],
        score=[0.5, 0.25, 0.125],
        **{name: [1.0, 2.0, 3.0] for name in ("x1", "y1")},
        **{name: [5.0, 6.0, 7.0] for name in ("x2", "y2")},
    )
    truth = _write(
        tmp_path / "t.parquet",
        image_id=["9", "10", "7"],
        label=["cat", None, "bus"],
        width=[50, 60, 70],
        height=[40, 40, 40],
        difficult=[1, None, 0],
        **{name: [0.0, None, 3.0] for name in ("x1", "y1", "x2", "y2")},
    )
    tally = FindingCounter()
    found = read_parquet(
        file, task="boxes", truth_file=truth, prices_usd={"A": 2}, tally=tally
    )
    assert found.items == ("9", "10", "7")
    assert found.answers[0].boxes.tolist() == [[3, 3, 7, 7], [1, 1, 5, 5]]
    assert found.answers[0].counts.tolist() == [1, 0, 1]
    assert found.sizes_px is not None
    assert found.sizes_px[:, 0].tolist() == [50, 60, 70]
    assert found.truth is not None
    assert found.truth.is_ignored.tolist() == [True, False]
    assert tally.counts == {("A", "item not in the truth"): 1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": None}, "no column score"),
        ({"provider": ["A", None]}, "row 1: the provider is null"),
        ({"item": None}, "no column item"),
        ({"score": ["high", "low"]}, "score must hold numbers"),
        ({"price_usd": [1.0, 2.0]}, "price of A is 1 to 2"),
        ({"truth": ["a", "b"], "item": ["x", "x"]}, "item x has two truths"),
        ({"label": [0.5, 0.25]}, "label must hold texts"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    """A file that cannot be used is refused with its name, place and column."""
    columns: dict[str, object] = {
        "item": ["x", "y"],
        "provider": ["A", "A"],
        "label": ["a", "b"],
        "score": [0.5, 0.5],
        **change,
    }
    kept = {name: column for name, column in columns.items() if column is not None}
    file = _write(tmp_path / "a.parquet", **kept)
    with pytest.raises(DataError, match=message) as caught:
        read_parquet(file, task="labels", price_usd=None if "price_usd" in kept else 1)
    assert caught.value.hint


def test_a_missing_file_price_or_row_is_said(tmp_path: Path) -> None:
    """No file, no Parquet, no row and no price are told apart."""
    with pytest.raises(DataError, match="does not exist"):
        read_parquet(tmp_path / "a.parquet", task="tags")
    (tmp_path / "b.parquet").write_text("item,label")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_parquet(tmp_path / "b.parquet", task="tags")
    file = _write(
        tmp_path / "c.parquet", item=["x"], provider=["A"], label=["a"], score=[1.0]
    )
    with pytest.raises(DataError, match="A have no price"):
        read_parquet(file, task="tags")
    with pytest.raises(DataError, match="given for B"):
        read_parquet(file, task="tags", prices_usd={"A": 1, "B": 2})
    empty = _write(
        tmp_path / "d.parquet",
        **{n: pa.array([], pa.string()) for n in ("item", "provider", "label")},
        score=pa.array([], pa.float32()),
    )
    with pytest.raises(DataError, match="has no row"):
        read_parquet(empty, task="tags")


def test_a_score_that_is_null_is_not_finite(tmp_path: Path) -> None:
    """A null score stays visible as NaN, for cleaning to count."""
    file = _write(
        tmp_path / "a.parquet",
        item=["x", "y"],
        provider=["A", "A"],
        label=["a", "a"],
        score=[None, 0.5],
    )
    scores = read_parquet(file, task="tags", price_usd=0).answers[0].scores
    assert np.isnan(scores[0])
