"""The greedy on concave hulls."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.deploy.rates.instances import seed_demands, small_demands
from tests.support.rates_reference import best_value, upper_hull

from midhaul.deploy.curves.qos_curve import QosCurve
from midhaul.deploy.rates import Demands, ExactKnapsack, HullGreedy
from midhaul.deploy.rates.base import weighted_values
from midhaul.deploy.rates.hull import FlatProblem, Hulls, _Core, _pay, falling, total
from midhaul.deploy.rates.kernels import best_pair, segments

if TYPE_CHECKING:
    from collections.abc import Callable


@settings(max_examples=200, deadline=None)
@given(demands=small_demands())
def test_hull(demands: Demands) -> None:
    """The kernel's hulls are those of the definition."""
    values = weighted_values(demands)
    streams, ends, extra_rates, extra_values, slopes = segments(
        demands.offsets, demands.rates_bps, values, np.inf
    )
    for stream, begin in enumerate(demands.offsets[:-1]):
        own = slice(begin, demands.offsets[stream + 1])
        expected = upper_hull(demands.rates_bps[own], values[own])
        mine = streams == stream
        # Three steps on one line may differ by rounding; their hull is the same.
        assert set(expected) <= set(ends[mine] - begin) or len(expected) == 0
        assert (np.diff(slopes[mine]) < 0).all()
        last = begin + expected[-1] if expected else None
        total = demands.rates_bps[last] if last is not None else 0.0
        assert extra_rates[mine].sum() == pytest.approx(total)
        best = values[own].max() if last is not None else 0.0
        assert extra_values[mine].sum() == pytest.approx(best)


@settings(max_examples=200, deadline=None)
@given(demands=small_demands(), uplink_bps=st.floats(0, 200_000))
def test_between_half_and_bound(demands: Demands, uplink_bps: float) -> None:
    """It has at least half of its bound, and the optimum is not above the bound."""
    best = best_value(demands, uplink_bps)
    for allocator in (HullGreedy(n_rounds=0), HullGreedy()):
        answer = allocator.allocate(demands, uplink_bps)
        assert answer.value <= best + 1e-9
        assert answer.bound >= best - 1e-9
        assert answer.value >= answer.bound / 2 - 1e-9


@settings(max_examples=100, deadline=None)
@given(demands=small_demands(), uplink_bps=st.floats(0, 200_000))
def test_rounds_only_help(demands: Demands, uplink_bps: float) -> None:
    """Each round gives at least what there was before it."""
    values = [
        HullGreedy(gap=0.0, n_rounds=n).allocate(demands, uplink_bps).value
        for n in (0, 1, 2, 200)
    ]
    assert (np.diff(values) >= -1e-9).all()


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_best_pair(data: st.DataObject) -> None:
    """The kernel finds the pair that trying all pairs finds."""
    moves = data.draw(
        st.lists(
            st.tuples(st.integers(0, 3), st.integers(-9, 9), st.integers(-9, 9)),
            max_size=8,
        )
    )
    moves.sort(key=lambda move: move[1])
    rest = data.draw(st.integers(0, 6))
    singles = [value for _, rate, value in moves if rate <= rest]
    pairs = [
        a[2] + b[2]
        for i, a in enumerate(moves)
        for b in moves[:i]
        if a[0] != b[0] and a[1] + b[1] <= rest
    ]
    streams, rates, values = np.array(moves or np.zeros((0, 3))).reshape(-1, 3).T
    found = best_pair(
        streams.astype(np.int64), rates.astype(float), values.astype(float), float(rest)
    )
    assert found[2] == max([0, *singles, *pairs])


@settings(max_examples=100, deadline=None)
@given(numbers=st.lists(st.integers(0, 5), max_size=40))
def test_falling_order_is_stable(numbers: list[int]) -> None:
    """Equal numbers stay in their order, on any machine."""
    expected = sorted(range(len(numbers)), key=lambda i: -numbers[i])
    assert falling(np.array(numbers, np.float64)).tolist() == expected


