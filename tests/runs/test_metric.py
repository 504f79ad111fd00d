"""A metric is declared once, and what follows from it says the same."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from midhaul.kinds import KINDS
from midhaul.report.numbers import text_of
from midhaul.runs.metric import Metric, declare, metric_table, summary_rows
from midhaul.stats import mean_statistic

RATE = Metric("ok_rate", "answers", unit="Hz", better="higher", over="blocks")
UNITS = ("a", "b", "c")
VALUES = np.array([1.0, 2.0, 6.0])


def test_rows_say_what_is_declared() -> None:
    """Name, unit and kind of a number are the metric's; the value is the statistic."""
    metric = replace(RATE, is_model=True)
    samples = metric.samples("one", UNITS, mean_statistic(VALUES))
    assert (samples.metric, samples.better, samples.unit) == ("ok_rate", "higher", "Hz")
    (row,) = summary_rows([samples], 3, np.random.default_rng(0), 100)
    said = (row["configuration"], row["metric"], row["unit"], row["is_model"])
    assert said == (3, "ok_rate", "Hz", True)
    assert (row["value"], row["n"]) == (3.0, 3)
    point = metric.row(3, 3.0, 3)
    assert point.items() <= row.items()


def test_a_percentile_has_the_unit_and_the_direction_of_its_metric() -> None:
    """A rate's median is better where it is higher, whatever a latency's is."""
    found = RATE.percentile("one", UNITS, VALUES, np.arange(3), q=0.5)
    assert (found.better, found.unit, found.lack != "") == ("higher", "Hz", True)


def test_no_number_is_null_in_a_row() -> None:
    """A value that does not exist is not written as a number."""
    assert RATE.row(0, float("nan"))["value"] is None
    assert RATE.row(0, float("inf"))["value"] is None


def test_a_metric_without_a_direction_cannot_be_compared() -> None:
    """Nobody can be told that it became better."""
    with pytest.raises(ValueError, match="which direction"):
        replace(RATE, better="").samples("one", UNITS, mean_statistic(VALUES))


def test_a_metric_is_declared_once_and_a_headline_is_one() -> None:
    """Two of one name, or a headline of another, are a mistake of the kind."""
    assert declare(RATE, over="x", headline=("ok_rate",))["ok_rate"].is_headline
    for metrics, headline in (((RATE, RATE), ()), ((RATE,), ("other",))):
        with pytest.raises(ValueError, match="declared once"):
            declare(*metrics, headline=headline)


@pytest.mark.parametrize("kind", KINDS)
def test_every_form_can_be_written(kind: str) -> None:
    """Each metric's number has a form: what a report would print is not its name."""
    for metric in KINDS[kind].load_metrics().values():
        assert text_of(metric.form)(0.25) not in {"", metric.form}


def test_what_runs_show_first_is_known_without_extras() -> None:
    """The declarations need the core only, as `ls` and `show` do."""
    code = """
import sys
for name in ("cv2", "numba", "sklearn", "scapy", "onnxruntime", "aiohttp", "altair",
             "psutil", "highspy", "scipy"):
    sys.modules[name] = None
from midhaul.kinds import KINDS
assert all(kind.headline for kind in KINDS.values())
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_table_says_of_each_metric_what_a_declaration_says() -> None:
    """Every word of an entry, in any order, and what the table says for all."""
    text = """
    n_calls, lower, "calls: all" as {:,.2f}: mean number: of providers
        asked
    bound_usd [USD/1], headline, model, over "items, in comparisons": none is cheaper
    rest, as share: the rest
    """
    calls, bound, rest = metric_table(text, over="items")
    assert calls == Metric(
        "n_calls",
        "mean number: of providers asked",
        better="lower",
        heading="calls: all",
        form="{:,.2f}",
        over="items",
    )
    assert (bound.unit, bound.over) == ("USD/1", "items, in comparisons")
    assert bound.is_model
    assert bound.is_headline
    assert (rest.form, rest.better, rest.is_model) == ("share", "", False)


@pytest.mark.parametrize("entry", ["a", "a, highr: b", "a, as: b", "a , lower: b"])
def test_a_word_that_means_nothing_in_a_table_is_refused(entry: str) -> None:
    """A slip of the pen is no unit, heading or part of the text."""
    with pytest.raises(ValueError, match="expected 'name"):
        metric_table(entry)
