"""Links out of recorded downloads: rates, clusters, and what was assumed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from midhaul.errors import DataError
from midhaul.memory.sources.recorded_links import links_of_downloads
from midhaul.memory.sources.streams import cellular_stream

if TYPE_CHECKING:
    from pathlib import Path


def downloads(file: Path) -> Path:
    """Two traces, each played by two schemes; the second is busier."""
    rows = [
        {
            "radio": "4G",
            "mobility": "walking",
            "abr": abr,
            "trace": trace,
            "chunk": k,
            "time_s": 1e9 + 2.0 * k,
            "buffer_s": 5.0,
            "chunk_bytes": 1_000_000 * (k + 1),
            "download_ms": 1000.0 * busy,
        }
        for trace in ("a", "b")
        for abr, busy in (("lazy", 0.5), ("busy", 1.0))
        for k in range(5)
    ]
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file


def test_rates_are_those_of_the_busiest_session(tmp_path: Path) -> None:
    """A download of 3 MB in 1 s is 24 Mbit/s, until the next one begins."""
    found = links_of_downloads(downloads(tmp_path / "a.parquet"))
    assert [trace.name for trace in found.traces] == [
        "4G-walking-0",
        "4G-walking-1",
    ]
    one = found.traces[0]
    assert one.times_s == pytest.approx([0.0, 2.0, 4.0, 6.0])
    assert one.rates_bps == pytest.approx([16e6, 24e6, 32e6, 40e6])
    assert one.length_s == pytest.approx(7.0)
    # Of 7 s, 4 were downloads.
    assert [(tally.n, tally.of) for tally in found.tallies] == [(6, 14)]


def test_nothing_of_a_kind_is_refused(tmp_path: Path) -> None:
    """A radio that is not in the table has no links."""
    with pytest.raises(DataError, match="6G"):
        links_of_downloads(downloads(tmp_path / "a.parquet"), radio="6G")


def test_clusters_are_those_of_samples(data_dir: Path) -> None:
    """Links of the recorded table can be told apart from those that were trained on."""
    file = data_dir / "streams" / "cellular_abr.parquet"
    if not file.is_file():
        pytest.skip(f"no recorded streams in {data_dir}")
    found = links_of_downloads(file, radio="4G", mobility="walking")
    stream = cellular_stream(file, shift="incremental")
    of_walks = {c for p in stream.periods[:5] for c in np.unique(p.cluster).tolist()}
    assert set(found.clusters) == of_walks
    assert len(found.traces) == 54
    assert not any(tally.is_too_many for tally in found.tallies)
