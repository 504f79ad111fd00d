"""QoS curves from files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.support.synthetic_run import Shape, synthetic_run

from midhaul.deploy.curves.readers import read_awstream, read_run, read_table
from midhaul.errors import DataError, StoreError

if TYPE_CHECKING:
    from pathlib import Path

_HEAD = "knob,rate_bps,quality\n"
_AWSTREAM = "bandwidth,width,skip,quant,accuracy\n"


def test_table(tmp_path: Path) -> None:
    """Steps come in any order, with blanks, and dominated ones are counted."""
    file = tmp_path / "camera.csv"
    file.write_text(" knob , rate_bps,quality\n 2, 3e5, 0.8\n1,  1e5, 0.5\n3,4e5,0.7\n")
    curve = read_table(file, message_hz=2.0)
    assert curve.name == "camera"
    assert curve.knobs.tolist() == [1, 2, 3]
    assert curve.rates_bps.tolist() == [1e5, 3e5, 4e5]
    assert curve.n_dominated == 1
    assert curve.message_hz == 2


def test_several_curves(tmp_path: Path) -> None:
    """A file may hold several curves, with messages per second of their own."""
    columns = {
        "curve": ["a", "b", "b"],
        "knob": [1.0, 1.0, 2.0],
        "rate_bps": [1e5, 2e5, 3e5],
        "quality": [0.5, 0.6, 0.7],
        "message_hz": [1.0, 5.0, 5.0],
    }
    file = tmp_path / "curves.parquet"
    pq.write_table(pa.table(columns), file)
    assert read_table(file).name == "a"
    assert read_table(file, "b").qualities.tolist() == [0.6, 0.7]
    assert read_table(file, "b").message_hz == 5
    assert read_table(file, "b", message_hz=2.0).message_hz == 2
    with pytest.raises(DataError, match="found: a, b"):
        read_table(file, "c")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found none"),
        (_HEAD, "at least one row"),
        ("knob,quality\n1,2\n", "found knob, quality"),
        (_HEAD + "1,1,0.5\n1,-1,0.5\n", "row 2: expected rate_bps of at least 0"),
        (_HEAD + "1,nan,0.5\n", "row 1: expected rate_bps .* 'nan'"),
        (_HEAD + "1,inf,0.5\n", "row 1: expected rate_bps"),
        (_HEAD + "1,1,1.5\n", "row 1: expected quality of 0 to 1, found '1.5'"),
        (_HEAD + "1,1\n", "row 1: expected quality .* None"),
        (_HEAD + "a,1,0.5\n", "row 1: expected knob .* 'a'"),
        (_HEAD + '1,1,"0.5\n', "expected a CSV file"),
    ],
)
def test_bad_table(text: str, message: str, tmp_path: Path) -> None:
    """What cannot be a curve is refused with its file and row."""
    file = tmp_path / "bad.csv"
    file.write_text(text)
    with pytest.raises(DataError, match=message) as error:
        read_table(file)
    assert "bad.csv" in error.value.message


@pytest.mark.parametrize("name", ["no.csv", "no.parquet"])
def test_no_file(name: str, tmp_path: Path) -> None:
    """A file that is not there, or is no such file, is named."""
    with pytest.raises(DataError, match=name):
        read_table(tmp_path / name)
    (tmp_path / name).write_bytes(b"\xff\x00\xfe")
    with pytest.raises(DataError, match=name):
        read_table(tmp_path / name)


def test_awstream(tmp_path: Path) -> None:
    """Knobs are rows of the profile, and tell its settings."""
    file = tmp_path / "mot.csv"
    file.write_text(_AWSTREAM + "  0.5,  640,  9, 50, 0.4\n 0.02, 1920, 0, 20, 0.1\n")
    found = read_awstream(file)
    assert found.curve.rates_bps.tolist() == [0.02e6, 0.5e6]
    assert found.setting(found.curve.knobs[0]) == "width 1920, skip 0, quant 20"
    assert found.setting(found.curve.knobs[1]) == "width 640, skip 9, quant 50"


@pytest.mark.needs_data
def test_published_profile(data_dir: Path) -> None:
    """The profile as its authors publish it: 180 rows, 26 on the frontier."""
    found = read_awstream(data_dir / "awstream" / "mot.csv")
    assert len(found.curve) == len(found.settings) == 180
    assert len(found.curve.frontier()) == 26
    assert found.curve.n_dominated == 154


def test_run(tmp_path: Path) -> None:
    """A run of the testbed gives a step for each preprocessing of one detector."""
    shape = Shape(detectors=("street-n", "street-s"), n_blocks=1, n_requests=8)
    run = synthetic_run(tmp_path, shape)
    found = read_run(run.dir, message_hz=2.0, detector="street-s")
    assert len(found.curve) == 16
    names = run.sql("SELECT name FROM configurations WHERE detector = 'street-s'")
    assert set(found.settings) == set(names["name"].to_pylist())
    rows = run.sql(
        "SELECT name, metric, value FROM summary JOIN configurations "
        "USING (configuration) WHERE metric IN ('prepared_bytes', 'f1')"
    ).to_pylist()
    last = found.setting(found.curve.knobs[-1])
    values = {row["metric"]: row["value"] for row in rows if row["name"] == last}
    assert found.curve.rates_bps[-1] == pytest.approx(16 * values["prepared_bytes"])
    assert found.curve.qualities[-1] == pytest.approx(values["f1"])
    assert found.curve.frontier().n_dominated == 0
    assert read_run(run.dir, message_hz=1.0).curve.name == "street-n f1"


def test_bad_run(tmp_path: Path) -> None:
    """A run without what a curve needs says what it has."""
    run = synthetic_run(tmp_path, Shape(detectors=("street-n",), is_measured=False))
    with pytest.raises(DataError, match="found: street-n"):
        read_run(run.dir, message_hz=1.0, detector="street-s")
    with pytest.raises(DataError, match="configuration 0: expected the metric map"):
        read_run(run.dir, message_hz=1.0, metric="map")
    with pytest.raises(DataError, match="images per second above 0"):
        read_run(run.dir, message_hz=0.0)
    with pytest.raises(StoreError):
        read_run(tmp_path / "nowhere", message_hz=1.0)
