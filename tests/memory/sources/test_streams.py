"""Recorded streams in periods: what is dealt out, never cut, and refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midhaul.errors import ConfigError, DataError
from midhaul.memory.sources.fugu import FUGU_BINS, FUGU_INPUTS, fugu_times_s
from midhaul.memory.sources.history import of_past, past_rows, starts_of
from midhaul.memory.sources.streams import (
    PUFFER_DAYS,
    StreamSet,
    cellular_stream,
    puffer_stream,
)

if TYPE_CHECKING:
    from pathlib import Path

KINDS = [(r, m) for r in ("4G", "5G") for m in ("walking", "driving")]


def puffer_days(folder: Path, *, n_viewers: int = 20, n: int = 12) -> Path:
    """Two days of viewers with two streams each; gaps are 1, 2, 3, … s."""
    for day, name in enumerate(PUFFER_DAYS):
        rows = [
            (f"v+{viewer}=_{stream}", float(k * (k + 1) / 2), 1.0 + viewer + day)
            for viewer in range(n_viewers)
            for stream in range(2)
            for k in range(n)
        ]
        table = pa.table(
            dict(
                zip(
                    ("session", "sent_s", "delivery_rate_MBps"),
                    map(list, zip(*rows, strict=True)),
                    strict=True,
                )
            )
        )
        pq.write_table(table, folder / name)
    return folder


def downloads(file: Path, *, n_sessions: int = 40, n: int = 5) -> Path:
    """Sessions of each kind; chunk k has k + 1 MB and takes as many seconds."""
    rows = [
        {
            "radio": radio,
            "mobility": mobility,
            "abr": f"abr{session % 3}",
            "trace": f"{radio}{mobility}{session // 3}",
            "chunk": k,
            "time_s": 1e9 + 2.0 * k,
            "buffer_s": 10.0 * (k + 1),
            "chunk_bytes": (k + 1) * 1_000_000,
            "download_ms": 1000.0 * (k + 1),
        }
        for radio, mobility in KINDS
        for session in range(n_sessions)
        for k in range(n)
    ]
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file


def no_group_is_cut(found: StreamSet) -> None:
    """Sessions and viewers are in one period, and time never goes back."""
    seen: set[int] = set()
    for period in found.periods:
        period.check()
        groups = set(period.group.tolist())
        assert not groups & seen
        seen |= groups
    times = np.concatenate([period.time_s for period in found.periods])
    assert (np.diff(times) >= 0).all()


@given(st.lists(st.integers(1, 12), min_size=1, max_size=6), st.integers(1, 9))
def test_the_past_is_that_of_a_plain_loop(lengths: list[int], n_past: int) -> None:
    """The past of a row are the rows before it in its group, the first standing in."""
    group = np.repeat(np.arange(len(lengths)), lengths)
    starts = starts_of(group)
    rows = np.flatnonzero(starts < np.arange(len(group)))
    past = past_rows(starts, rows, n_past)
    for row, found in zip(rows.tolist(), past.tolist(), strict=True):
        first = int(np.flatnonzero(group == group[row])[0])
        own = [max(row - back, first) for back in range(n_past, 0, -1)]
        assert found == own
    columns = np.arange(2.0 * len(group)).reshape(-1, 2)
    assert (of_past(columns, past)[:, -2:] == columns[rows - 1]).all()


def test_bins_are_those_of_fugu() -> None:
    """Half seconds around multiples of a half, the first and the last as published."""
    y = np.array([0.0, 0.2499, 0.25, 0.7499, 0.75, 2.25, 9.7499, 9.75, 60.0, np.nan])
    assert FUGU_BINS.of(y).tolist() == [0, 0, 1, 1, 2, 5, 19, 20, 20, -1]
    assert FUGU_BINS.of(fugu_times_s()).tolist() == list(range(21))
    assert len(FUGU_INPUTS) == 62


def test_a_viewer_stays_in_one_period(tmp_path: Path) -> None:
    """Set P has the periods asked for; both streams of a viewer are in one of them."""
    found = puffer_stream(puffer_days(tmp_path), n_periods=(3, 2))
    assert len(found.periods) == 5
    no_group_is_cut(found)
    viewers = [set(period.cluster.tolist()) for period in found.periods]
    assert sum(map(len, viewers)) == len(set().union(*viewers)) == 40
    assert found.periods[0].x.shape[1] == len(found.inputs) == 17


def test_gaps_and_rates_stand_where_they_belong(tmp_path: Path) -> None:
    """The input's last past gap is the one before; the output is the next."""
    period = puffer_stream(puffer_days(tmp_path), n_periods=(1, 1)).periods[0]
    of_one = period.group == period.group[0]
    assert period.y[of_one].tolist() == [float(k) for k in range(2, 12)]
    last_gap = np.expm1(period.x[of_one, 15])
    assert last_gap == pytest.approx(period.y[of_one] - 1, rel=1e-5)
    assert np.unique(period.x[of_one, 16]).size == 1


