"""Tests of ``midhaul compare``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from midhaul.cli.compare import Gate
from midhaul.errors import ConfigError

if TYPE_CHECKING:
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


def test_what_changed_comes_first_and_the_rest_on_demand(
    midhaul: Midhaul, two: tuple[str, str]
) -> None:
    """Ties are counted; --metric and --configuration narrow what is compared."""
    lines = midhaul("compare", *two).out.splitlines()
    told = next(line.split("\t") for line in lines if line.startswith("all\t"))
    assert told[1:5] == ["mean_s", "6.5 s", "7.15 s", "+10 % (+10 to +10)"]
    assert "1 comparison: 1 worse" in lines
    same = midhaul("compare", two[0], two[0])
    assert "all\t" not in same.out
    assert "1 tie; --all prints the other 1" in same.out
    assert "all\t" in midhaul("compare", two[0], two[0], "--all").out
    named = midhaul("compare", *two, "--metric", "mean_s", "--configuration", "al")
    assert "1 worse" in named.out
    wrong = midhaul("compare", *two, "--metric", "mean")
    assert (wrong.code, "did you mean 'mean_s'" in wrong.err) == (2, True)
    assert midhaul("compare", *two, "--configuration", "x").code == 2


def test_runs_of_two_kinds_are_not_compared(
    midhaul: Midhaul, two: tuple[str, str]
) -> None:
    """One sentence says why."""
    file = next(Path().glob(f"**/{two[0]}/manifest.json"))
    file.write_text(file.read_text().replace('"toy.count"', '"testbed.measure"'))
    said = midhaul("compare", *two)
    assert said.code == 2
    assert "only runs of one kind can be compared" in said.err


@pytest.mark.parametrize(
    ("gate", "code", "code_back"),
    [
        ("±5%", 4, 0),
        ("5%", 4, 0),
        ("+-5%", 4, 0),
        ("±20%", 0, 0),
        ("+5%", 4, 0),
        ("-5%", 0, 4),
        ("+20%", 0, 0),
    ],
)
def test_a_gate_exits_with_4_on_a_regression(
    midhaul: Midhaul, two: tuple[str, str], gate: str, code: int, code_back: int
) -> None:
    """Its sign says which direction is bounded, its size how much is allowed."""
    there = midhaul("compare", *two, "--gate", f"mean_s={gate}")
    back = midhaul("compare", *reversed(two), "--gate", f"mean_s={gate}")
    assert (there.code, back.code) == (code, code_back)
    assert ("gate: mean_s of all changed by +10.0%" in there.err) == (code == 4)


def test_a_gate_on_a_run_that_is_not_valid_says_no(
    midhaul: Midhaul, two: tuple[str, str]
) -> None:
    """Whatever its numbers are; without a gate the doubt stands beside them."""
    file = next(Path().glob(f"**/{two[0]}/manifest.json"))
    manifest = json.loads(file.read_text())
    reasons = {"reasons": ["the machine was busy."], "advice": ["Wait."]}
    manifest["verdict"] = {"is_valid": False, "tallies": [], **reasons}
    file.write_text(json.dumps(manifest))
    said = midhaul("compare", two[0], two[0], "--gate", "mean_s=±5%")
    assert said.code == 4
    assert "is not valid: the machine was busy." in said.err
    alone = midhaul("compare", two[0], two[0])
    assert alone.code == 0
    assert "is not valid: the machine was busy." in alone.out


@pytest.mark.parametrize("verb", ["show", "report", "compare"])
def test_an_unknown_run_is_bad_input(
    midhaul: Midhaul, two: tuple[str, str], verb: str
) -> None:
    """It is the user's word that is wrong, not the run."""
    names = ["nobody", two[0]] if verb == "compare" else ["nobody"]
    said = midhaul(verb, *names)
    assert said.code == 2
    assert "there is no run 'nobody'" in said.err


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