@pytest.mark.parametrize("shape", ["concave", "convex", "sigmoid", "steps"])
def test_many_streams_are_no_cliff(shape: str) -> None:
    """With thousands of streams it stays near the optimum and near sorting in time.

    The ratio is of processor time in one process, and has room: it was up to 80.
    """
    rng = np.random.default_rng(3)
    curves = [shaped_curve(shape, rng) for _ in range(4)]
    n = 2500
    demands = Demands.of(
        [f"s{i}" for i in range(n)],
        np.round(rng.random(n), 3).tolist(),
        [curves[i] for i in rng.integers(0, 4, n)],
    )
    slopes = np.repeat(demands.weights, np.diff(demands.offsets)) * demands.qualities
    sorting_s = least_time(lambda: np.argsort(slopes, kind="stable"))
    for uplink_bps in (10e6, 78e6, 625e6):
        answer = HullGreedy().allocate(demands, uplink_bps)
        best = ExactKnapsack().allocate(demands, uplink_bps)
        assert answer.value >= 0.98 * best.value
        hull_s = least_time(lambda c=uplink_bps: HullGreedy().allocate(demands, c))
        assert hull_s <= 15 * sorting_s + 1e-3


def shaped_curve(shape: str, rng: np.random.Generator) -> QosCurve:
    """A curve of 26 steps between 10 kbit/s and 1 Mbit/s."""
    rates = np.sort(rng.uniform(1e4, 1e6, 26))
    x = rates / 1e6
    qualities = {
        "concave": np.sqrt(x),
        "convex": x**3,
        "sigmoid": 1 / (1 + np.exp(-12 * (x - 0.5))),
        "steps": np.sort(rng.random(26)),
    }[shape]
    return QosCurve.of(shape, np.arange(26.0), rates, qualities)


def least_time(work: Callable[[], object]) -> float:
    """Processor time of the fastest of five goes."""
    times: list[float] = []
    for _ in range(5):
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return min(times)


def test_price() -> None:
    """The price is the slope at the break, and 0 where everybody has the best step."""
    rates, qualities = np.array([1e5, 3e5]), np.array([0.6, 0.8])
    curve = QosCurve.of("a", np.arange(2.0), rates, qualities)
    demands = Demands.of("ab", [1.0, 1.0], [curve, curve])
    tight = HullGreedy().allocate(demands, 3.5e5)
    assert tight.price_per_bps == pytest.approx(0.2 / 2e5)
    assert tight.bound == pytest.approx(1.2 + 0.2 / 2e5 * 1.5e5)
    wide = HullGreedy().allocate(demands, 6e5)
    assert wide.price_per_bps == 0
    assert wide.status == "optimal"


@pytest.mark.parametrize("allocator", [HullGreedy(), ExactKnapsack()], ids=repr)
def test_price_of_what_is_out_of_reach(
    allocator: HullGreedy | ExactKnapsack,
) -> None:
    """Steps that cost more than the uplink have a price all the same."""
    rates, qualities = np.array([1e5, 3e5]), np.array([0.6, 0.8])
    curve = QosCurve.of("a", np.arange(2.0), rates, qualities)
    answer = allocator.allocate(Demands.of("a", [1.0], [curve]), 2e5)
    assert answer.value == answer.bound == 0.6
    assert answer.price_per_bps == pytest.approx(0.2 / 2e5)


@pytest.mark.parametrize("uplink_bps", [2.5e6, 5e6, 10e6])
def test_near_the_optimum(uplink_bps: float) -> None:
    """On the seed's tables it reaches 0.98 of the optimum on average."""
    rng = np.random.default_rng(5)
    ratios = []
    for n in (8, 20, 35, 60):
        demands = seed_demands(n, rng)
        greedy = HullGreedy().allocate(demands, uplink_bps)
        best = ExactKnapsack().allocate(demands, uplink_bps)
        ratios.append(greedy.value / best.value)
    assert np.mean(ratios) >= 0.98


@settings(max_examples=100, deadline=None)
@given(demands=small_demands(), uplink_bps=st.floats(0, 200_000))
def test_payments_balance(demands: Demands, uplink_bps: float) -> None:
    """A change that others pay fits, and adds just the value that it says."""
    problem = FlatProblem(
        offsets=demands.offsets,
        rates_bps=demands.rates_bps,
        values=weighted_values(demands),
        uplink_bps=uplink_bps,
    )
    hulls = Hulls.of(problem)
    found = hulls.greedy()
    before = total(problem.values, found.options)
    gain = _pay(problem, hulls, found, _Core(problem, found, 1000), 100)
    assert gain >= 0
    assert total(problem.values, found.options) == pytest.approx(before + gain)
    assert total(problem.rates_bps, found.options) <= uplink_bps * (1 + 1e-9)
    own = found.options[found.options >= 0]
    streams = np.searchsorted(demands.offsets, own, side="right") - 1
    assert streams.tolist() == np.flatnonzero(found.options >= 0).tolist()
