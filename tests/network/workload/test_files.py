"""Flows, starts, CDFs and matrices from files: what is found, counted and refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from midhaul.errors import DataError
from midhaul.network.topology import Cable, leaf_spine, racks, star
from midhaul.network.workload import (
    by_groups,
    read_flows,
    read_matrix,
    read_sizes,
    read_starts,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STAR = star(3, access=Cable())
HEAD = "source,target,size_bytes,start_ns\n"


def put(folder: Path, text: str, name: str = "flows.csv") -> Path:
    """A file with this text."""
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def test_flows_are_read_by_names_and_by_numbers(tmp_path: Path) -> None:
    """CSV names nodes, Parquet numbers them, and both are the same flows."""
    text = "source,target,size_bytes,start_s,label\n"
    text += "host0,host1,10,0.5,a\nhost2,host0,20,0.25,b\nhost2,host1,7,0,a\n"
    named = read_flows(put(tmp_path, text), STAR)
    table = pa.table(
        {
            "source": [STAR.nodes.index(f"host{i}") for i in (0, 2, 2)],
            "target": [STAR.nodes.index(f"host{i}") for i in (1, 0, 1)],
            "size_bytes": [10, 20, 7],
            "start_ns": [500_000_000, 250_000_000, 0],
            "label": ["a", "b", "a"],
        }
    )
    file = tmp_path / "flows.parquet"
    pq.write_table(table, file)
    numbered = read_flows(file, STAR)
    for name in ("source", "target", "size_bytes", "start_ns", "label"):
        one, other = (getattr(found.flows, name) for found in (named, numbered))
        assert one.tolist() == other.tolist()
    assert named.flows.labels == numbered.flows.labels == ("a", "b")
    assert named.flows.label.tolist() == [0, 1, 0]
    assert named.tallies == ()


def test_what_is_no_flow_is_left_out_and_counted(tmp_path: Path) -> None:
    """Each sort of bad row is a tally with its rows, and the others are kept."""
    text = HEAD + (
        "host0,host1,10,0\n"  # row 1 is good
        "host0,host1,0,0\n"
        "host0,host1,,0\n"
        "host0,host1,1.5,0\n"
        "host0,host1,10,-1\n"
        "host0,switch,10,0\n"
        "host9,host1,10,0\n"
        "host1,host1,10,0\n"
        ",host1,10,0\n"
        "host2,host1,11,3\n"
    )
    found = read_flows(put(tmp_path, text), STAR)
    assert found.flows.size_bytes.tolist() == [10, 11]
    assert [(tally.n, tally.of) for tally in found.tallies] == [
        (3, 10),
        (1, 10),
        (3, 10),
        (1, 10),
    ]
    assert all(tally.is_too_many for tally in found.tallies)
    assert found.tallies[0].places[0].endswith("flows.csv, row 2")
    assert "no size of 1 byte to 9 PB" in found.tallies[0].sentence


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected flows"),
        ("source,target\na,b\n", "expected the column size_bytes, found source, targe"),
        ("source,target,size_bytes\na,b,1\n", "expected the column start_ns, found"),
        (HEAD, "expected at least one flow: found no row"),
        (
            HEAD + "host0,host1,0,0\n",
            "expected at least one flow: 1 of 1 flows have no",
        ),
        (HEAD + "host0,host1,big,0\n", "column size_bytes: expected numbers"),
        (HEAD + "host0,host1,5\n", "expected flows"),
        (HEAD + "1.5,host1,5,1\n", "do not begin and end at hosts"),
    ],
)
def test_a_file_that_holds_no_flows_is_named(
    tmp_path: Path, text: str, message: str
) -> None:
    """Columns, values and rows that are missing are said with the file."""
    file = put(tmp_path, text)
    with pytest.raises(DataError, match=message) as caught:
        read_flows(file, STAR)
    assert str(file) in str(caught.value)


def test_starts_are_a_trace(tmp_path: Path) -> None:
    """They are sorted, and a trace that ends names its file."""
    file = put(tmp_path, "time_s\n2\n0.5\n1\n")
    trace = read_starts(file, is_scaled=False)
    chance = np.random.default_rng(0)
    assert trace.draw(chance, 2, 1).tolist() == [500_000_000, 1_000_000_000]
    with pytest.raises(DataError, match=r"flows\.csv ends after 3 starts at 2 s"):
        trace.draw(chance, 4, 1)
    with pytest.raises(DataError, match="row 2 has -1e"):
        read_starts(put(tmp_path, "time_s\n2\n-1\n"))
    with pytest.raises(DataError, match="found no row"):
        read_starts(put(tmp_path, "time_s\n"))


def test_a_cdf_is_in_per_cent_or_in_parts(tmp_path: Path) -> None:
    """Comments and commas are read over."""
    for text in ("# bytes, %\n0 0\n\n100,25\n200\t100\n", "0 0\n100 .25\n200 1\n"):
        law = read_sizes(put(tmp_path, text))
        assert law.size_bytes.tolist() == [0, 100, 200]
        assert law.share.tolist() == [0, 0.25, 1]
        assert law.mean_bytes == 12.5 + 112.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a CDF, found no line of it"),
        ("0 0\n100 25\n200 90\n", r"shares that end at 100 %, found 90\.0000%"),
        ("0 0\n100\n200 100\n", "line 2: expected a size and a share, found '100'"),
        ("0 0\n100 x\n200 100\n", "line 2: expected a size and a share, found '100 x'"),
        ("0 0\n300 25\n200 100\n", "line 3: expected numbers that rise, found 200 100"),
        ("0 0\n100 nan\n200 100\n", "line 2: expected a size and a share"),
        ("0 0\n0 100\n", "a CDF needs a size above 0 B"),
    ],
)
def test_a_cdf_that_is_none_names_its_line(
    tmp_path: Path, text: str, message: str
) -> None:
    """A file cut short ends below 100 %, and says so."""
    file = put(tmp_path, text)
    with pytest.raises(DataError, match=message) as caught:
        read_sizes(file)
    assert str(file) in str(caught.value)


def test_a_matrix_may_be_wrapped(tmp_path: Path) -> None:
    """Rows alone, as matrix, or as the inner of a matrix."""
    rows = [[0, 3.5], [1, 0]]
    for found in (rows, {"matrix": rows}, {"matrix": {"inner": rows}}):
        weights = read_matrix(put(tmp_path, json.dumps(found)))
        assert weights.tolist() == [[0, 3.5], [1, 0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"matrix": {"inner": [[1, 2], [3', "is the file whole"),
        ("[]", "expected a traffic matrix, found list"),
        ("{}", "expected a traffic matrix, found dict"),
        ("[[1, 2], [3]]", "row 2: expected 2 entries, found 1"),
        ("[[1, 2], 3]", "row 2: expected 2 entries, found none"),
        ("[[1, -2], [3, 4]]", "row 1, column 2: expected a number of at least 0, fou"),
        ('[[1, "2"], [3, 4]]', "row 1, column 2: expected a number"),
        ("[[0, 0], [0, 0]]", "expected an entry above 0, found none"),
    ],
)
def test_a_matrix_that_is_none_names_its_place(
    tmp_path: Path, text: str, message: str
) -> None:
    """Row and column, counted from one."""
    file = put(tmp_path, text)
    with pytest.raises(DataError, match=message) as caught:
        read_matrix(file)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("read", [read_starts, read_sizes, read_matrix])
def test_a_file_that_is_not_there_is_said(
    tmp_path: Path, read: Callable[[Path], object]
) -> None:
    """A missing file is no traceback."""
    with pytest.raises(DataError, match=r"nothing\.csv"):
        read(tmp_path / "nothing.csv")


@pytest.mark.needs_data
def test_published_rack_matrices_fit_their_fabric(data_dir: Path) -> None:
    """Three matrices of 32 racks are read, and flows of them are drawn."""
    cable = Cable()
    fabric = leaf_spine(32, 4, 8, access=cable, fabric=cable)
    for name in "abc":
        file = data_dir / "traffic_matrices" / f"cluster_{name}_2_16.json"
        matrix, left_out = by_groups(racks(fabric), read_matrix(file))
        assert left_out == 0
        source, target = matrix.draw(np.random.default_rng(0), 1000)
        assert (source != target).all()
