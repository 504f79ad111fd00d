"""Tests of ``midhaul compare``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from midhaul.cli.compare import Gate
from midhaul.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Midhaul


@pytest.fixture
def two(midhaul: Midhaul, toy_file: Path) -> tuple[str, str]:
    """Two runs, the second with values 10 % higher."""
    ids = []
    for factor in ("1.0", "1.1"):
        arguments = ["--set", f"factor={factor}", "--json", "--no-report"]
        said = midhaul("run", str(toy_file), *arguments)
        ids.append(json.loads(said.out)["run"]["id"])
    return ids[0], ids[1]


def test_the_second_run_is_judged_next_to_the_first(
    midhaul: Midhaul, two: tuple[str, str]
) -> None:
    """What differs in config stands above what differs in results."""
    found = json.loads(midhaul("compare", *two, "--json").out)
    (metric,) = found["comparisons"]
    assert metric["result"] == "worse"
    assert metric["ratio"]["value"] == pytest.approx(1.1)
    assert metric["is_paired"]
    assert [d["key"] for d in found["differences"]] == ["factor"]
    out = midhaul("compare", *two).out
    assert out.index("factor") < out.index("mean_s")
    assert "better" in midhaul("compare", two[1], two[0]).out
    same = midhaul("compare", two[0], two[0]).out
    assert "tie" in same
    assert "same code, config" in same


@pytest.mark.parametrize(
    ("gate", "code", "code_back"),
    [
        ("±5%", 1, 0),
        ("5%", 1, 0),
        ("+-5%", 1, 0),
        ("±20%", 0, 0),
        ("+5%", 1, 0),
        ("-5%", 0, 1),
        ("+20%", 0, 0),
    ],
)
def test_a_gate_exits_with_1_on_a_regression(
    midhaul: Midhaul, two: tuple[str, str], gate: str, code: int, code_back: int
) -> None:
    """Its sign says which direction is bounded, its size how much is allowed."""
    there = midhaul("compare", *two, "--gate", f"mean_s={gate}")
    back = midhaul("compare", *reversed(two), "--gate", f"mean_s={gate}")
    assert (there.code, back.code) == (code, code_back)
    assert ("gate: mean_s of all changed by +10.0%" in there.err) == (code == 1)


def test_an_unknown_metric_of_a_gate_is_bad_input(
    midhaul: Midhaul, two: tuple[str, str]
) -> None:
    """A gate that guards nothing must not pass."""
    said = midhaul("compare", *two, "--gate", "mena_s=5%")
    assert said.code == 2
    assert "did you mean 'mean_s'" in said.err


def test_gates_are_read_strictly() -> None:
    """A gate without metric, number or percent sign is refused."""
    assert str(Gate.parse("a=+2.5%")) == "+2.5 %"
    for text in ("a", "a=5", "=5%", "a=x%", "a=*5%"):
        with pytest.raises(ConfigError):
            Gate.parse(text)
