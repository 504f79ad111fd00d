"""All rate allocators, held to the same promises."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.deploy.rates.instances import random_demands, seed_demands, small_demands

from midhaul.deploy.curves.qos_curve import QosCurve
from midhaul.deploy.curves.seed_curves import seed_model
from midhaul.deploy.rates import (
    Demands,
    EvenSplit,
    ExactKnapsack,
    HullGreedy,
    MaxMinFair,
    ProportionalFair,
    Raa,
    RateAllocator,
    WeightedSplit,
    check_allocator,
)
from midhaul.deploy.rates.checks import check_allocation

ALLOCATORS: tuple[RateAllocator, ...] = (
    EvenSplit(),
    WeightedSplit(),
    ProportionalFair(),
    MaxMinFair(),
    Raa(),
    Raa(alpha=0.15, model_of=seed_model),
    HullGreedy(),
    HullGreedy(n_rounds=0),
    ExactKnapsack(),
    ExactKnapsack(grid_bps=1000),
)
each = pytest.mark.parametrize("allocator", ALLOCATORS, ids=lambda a: type(a).__name__)


@each
def test_conforms(allocator: RateAllocator) -> None:
    """It passes the conformance suite of its protocol."""
    check_allocator(allocator, is_optimal=allocator == ExactKnapsack())


@each
@settings(max_examples=40, deadline=None)
@given(demands=small_demands(), uplink_bps=st.floats(0, 200_000))
def test_small(allocator: RateAllocator, demands: Demands, uplink_bps: float) -> None:
    """Its answers fit what was asked, whatever it was."""
    check_allocation(allocator.allocate(demands, uplink_bps), demands, uplink_bps)


@each
def test_seed_kinds(allocator: RateAllocator) -> None:
    """Its answers fit on the seed's tables from an idle to a crowded uplink."""
    rng = np.random.default_rng(3)
    for n in (1, 8, 60):
        demands = seed_demands(n, rng)
        for uplink_bps in (0.0, 10.0, 3e5, 2.5e6, 1e8):
            answer = allocator.allocate(demands, uplink_bps)
            check_allocation(answer, demands, uplink_bps)


@each
def test_many(allocator: RateAllocator) -> None:
    """Ten thousand streams are served."""
    demands = random_demands(10_000, 3, np.random.default_rng(0))
    answer = allocator.allocate(demands, 4e8)
    check_allocation(answer, demands, 4e8)
    assert answer.value > 0


@each
def test_endless_uplink(allocator: RateAllocator) -> None:
    """With an endless uplink everybody who counts gets the best step."""
    demands = seed_demands(12, np.random.default_rng(1))
    answer = allocator.allocate(demands, math.inf)
    best = demands.qualities[demands.offsets[1:] - 1]
    assert answer.value == pytest.approx(demands.weights @ best)


@each
def test_no_weight(allocator: RateAllocator) -> None:
    """Where nobody counts the value is 0 and the rates still fit."""
    whole = seed_demands(6, np.random.default_rng(1))
    demands = Demands(
        names=whole.names,
        weights=np.zeros(6),
        offsets=whole.offsets,
        knobs=whole.knobs,
        rates_bps=whole.rates_bps,
        qualities=whole.qualities,
    )
    answer = allocator.allocate(demands, 1e6)
    check_allocation(answer, demands, 1e6)
    assert answer.value == 0


def test_even_wastes() -> None:
    """Equal shares are granted whole, and unused above the best step."""
    step = QosCurve.of("a", np.ones(1), np.array([1e5]), np.ones(1))
    demands = Demands.of(["a", "b"], [1.0, 3.0], [step, step])
    assert EvenSplit().allocate(demands, 1e6).rates_bps.tolist() == [5e5, 5e5]
    assert WeightedSplit().allocate(demands, 1e6).rates_bps.tolist() == [2.5e5, 7.5e5]


def test_proportional_gives_on() -> None:
    """What one cannot use goes to the others, in proportion to their weights."""
    small = QosCurve.of("small", np.ones(1), np.array([1e5]), np.ones(1))
    large = QosCurve.of("large", np.ones(1), np.array([1e6]), np.ones(1))
    demands = Demands.of("abc", [2.0, 1.0, 2.0], [small, large, large])
    rates = ProportionalFair().allocate(demands, 1e6).rates_bps
    assert rates == pytest.approx([1e5, 3e5, 6e5])


@settings(max_examples=100, deadline=None)
@given(demands=small_demands(), uplink_bps=st.floats(1, 200_000))
def test_proportional_is_optimal(demands: Demands, uplink_bps: float) -> None:
    """Rates below their limits have one weight per rate, and no other has less."""
    rates = ProportionalFair().allocate(demands, uplink_bps).rates_bps
    limits = demands.rates_bps[demands.offsets[1:] - 1] * (demands.weights > 0)
    is_open = rates < limits * (1 - 1e-9)
    if not is_open.any():
        return
    assert rates.sum() == pytest.approx(uplink_bps)
    prices = demands.weights[is_open] / rates[is_open]
    assert prices == pytest.approx(np.full(len(prices), prices[0]))
    is_full = ~is_open & (limits > 0)
    assert (demands.weights[is_full] / rates[is_full] >= prices[0] * (1 - 1e-9)).all()


@settings(max_examples=100, deadline=None)
@given(demands=small_demands(), uplink_bps=st.floats(0, 200_000))
def test_maxmin_leaves_nothing(demands: Demands, uplink_bps: float) -> None:
    """Nobody can be raised by one step with what is left."""
    answer = MaxMinFair().allocate(demands, uplink_bps)
    rest = uplink_bps - answer.rates_bps.sum()
    for analytic, step in enumerate(answer.steps):
        following = demands.offsets[analytic] + step + 1
        if following < demands.offsets[analytic + 1]:
            assert demands.rates_bps[following] - answer.rates_bps[analytic] > rest


def test_maxmin_lifts_the_worst() -> None:
    """The smallest quality is as large as one uplink allows, whatever weights say."""
    rates, qualities = np.array([1e5, 4e5]), np.array([0.3, 0.9])
    curve = QosCurve.of("a", np.arange(2.0), rates, qualities)
    demands = Demands.of("abc", [9.0, 1.0, 1.0], [curve] * 3)
    answer = MaxMinFair().allocate(demands, 6e5)
    assert sorted(answer.qualities) == [0.3, 0.3, 0.9]
