"""Tests of ``midhaul run --strict`` and ``--gate``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from midhaul.cli.compare import Bound
from midhaul.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Midhaul

KEYS = ("configuration", "metric", "value", "low", "high", "unit", "bound", "remark")


def row(value: float | None, bound: str | None = None) -> dict[str, object]:
    """A row of a summary."""
    known = {"name": "edge", "configuration": 0, "metric": "p99", "unit": "s"}
    nothing: dict[str, object] = dict.fromkeys(KEYS)
    return {**nothing, **known, "value": value, "bound": bound}


@pytest.mark.parametrize(
    ("gate", "value", "bound", "passes"),
    [
        ("p99<=0.2", 0.1, None, True),
        ("p99<=0.2", 0.3, None, False),
        ("p99>=0.2", 0.3, None, True),
        ("p99>=0.2", 0.1, None, False),
        ("p99<=0.2", 0.1, ">=", False),
        ("p99<=0.2", 0.3, ">=", False),
        ("p99>=0.2", 0.3, ">=", True),
        ("p99>=0.2", 0.3, "<=", False),
        ("p99<=0.2", None, None, False),
    ],
)
def test_a_bound_holds_only_where_that_is_known(
    gate: str,
    value: float | None,
    bound: str | None,
    passes: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """A number that is missing, or known from one side, does not pass by luck."""
    said = Bound.parse(gate).judge(row(value, bound))
    assert (said is None) == passes
    if not passes:
        assert said is not None
        assert said.startswith("p99 of edge ")


def test_bounds_are_read_strictly() -> None:
    """A configuration may stand in front; anything else is refused."""
    found = Bound.parse("street-n, jpeg:50: ap >= 0.3")
    assert (found.name, found.metric, found.sign) == ("street-n, jpeg:50", "ap", ">=")
    for text in ("ap", "ap<0.3", "ap==3", "ap<=x", "<=3", "ap<=nan"):
        with pytest.raises(ConfigError):
            Bound.parse(text)


def test_a_run_ends_with_4_where_a_gate_says_no(
    midhaul: Midhaul, toy_file: Path
) -> None:
    """The run is kept and shown; what it does not hold is said behind it."""
    held = midhaul("run", str(toy_file), "--no-report", "--gate", "total<=1e9")
    assert held.code == 0, held.err
    broken = midhaul("run", str(toy_file), "--no-report", "--gate", "0:total>=1e9")
    assert broken.code == 4
    assert "gate: total of 0 is" in broken.err
    assert "total" in broken.out
    wrong = midhaul("run", str(toy_file), "--no-report", "--gate", "totla<=1")
    assert wrong.code == 2
    assert "did you mean 'total'" in wrong.err


def test_strict_refuses_a_run_that_is_not_valid(
    midhaul: Midhaul, toy_file: Path
) -> None:
    """A valid one passes; without --strict a doubtful run ends with 0 as before."""
    doubtful = [str(toy_file), "--no-report", "--set", "factor=-1.0"]
    assert midhaul("run", *doubtful).code == 0
    said = midhaul("run", *doubtful, "--strict")
    assert said.code == 4
    assert "is not valid: Values may not be negative." in said.err
    assert midhaul("run", *doubtful[:2], "--strict").code == 0
