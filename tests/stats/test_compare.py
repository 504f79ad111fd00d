"""Tests of comparing runs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midhaul.model.samples import MetricSamples
from midhaul.stats.compare import compare


def mean_of(
    values: np.ndarray, prefix: str = "u", *, metric: str = "m", better: str = "lower"
) -> MetricSamples:
    """The mean of some units' values, as a metric."""
    return MetricSamples(
        metric=metric,
        configuration="c",
        units=tuple(f"{prefix}{i}" for i in range(len(values))),
        statistic=lambda w: w @ values / w.sum(axis=1),
        better=better,  # type: ignore[arg-type]
        unit="s",
    )


def rng() -> np.random.Generator:
    """The same chance for every test."""
    return np.random.default_rng(0)


def test_what_units_share_cancels_out() -> None:
    """A small shift under large noise is found when the units are the same."""
    noise = rng().normal(10, 5, 60)
    shift = rng().normal(0.3, 0.1, 60)
    (found,) = compare([mean_of(noise)], [mean_of(noise + shift)], rng())
    assert found.is_paired
    assert found.n == (60, 60)
    assert found.result == "worse"
    assert found.difference.low < shift.mean() < found.difference.high
    assert found.difference.value == pytest.approx(shift.mean())
    assert found.ratio.low < (found.second / found.first) < found.ratio.high
    (apart,) = compare([mean_of(noise)], [mean_of(noise + shift, "v")], rng())
    assert not apart.is_paired
    assert apart.result == "tie"


def test_better_knows_its_direction() -> None:
    """More is better where the metric says so, and order of runs turns it round."""
    low, high = rng().normal(1, 0.01, 30), rng().normal(2, 0.01, 30)
    for better, results in (("lower", "worse"), ("higher", "better")):
        one, two = mean_of(low, better=better), mean_of(high, better=better)
        assert compare([one], [two], rng())[0].result == results
        assert compare([two], [one], rng())[0].result != results


def test_a_run_ties_with_itself() -> None:
    """No difference at all is a tie, with a ratio of one."""
    one = mean_of(rng().normal(1, 1, 20))
    (found,) = compare([one], [one], rng())
    assert (found.result, found.difference.value, found.ratio.value) == ("tie", 0, 1)


def test_units_that_only_one_run_has_do_not_count() -> None:
    """Both sides are judged over the units they share."""
    values = rng().normal(1, 0.1, 30)
    more = np.concatenate([values, np.full(10, 100.0)])
    (found,) = compare([mean_of(values)], [mean_of(more)], rng())
    assert found.n == (30, 30)
    assert found.first == pytest.approx(found.second)


def test_only_what_both_have_is_compared_in_order() -> None:
    """Metrics are paired by name and configuration."""
    values = rng().normal(1, 0.1, 5)
    one = [mean_of(values, metric=name) for name in ("a", "b", "c")]
    two = [mean_of(values, metric=name) for name in ("c", "x", "a")]
    assert [found.metric for found in compare(one, two, rng())] == ["a", "c"]
    assert compare(one, [], rng()) == []


def test_too_few_units_are_not_judged() -> None:
    """One unit, or none, tells nothing, which is said as unknown."""
    for n in (0, 1):
        with np.errstate(invalid="ignore"):
            one, two = mean_of(np.ones(n)), mean_of(np.full(n, 2.0), "v")
            (found,) = compare([one], [two], rng())
        assert found.result == "unknown"
        assert math.isnan(found.p_value)


def test_a_metric_of_zero_has_no_ratio() -> None:
    """The difference stands alone, and nothing warns."""
    (found,) = compare([mean_of(np.zeros(9))], [mean_of(np.ones(9))], rng())
    assert math.isnan(found.ratio.value)
    assert found.difference.value == 1


def test_many_comparisons_of_nothing_seldom_differ() -> None:
    """Among forty metrics of pure chance, Holm lets hardly one stand out."""
    chance = rng()
    one = [mean_of(chance.normal(0, 1, 40), metric=f"m{i}") for i in range(40)]
    two = [mean_of(chance.normal(0, 1, 40), metric=f"m{i}") for i in range(40)]
    found = compare(one, two, rng())
    assert sum(c.result != "tie" for c in found) <= 1


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 30), st.floats(-2, 2), st.integers(0, 5))
def test_swapping_the_runs_swaps_the_sign(n: int, shift: float, seed: int) -> None:
    """The difference of the second to the first is minus that of the first."""
    values = np.random.default_rng(seed).normal(5, 1, n)
    one, two = mean_of(values), mean_of(values + shift)
    (there,) = compare([one], [two], rng())
    (back,) = compare([two], [one], rng())
    assert there.difference.value == pytest.approx(-back.difference.value)
    assert there.difference.low == pytest.approx(-back.difference.high)