def test_a_share_of_sessions_can_be_used(tmp_path: Path) -> None:
    """Half of the viewers are half of the viewers, and another seed has others."""
    folder = puffer_days(tmp_path)
    half = puffer_stream(folder, n_periods=(1, 1), share=0.5)
    other = puffer_stream(folder, n_periods=(1, 1), share=0.5, seed=1)
    drawn = [set(s.periods[0].cluster.tolist()) for s in (half, other)]
    assert [len(one) for one in drawn] == [10, 10]
    assert drawn[0] != drawn[1]
    with pytest.raises(ConfigError, match="share"):
        puffer_stream(folder, share=0)


@pytest.mark.parametrize(("shift", "n"), [("incremental", 16), ("periodic", 15)])
def test_sessions_of_downloads_are_dealt_out(
    tmp_path: Path, shift: str, n: int
) -> None:
    """S-inc and S-per have their periods, and no session is in two."""
    file = downloads(tmp_path / "a.parquet")
    found = cellular_stream(file, shift=shift)  # type: ignore[arg-type]
    assert len(found.periods) == n
    no_group_is_cut(found)
    assert found.periods[0].x.shape[1] == len(found.inputs) == 34
    again = cellular_stream(file, shift=shift)  # type: ignore[arg-type]
    assert all(
        np.array_equal(a.x, b.x)
        for a, b in zip(found.periods, again.periods, strict=True)
    )


def test_every_fifth_period_has_twelve_more(tmp_path: Path) -> None:
    """Of 40 sessions in 15 periods, every fifth has twelve of the other kind."""
    found = cellular_stream(downloads(tmp_path / "a.parquet"), shift="periodic")
    n = [len(np.unique(period.group)) for period in found.periods]
    assert [k for k, count in enumerate(n) if count > 12] == [4, 9, 14]


def test_the_next_chunk_tells_nothing_of_itself(tmp_path: Path) -> None:
    """Inputs know the next size and the buffer before it, not what came of it."""
    found = cellular_stream(downloads(tmp_path / "a.parquet"), shift="incremental")
    period = found.periods[0]
    of_one = period.group == period.group[0]
    assert period.y[of_one].tolist() == [2.0, 3.0, 4.0, 5.0]
    assert period.x[of_one, 33].tolist() == [2.0, 3.0, 4.0, 5.0]
    assert period.x[of_one, 32].tolist() == [10.0, 20.0, 30.0, 40.0]
    assert period.x[of_one, 28:32].tolist() == [
        [1.0, k, k, 10 * k] for k in (1.0, 2.0, 3.0, 4.0)
    ]


def test_what_is_wrong_is_counted(tmp_path: Path) -> None:
    """A download without a size is left out, one of no time gets a rate."""
    file = downloads(tmp_path / "a.parquet")
    rows = pq.read_table(file).to_pylist()
    rows[3]["chunk_bytes"] = None
    rows[7]["download_ms"] = 0.0
    rows[9]["radio"] = None
    pq.write_table(pa.Table.from_pylist(rows), file)
    found = cellular_stream(file, shift="incremental")
    said = [tally for tally in found.tallies if tally.n]
    assert said[0].n == 2
    assert said[0].places[0] == f"{file} row 4"
    assert any("0 ms" in tally.what and tally.n == 1 for tally in said)


def test_what_is_no_stream_is_refused(tmp_path: Path) -> None:
    """No file, another table, too few sessions: each says what was expected."""
    with pytest.raises(DataError, match="no such file"):
        puffer_stream(tmp_path)
    with pytest.raises(DataError, match="expected 16 sessions"):
        puffer_stream(puffer_days(tmp_path, n_viewers=4), n_periods=(16, 1))
    pq.write_table(pa.table({"radio": ["4G"]}), tmp_path / "other.parquet")
    with pytest.raises(DataError, match="mobility"):
        cellular_stream(tmp_path / "other.parquet", shift="periodic")
    few = downloads(tmp_path / "few.parquet", n_sessions=10)
    with pytest.raises(DataError, match="15 sessions"):
        cellular_stream(few, shift="periodic")
    with pytest.raises(ConfigError, match="sideways"):
        cellular_stream(few, shift="sideways")  # type: ignore[arg-type]


def test_real_streams_are_as_their_readme_says(data_dir: Path) -> None:
    """The recorded sets have their periods, and nearly nothing is left out."""
    folder = data_dir / "streams"
    if not folder.is_dir():
        pytest.skip(f"no recorded streams in {data_dir}")
    found = cellular_stream(folder / "cellular_abr.parquet", shift="incremental")
    no_group_is_cut(found)
    assert sum(len(period) for period in found.periods) == 220_067
    assert not any(tally.is_too_many for tally in found.tallies)
