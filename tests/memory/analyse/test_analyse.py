"""Days of viewing: what a run of memory.analyse writes, against plain sums."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from midhaul.errors import DataError, MidhaulError
from midhaul.memory.analyse.config import AnalyseConfig
from midhaul.memory.analyse.experiment import analyse
from midhaul.memory.analyse.tables import SHIFTS
from midhaul.memory.sources.drawn_puffer import draw_days
from midhaul.memory.sources.puffer import CHUNK_S, read_day
from midhaul.memory.sources.viewings import read_schemes, read_viewings, viewings_of
from midhaul.runs.progress import SilentProgress
from midhaul.runs.run import Run

if TYPE_CHECKING:
    from pathlib import Path


def run_of(folder: Path, **keys: Any) -> Run:
    """A run of a config."""
    config = AnalyseConfig.model_validate_json(json.dumps({"n_resamples": 100, **keys}))
    run = Run.create(folder, "memory.analyse", config)
    analyse(config, run, SilentProgress())
    run.finish()
    return run


def test_stalls_and_decibels_are_those_of_a_plain_loop(tmp_path: Path) -> None:
    """Each stream's numbers agree with going through its chunks."""
    day = draw_days(tmp_path, n_days=1, n_streams=6, seed=3)[0]
    chunks = read_day(day.sent, day.acked)
    found = viewings_of(chunks, "d", {0: "bba"}, least_s=0.0)
    assert set(found.abr) == {"bba", "experiment 1", "experiment 2"}
    for number in range(len(found)):
        mine = np.flatnonzero(chunks.stream == number)
        playing = next(i for i in mine if chunks.buffer_s[i] > 0)
        stall_s = chunks.stalled_s[mine[-1]] - chunks.stalled_s[playing]
        assert found.stall_s[number] == pytest.approx(stall_s)
        play_s = (len(mine) - 1) * CHUNK_S - chunks.buffer_s[mine[-1]]
        assert found.play_s[number] == pytest.approx(play_s)
        decibels = [-10 * np.log10(1 - chunks.ssim[i]) for i in mine]
        assert found.ssim_db[number] == pytest.approx(np.mean(decibels))
        changes = np.mean(np.abs(np.diff(decibels)))
        assert found.variation_db[number] == pytest.approx(changes)
    assert len(viewings_of(chunks, "d", {}, least_s=1e6)) == 0


def test_a_run_has_days_differences_and_shifts(tmp_path: Path) -> None:
    """The drawn days slow down: their samples move away from the first day's."""
    run = run_of(tmp_path, viewing={"n_days": 3, "n_streams": 60})
    shifts = [
        row for row in run.read(SHIFTS).to_pylist() if row["what"] == "delivery_rate"
    ]
    assert shifts[0]["jsd"] == pytest.approx(0, abs=1e-3)
    assert 0 < shifts[1]["jsd"] < shifts[2]["jsd"] < 1
    assert run.count("differences") == 2 * 3
    assert run.count("days") == 3 * 3 * 3


def test_a_table_of_streams_is_weighed_by_time(tmp_path: Path) -> None:
    """The stalled share and the SSIM of a table are those of its sums."""
    table = pa.table(
        {
            "abr": ["a", "a", "b", "a"],
            "day": ["1", "2", "1", "2"],
            "ssim_db": [10.0, 16.0, 12.0, 99.0],
            "variation_db": [0.5, 0.7, None, 0.1],
            "stall_s": [10.0, 0.0, 1.0, 0.0],
            "play_s": [90.0, 30.0, 99.0, 1.0],
        }
    )
    file = tmp_path / "streams.parquet"
    pq.write_table(table, file)
    run = run_of(tmp_path / "runs", viewing={"kind": "table", "file": str(file)})
    found = {(r["configuration"], r["metric"]): r for r in run.summary.rows}
    assert found[0, "stalled_share"]["value"] == pytest.approx(10 / 130)
    assert found[0, "ssim_db"]["value"] == pytest.approx((900 + 480) / 120)
    assert found[1, "variation_db"]["value"] is None
    assert found[0, "n_streams"]["value"] == 2
    assert "1 of 4 streams" in " ".join(run.verdict.remarks)


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    """A missing column, nothing that played, an unknown baseline, no settings."""
    file = tmp_path / "a.csv"
    file.write_text("abr,day\na,1\n", encoding="utf-8")
    with pytest.raises(DataError, match="ssim_db"):
        read_viewings(file)
    head = "abr,day,ssim_db,variation_db,stall_s,play_s\n"
    file.write_text(f"{head}a,1,12,0.1,0,1\n", encoding="utf-8")
    with pytest.raises(DataError, match="streams that played"):
        read_viewings(file)
    file.write_text(f"{head}a,1,12,0.1,0,100\n", encoding="utf-8")
    with pytest.raises(MidhaulError, match="baseline"):
        run_of(
            tmp_path / "runs",
            viewing={"kind": "table", "file": str(file)},
            baseline="nobody",
        )
    for wrong in ('x {"abr": "a"}', "7 [1]", "7 nothing"):
        file.write_text(wrong, encoding="utf-8")
        with pytest.raises(DataError, match="expected an experiment"):
            read_schemes(file)


def test_schemes_have_names(tmp_path: Path) -> None:
    """The settings of experiments name the scheme and the congestion control."""
    file = tmp_path / "expt_settings"
    lines = ('3 {"abr_name": "fugu_feb", "cc": "bbr"}', "", '4 {"abr": "bba"}', "5 {}")
    file.write_text("\n".join(lines), encoding="utf-8")
    assert read_schemes(file) == {3: "fugu_feb/bbr", 4: "bba", 5: "experiment 5"}


def test_days_of_a_folder_are_chosen_by_their_names(tmp_path: Path) -> None:
    """Of three days one is read; downloaded ones are there already, none is missing."""
    folder = tmp_path / "days"
    draw_days(folder, n_days=3, n_streams=12, seed=0)
    for kind in ("puffer", "download"):
        viewing = {"kind": kind, "folder": str(folder), "days": ["2026-01-02"]}
        run = run_of(tmp_path / kind, viewing=viewing)
        assert {row["day"] for row in run.read(SHIFTS).to_pylist()} == {
            "2026-01-02T11_2026-01-03T11"
        }
    none = {"kind": "puffer", "folder": str(folder), "days": ["1999"]}
    with pytest.raises(MidhaulError, match="1999"):
        run_of(tmp_path / "none", viewing=none)


@pytest.mark.parametrize(
    ("viewing", "words"),
    [
        ({"kind": "puffer"}, "folder"),
        ({"kind": "table"}, "file"),
        ({"kind": "download", "folder": "a"}, "days"),
    ],
)
def test_what_a_source_needs_is_demanded(viewing: dict[str, str], words: str) -> None:
    """Each kind of days says which key it lacks."""
    with pytest.raises(ValidationError, match=words):
        AnalyseConfig.model_validate_json(json.dumps({"viewing": viewing}))
