"""Tests of how values are shown."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midhaul.cli.check import extras
from midhaul.cli.guard import EXTRAS
from midhaul.cli.output import print_json, print_table, shown
from midhaul.cli.runs import age_text
from midhaul.model.display import number
from midhaul.runs.progress import LineProgress


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1.0, "1"),
        (0.123456, "0.1235"),
        (12345.6, "12,346"),
        (1.5e-7, "1.500e-07"),
        (2.5e9, "2,500,000,000"),
        (2.5e12, "2.500e+12"),
        (math.nan, "-"),
        (math.inf, "inf"),
        (-0.5, "-0.5"),
    ],
)
def test_numbers_have_four_digits(value: float, text: str) -> None:
    """Whatever the size, four digits are shown."""
    assert number(value) == text


@given(st.floats(-1e300, 1e300))
def test_a_shown_number_is_near_the_value(value: float) -> None:
    """What is shown is off by less than a tenth of a percent."""
    assert float(number(value).replace(",", "")) == pytest.approx(
        value, rel=1e-3, abs=1e-12
    )


def test_other_values_are_shown_as_words() -> None:
    """None is a dash, truth is yes or no."""
    assert [shown(v) for v in (None, True, False, 3, "a")] == [
        "-",
        "yes",
        "no",
        "3",
        "a",
    ]


def test_tables_off_a_terminal_are_for_programs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A pipe gets TSV with numbers in full; a wide table is aligned there as well."""
    rows = [["x" * 300, 1.23456789, None], ["y\tz\nw", 20, True]]
    print_table(["a", "b", "c"], rows)
    out = capsys.readouterr().out
    assert out == f"a\tb\tc\n{'x' * 300}\t1.23456789\t\ny z w\t20\ttrue\n"
    print_table(["a", "b", "c"], rows, wide=True)
    first = capsys.readouterr().out.splitlines()[2]
    assert first.split() == ["x" * 300, "1.235", "-"]


def test_json_has_null_where_there_is_no_number(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """NaN and infinity are not JSON."""
    print_json({"a": [math.nan, math.inf, 1.0], "b": (1, {"c": math.nan})})
    found = json.loads(capsys.readouterr().out)
    assert found == {"a": [None, None, 1.0], "b": [1, {"c": None}]}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 s"), (59, "59 s"), (60, "1 min"), (7200, "2 h"), (200_000, "2 d")],
)
def test_ages_have_their_largest_unit(seconds: float, text: str) -> None:
    """An age is one number with one unit."""
    assert age_text(seconds) == text


def test_progress_off_a_terminal_is_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """A line per task on stderr, and nothing on stdout."""
    progress = LineProgress()
    with progress.task("cells", 3) as task:
        for _ in range(3):
            task.advance()
    progress.note("a note")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "cells: 3\na note\n"


def test_every_optional_library_has_an_extra_that_there_is() -> None:
    """What a message tells to install can be installed."""
    assert set(EXTRAS.values()) <= set(extras())
