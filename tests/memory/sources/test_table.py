"""Samples out of tables, runs of networks, and their own files."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midhaul.errors import ConfigError, DataError
from midhaul.memory.samples import Samples
from midhaul.memory.sources.table import (
    SampleColumns,
    read_samples,
    table_stream,
    write_samples,
)
from midhaul.memory.sources.traffic import TRAFFIC_BINS, traffic_stream, workload_of

if TYPE_CHECKING:
    from pathlib import Path

COLUMNS = SampleColumns(x=("a", "b"), y="out", group="session", time_s="t")


def samples(n: int, d: int, k: int, seed: int = 0) -> Samples:
    """Some samples, with predictions where there are bins."""
    rng = np.random.default_rng(seed)
    y = rng.random(n)
    y[::3] = np.nan
    return Samples.of(
        rng.normal(size=(n, d)),
        y,
        prediction=rng.dirichlet(np.ones(k), n) if k else None,
        weight=rng.random(n),
        time_s=np.sort(rng.random(n)),
        group=rng.integers(5, size=n),
        model_version=3 if k else -1,
    )


@given(st.integers(0, 20), st.integers(1, 5), st.integers(0, 4))
def test_samples_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, n: int, d: int, k: int
) -> None:
    """Every array of a file is that which was written, bit by bit."""
    file = tmp_path_factory.mktemp("samples") / "a.parquet"
    before = samples(n, d, k)
    write_samples(file, before)
    after = read_samples(file)
    for field in fields(Samples):
        one, other = getattr(before, field.name), getattr(after, field.name)
        assert one.dtype == other.dtype, field.name
        assert np.array_equal(one, other, equal_nan=one.dtype.kind == "f"), field.name


def test_files_that_are_cut_or_of_another_version_are_refused(tmp_path: Path) -> None:
    """A file cut short, another version, no version, a column too few: all said."""
    file = tmp_path / "a.parquet"
    write_samples(file, samples(9, 2, 3))
    table = pq.read_table(file)
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    with pytest.raises(DataError, match="expected samples"):
        read_samples(file)
    for said, words in ((b"2 9 2 3", "version 1, found 2"), (b"1 8 2 3", "8 rows")):
        pq.write_table(table.replace_schema_metadata({"midhaul.samples": said}), file)
        with pytest.raises(DataError, match=words):
            read_samples(file)
    pq.write_table(pa.table({"x0": [1.0]}), file)
    with pytest.raises(DataError, match="found none"):
        read_samples(file)
    wrong = table.set_column(0, "y", pa.array(["a"] * 9))
    pq.write_table(wrong, file)
    with pytest.raises(DataError, match="expected samples"):
        read_samples(file)
    with pytest.raises(DataError, match="cannot be written"):
        write_samples(tmp_path / "none" / "a.parquet", samples(1, 1, 0))


def put(file: Path, **changes: list[object]) -> Path:
    """A table of three sessions with two rows each."""
    rows = {
        "a": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        "b": [0.0] * 6,
        "out": [10.0, 20.0, 30.0, 40.0, 50.0, 60.0],
        "session": ["x", "x", "z", "z", "y", "y"],
        "t": [0.0, 1.0, 2.0, 3.0, 4.0, 5.0],
        **changes,
    }
    table = pa.table(rows)
    if file.suffix == ".parquet":
        pq.write_table(table, file)
    else:
        lines = [",".join(map(str, row.values())) for row in table.to_pylist()]
        head = ",".join(table.column_names)
        text = "\n".join([head, *lines]).replace("None", "")
        file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize("name", ["a.parquet", "a.csv"])
def test_a_table_is_cut_by_groups(tmp_path: Path, name: str) -> None:
    """Three sessions are three periods, in the order of time."""
    found = table_stream(put(tmp_path / name), COLUMNS, n_periods=3)
    assert [period.y.tolist() for period in found.periods] == [
        [10.0, 20.0],
        [30.0, 40.0],
        [50.0, 60.0],
    ]
    assert found.inputs == ("a", "b")
    assert found.periods[1].x.tolist() == [[3.0, 0.0], [4.0, 0.0]]


def test_what_a_table_lacks_is_counted(tmp_path: Path) -> None:
    """A row without an input is left out; one without an output, or late, stays."""
    file = put(
        tmp_path / "a.csv",
        a=[1.0, None, 3.0, 4.0, 5.0, 6.0],
        out=[10.0, 20.0, None, 40.0, 50.0, 60.0],
        t=[0.0, 1.0, 3.0, 2.0, 4.0, 5.0],
    )
    found = table_stream(file, COLUMNS, n_periods=1)
    assert [tally.n for tally in found.tallies] == [1, 1, 1]
    assert found.periods[0].x[:, 0].tolist() == [1.0, 4.0, 3.0, 5.0, 6.0]
    assert found.bins.n > 1


def test_a_period_column_may_not_cut_a_group(tmp_path: Path) -> None:
    """Periods come from their column; a session in two of them is refused."""
    columns = SampleColumns(x=("a",), y="out", group="session", period="p")
    good = put(tmp_path / "a.parquet", p=[1, 1, 0, 0, 1, 1])
    found = table_stream(good, columns)
    assert [len(period) for period in found.periods] == [2, 4]
    bad = put(tmp_path / "b.parquet", p=[0, 1, 1, 1, 1, 1])
    with pytest.raises(DataError, match="1 of 3 groups"):
        table_stream(bad, columns)


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    """No such column, words for numbers, nothing whole, too many periods."""
    file = put(tmp_path / "a.parquet")
    with pytest.raises(DataError, match="'c'"):
        table_stream(file, SampleColumns(x=("c",), y="out"))
    with pytest.raises(DataError, match="expected numbers"):
        table_stream(file, SampleColumns(x=("session",), y="out"))
    with pytest.raises(ConfigError, match="4 periods"):
        table_stream(file, COLUMNS, n_periods=4)
    with pytest.raises(ConfigError, match="inputs"):
        table_stream(file, SampleColumns(x=(), y="out"))
    empty = put(tmp_path / "b.parquet", a=[None] * 6)
    with pytest.raises(DataError, match="all inputs"):
        table_stream(empty, COLUMNS)
    with pytest.raises(DataError, match="no such file"):
        table_stream(tmp_path / "no.csv", COLUMNS)


def run_folder(folder: Path, *, n: int = 60, slow: float = 1.0) -> Path:
    """What a run of network.simulate leaves of its flows: two pairs of nodes."""
    rows = [
        {
            "configuration": 0,
            "source": "h0",
            "target": f"h{1 + i % 2}",
            "size_bytes": 1000 * (i + 1),
            "start_ns": i * 1_000_000,
            # The second pair's flows take so long that several are under way.
            "fct_ns": int(slow * (1_500_000 if i % 2 == 0 else 4_500_000)),
        }
        for i in range(n)
    ]
    rows.append({**rows[0], "fct_ns": None})
    rows.append({**rows[0], "configuration": 1})
    (folder / "tables" / "flows").mkdir(parents=True)
    file = folder / "tables" / "flows" / "part-0000.parquet"
    pq.write_table(pa.Table.from_pylist(rows), file)
    return folder


def test_flows_know_those_that_had_ended(tmp_path: Path) -> None:
    """The last past flow of a pair is the last that ended before this one began."""
    runs = [run_folder(tmp_path / f"{i}", slow=1.0 + i) for i in range(3)]
    found = traffic_stream(runs, pattern="incremental", n_past=2)
    first = found.periods[0]
    flow = 10 ** first.x[:, 4].astype(float) / 1000 - 1
    last = 10 ** first.x[:, 2].astype(float) / 1000 - 1
    # Flow i of pair 0 begins at i ms; of those before, all but none had ended.
    of_first = first.cluster == first.cluster.min()
    assert np.rint(flow - last)[of_first].tolist() == [2.0] * int(of_first.sum())
    assert (np.rint(flow - last)[~of_first] >= 6).all()
    assert found.tallies[0].n == 1
    assert TRAFFIC_BINS.n == 21


@pytest.mark.parametrize(
    ("pattern", "n", "of_third"),
    [("periodic", 20, [9, 19]), ("incremental", 30, list(range(20, 30)))],
)
def test_patterns_are_those_of_the_seed(
    tmp_path: Path, pattern: str, n: int, of_third: list[int]
) -> None:
    """Which periods have flows of the third workload, and no group is in two."""
    runs = [run_folder(tmp_path / f"{i}") for i in range(3)]
    found = traffic_stream(runs, pattern=pattern)  # type: ignore[arg-type]
    assert len(found.periods) == n
    workloads = [set(workload_of(p.cluster).tolist()) for p in found.periods]
    assert [i for i, one in enumerate(workloads) if 2 in one] == of_third
    groups = [set(period.group.tolist()) for period in found.periods]
    assert sum(map(len, groups)) == len(set().union(*groups))
    times = np.concatenate([period.time_s for period in found.periods])
    assert (np.diff(times) >= 0).all()


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    """No folder, two runs, another pattern, too few flows."""
    good = run_folder(tmp_path / "good")
    with pytest.raises(DataError, match="part-"):
        traffic_stream([tmp_path] * 3, pattern="periodic")
    with pytest.raises(ConfigError, match="three runs"):
        traffic_stream([good], pattern="periodic")
    with pytest.raises(ConfigError, match="sideways"):
        traffic_stream([good] * 3, pattern="sideways")  # type: ignore[arg-type]
    few = run_folder(tmp_path / "few", n=8)
    with pytest.raises(DataError, match="expected 10 flows"):
        traffic_stream([few] * 3, pattern="incremental")
