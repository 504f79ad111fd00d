"""Traces of real links are read as they are, and refused when they are broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midhaul.errors import DataError
from midhaul.traces import PACKET_BYTES, read_mahimahi

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for all examples of a property."""
    return tmp_path_factory.mktemp("traces")


@given(st.lists(st.integers(0, 5000), min_size=1).filter(max))
def test_every_packet_of_a_trace_counts_once(folder: Path, stamps: list[int]) -> None:
    """The mean rate times the length is the bytes of all lines."""
    file = folder / "any.up"
    file.write_text("\n".join(map(str, sorted(stamps))) + "\n", encoding="utf-8")
    trace = read_mahimahi(file)
    assert trace.length_s == max(stamps) / 1000
    carried = trace.mean_bps * trace.length_s / 8
    assert carried == pytest.approx(len(stamps) * PACKET_BYTES)


def test_a_trace_has_the_rates_of_its_seconds_and_loops(tmp_path: Path) -> None:
    """Three packets in the first second, one in the second; then from the beginning."""
    file = tmp_path / "short.up"
    file.write_text("100\n100\n1000\n2000\n", encoding="utf-8")
    trace = read_mahimahi(file)
    assert trace.rates_bps.tolist() == [3 * 8 * 1504, 8 * 1504]
    assert [trace.rate_at(t) for t in (0, 0.99, 1.5, 2.0, 3.5)] == [
        *[36096, 36096, 12032],
        *[36096, 12032],
    ]
    with pytest.raises(DataError, match="found nan"):
        trace.rate_at(float("nan"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "found none"),
        ("0\n0\n", "found 0 only"),
        ("5\n4\n", "bad.up:2: expected at least 5, found 4"),
        ("5\nnan\n", "bad.up:2: expected milliseconds, found 'nan'"),
        ("-3\n", "bad.up:1: expected milliseconds"),
    ],
)
def test_a_broken_trace_is_refused_with_its_line(
    tmp_path: Path, text: str, said: str
) -> None:
    """Empty, going back, or no number."""
    file = tmp_path / "bad.up"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=said):
        read_mahimahi(file)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """The message names it."""
    with pytest.raises(DataError, match=r"none\.up cannot be read"):
        read_mahimahi(tmp_path / "none.up")


@pytest.mark.needs_data
def test_a_real_trace_has_its_published_mean(data_dir: Path) -> None:
    """Verizon LTE, short: about 6 Mbit/s, and most of its seconds differ."""
    trace = read_mahimahi(data_dir / "uplink_traces" / "Verizon-LTE-short.up")
    assert trace.mean_bps == pytest.approx(5.96e6, rel=0.02)
    assert len(np.unique(trace.rates_bps)) > 0.9 * len(trace.rates_bps)
