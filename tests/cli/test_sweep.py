"""Tests of ``midhaul sweep``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from midhaul.cli.run import parse_over
from midhaul.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Midhaul


def test_a_sweep_ends_with_a_table_of_points(midhaul: Midhaul, toy_file: Path) -> None:
    """A failed point is a row, the exit code is 1, and finished ones are skipped."""
    arguments = ["sweep", str(toy_file), "--no-report", "--over", "fail_at=3,20"]
    said = midhaul(*arguments, "--over", "mode=fast,slow")
    assert said.code == 1
    assert "2 of 4 points failed" in said.err
    assert said.out.count("step 3 failed") == 2
    said = midhaul(*arguments, "--over", "mode=fast,slow", "--json")
    points = json.loads(said.out)["points"]
    assert [p["status"] for p in points] == ["failed", "failed", "skipped", "skipped"]
    assert points[2]["settings"] == {"fail_at": 20, "mode": "fast"}
    assert points[2]["is_valid"] is True


def test_a_file_with_a_sweep_is_not_one_run(midhaul: Midhaul, toy_file: Path) -> None:
    """Run says that the file is for sweep."""
    toy_file.write_text(toy_file.read_text() + "[sweep]\nseed = [1, 2]\n")
    said = midhaul("run", str(toy_file))
    assert (said.code, "midhaul sweep" in said.err) == (2, True)
    assert midhaul("sweep", str(toy_file), "--no-report").out.count("done") == 2


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a.b=1,2.5", [1, 2.5]),
        ("a=x,y", ["x", "y"]),
        ("a=keep, jpeg:75", ["keep", "jpeg:75"]),
        ('a=[1,2],["x"]', [[1, 2], ["x"]]),
        ("a=true", [True]),
    ],
)
def test_values_are_parted_by_commas(text: str, values: list[object]) -> None:
    """As TOML when they are TOML, else each by itself."""
    key, found = parse_over(text)
    assert key == text.partition("=")[0]
    assert [override.value for override in found] == values


def test_no_values_are_refused() -> None:
    """A key alone varies nothing."""
    for text in ("a", "a="):
        with pytest.raises(ConfigError):
            parse_over(text)


def test_points_are_listed_and_chosen_by_pattern(
    midhaul: Midhaul, toy_file: Path
) -> None:
    """A list runs nothing; a pattern runs what fits, in the group of all points."""
    varied = ["sweep", str(toy_file), "--no-report", "--over", "seed=1,2"]
    assert midhaul(*varied, "--list").out.splitlines() == ["seed=1", "seed=2"]
    assert not (toy_file.parent / "runs").exists()
    said = midhaul(*varied, "--only", "*=2", "--json")
    assert said.code == 0, said.err
    some = json.loads(said.out)
    whole = json.loads(midhaul(*varied, "--json").out)
    assert some["group"] == whole["group"]
    assert [point["settings"] for point in some["points"]] == [{"seed": 2}]
    assert [p["status"] for p in whole["points"]].count("skipped") == 1
    none = midhaul(*varied, "--only", "x*")
    assert (none.code, "no point fits x*" in none.err) == (2, True)
