"""Tests of comparing runs."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midhaul.model.estimate import MetricSamples
from midhaul.stats import percentile_samples
from midhaul.stats.compare import MetricComparison, compare


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
    """Of no unit there is no value; one has no spread to judge by."""
    for n, result in ((0, "unknown"), (1, "cannot tell")):
        with np.errstate(invalid="ignore"):
            one, two = mean_of(np.ones(n)), mean_of(np.full(n, 2.0), "v")
            (found,) = compare([one], [two], rng())
        assert found.result == result
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
    assert sum(c.result in {"better", "worse"} for c in found) <= 1


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


@pytest.mark.parametrize("n", [2, 4, 5, 6, 8, 9])
def test_a_total_loss_on_few_units_is_no_tie(n: int) -> None:
    """All units fall from 1 to 0 beside a dozen other metrics: no chance to show it."""
    names = [f"m{i}" for i in range(12)]
    one = [mean_of(np.ones(n), metric=name, better="higher") for name in names]
    two = [mean_of(np.zeros(n), metric=name, better="higher") for name in names]
    results = {found.result for found in compare(one, two, rng())}
    assert results == ({"cannot tell"} if n < 9 else {"worse"})


def test_half_a_loss_under_noise_is_no_tie() -> None:
    """Seven noisy units that lost half on average leave everything open."""
    before = np.array([1.0, 0.9, 1.0, 0.2, 1.0, 0.8, 1.0])
    after = np.array([0.1, 1.0, 0.0, 0.9, 0.3, 1.0, 0.1])
    pair = [[mean_of(v, better="higher")] for v in (before, after)]
    (found,) = compare(*pair, rng())
    assert found.result == "cannot tell"
    assert found.reason == "half or double the value is not ruled out"


def bounded(values: np.ndarray, known_below: float) -> MetricSamples:
    """The mean of values, which is a bound from some value on."""
    return replace(mean_of(values), known_below=known_below)


def test_a_bound_is_never_better_by_luck() -> None:
    """What is only known to be larger may be worse, and what is below it better."""
    fast, slow = rng().normal(1, 0.01, 30), rng().normal(2, 0.01, 30)
    cases = {
        "worse": (bounded(fast, math.inf), bounded(slow, 1.5)),
        "better": (bounded(slow, 1.5), bounded(fast, math.inf)),
    }
    for result, (one, two) in cases.items():
        (found,) = compare([one], [two], rng())
        assert found.result == result
    for pair in (
        (bounded(slow, math.inf), bounded(fast, 0.5)),
        (bounded(fast, 0.5), bounded(slow, math.inf)),
        (bounded(fast, 0.5), bounded(fast, 0.5)),
    ):
        (found,) = compare([pair[0]], [pair[1]], rng())
        assert found.result == "cannot tell"
        assert ">=" in found.bounds


def test_percentiles_are_compared_at_what_the_smaller_run_carries() -> None:
    """A claim of few values lies farther out; that is no difference of the runs."""
    chance = rng()

    def p90(n: int) -> MetricSamples:
        values, index = chance.exponential(size=n), np.arange(n) * 20 // n
        units = tuple(f"{n} {i}" for i in range(20))
        return percentile_samples(
            values, index, units, q=0.9, metric="p90", configuration="c"
        )

    few, many = p90(100), p90(20_000)
    claims = [float(s.statistic(np.ones((1, 20)))[0]) for s in (few, many)]
    (found,) = compare([few], [many], rng())
    assert found.first == claims[0]
    assert found.second > claims[1]
    assert found.result in {"tie", "cannot tell"}


def test_a_percentile_that_too_few_values_carry_cannot_be_told() -> None:
    """And says what it lacks."""
    units = tuple(map(str, range(10)))
    one = percentile_samples(
        np.arange(20.0),
        np.arange(20) % 10,
        units,
        q=0.99,
        metric="p",
        configuration="c",
    )
    (found,) = compare([one], [one], rng())
    assert found.result == "cannot tell"
    assert found.reason == "p99 needs 662 values, found 20"


def _width(found: MetricComparison) -> float:
    return found.difference.high - found.difference.low


@pytest.mark.parametrize("prefix", ["u", "v"])
def test_what_drifts_spreads_farther(prefix: str) -> None:
    """By ``n ** (H - 1/2)``, paired or not; parts of one stretch of time are one."""
    one = mean_of(rng().normal(10, 1, 64))
    two = mean_of(rng().normal(10, 1, 64)[::-1].copy(), prefix)

    def widths(n_stretches: int | None) -> float:
        changed = [replace(each, n_stretches=n_stretches) for each in (one, two)]
        return _width(compare([changed[0]], [changed[1]], rng())[0])

    calm = widths(None)
    assert widths(64) / calm == pytest.approx(64**0.25)
    assert widths(16) / calm == pytest.approx(2 * 16**0.25)
    assert widths(1) / calm == pytest.approx(8)


def test_a_drifting_thing_is_not_called_different_from_itself() -> None:
    """Noise with long memory, H = 0.75, one half against the other, whatever its n."""
    chance, n_different = rng(), 0
    for number in range(120):
        n = (6, 20, 60)[number % 3]
        steps = np.abs(np.subtract.outer(np.arange(2 * n), np.arange(2 * n)))
        power = 1.5
        likeness = (
            np.abs(steps + 1.0) ** power
            - 2.0 * steps**power
            + np.abs(steps - 1.0) ** power
        ) / 2
        noise = chance.multivariate_normal(np.full(2 * n, 20.0), likeness)
        one, two = mean_of(noise[:n]), mean_of(noise[n:], "v")
        changed = [replace(each, n_stretches=n) for each in (one, two)]
        (found,) = compare([changed[0]], [changed[1]], chance)
        n_different += found.result in ("better", "worse")
    assert n_different <= 10  # 5 % of 120 and what chance adds
