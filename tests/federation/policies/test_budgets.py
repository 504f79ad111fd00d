"""Budgets: points by price, mixtures between them, and what nobody can afford."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.federation.random_recordings import random_recording

from midhaul.errors import DataError
from midhaul.federation.fusion import fuser_named
from midhaul.federation.policies.base import Examples, replay
from midhaul.federation.policies.baselines import FixedPolicy, fit_fixed
from midhaul.federation.policies.budgets import BudgetCurve, calibrate


def examples_of(seed: int, n: int = 400) -> Examples:
    """Three providers of one label, fused by a vote."""
    recording = random_recording("labels", np.random.default_rng(seed), n_items=n)
    nothing = np.zeros((n, 0), np.float32)
    return Examples(recording=recording, features=nothing, fuser=fuser_named("vote"))


@pytest.fixture(scope="module")
def examples() -> Examples:
    """Items to calibrate on."""
    return examples_of(1)


@pytest.fixture(scope="module")
def curve(examples: Examples) -> BudgetCurve:
    """Fixed subsets, calibrated."""
    return calibrate(fit_fixed(examples_of(2)), examples, np.random.default_rng(0))


def spent(curve: BudgetCurve, examples: Examples, budget_usd: float) -> float:
    """The mean price of what a budget buys."""
    done = replay(
        curve.for_budget(budget_usd),
        examples.recording,
        examples.features,
        examples.fuser,
        np.random.default_rng(3),
    )
    return float(done.cost_usd.mean())


def test_points_rise_in_price(curve: BudgetCurve) -> None:
    """The cheapest comes first, from next to nobody to whoever helps."""
    costs = [point.cost_usd.value for point in curve.points]
    assert costs == sorted(costs)
    assert len(set(costs)) > 1


@pytest.mark.parametrize("share", [0.05, 0.2, 0.4, 0.7, 1.0])
def test_budgets_are_spent_and_not_exceeded_by_much(
    curve: BudgetCurve, examples: Examples, share: float
) -> None:
    """A mixture spends what it is given; beyond the dearest point nothing is spent."""
    budget_usd = share * float(examples.recording.prices_usd.sum())
    dearest = curve.points[-1].cost_usd.value
    found = spent(curve, examples, budget_usd)
    assert found <= budget_usd * 1.25
    assert found >= min(budget_usd, dearest) * 0.75


def test_more_confidence_spends_less(curve: BudgetCurve, examples: Examples) -> None:
    """A margin for the chance of other items never buys more."""
    budget_usd = 0.5 * float(examples.recording.prices_usd.sum())
    for policy in (curve.for_budget(budget_usd, confidence=0.99),):
        done = replay(
            policy,
            examples.recording,
            examples.features,
            examples.fuser,
            np.random.default_rng(3),
        )
        assert done.cost_usd.mean() <= spent(curve, examples, budget_usd) + 1e-12


def test_budgets_that_mean_nothing_are_refused(curve: BudgetCurve) -> None:
    """A negative budget, or a confidence that is none."""
    with pytest.raises(ValueError, match="budget"):
        curve.for_budget(-1.0)
    with pytest.raises(ValueError, match="confidence"):
        curve.for_budget(1.0, confidence=1.0)


def test_calibration_needs_items_with_a_truth() -> None:
    """Without any, the message says what to do."""
    none = examples_of(1, n=4)
    empty = Examples(
        recording=none.recording.take(np.zeros(0, np.int64)),
        features=none.features[:0],
        fuser=none.fuser,
    )
    with pytest.raises(DataError, match="0 items"):
        calibrate(fit_fixed(examples_of(2)), empty, np.random.default_rng(0))


class Stepped:
    """One more of seven providers at each of some multipliers, and all at 0."""

    name = "stepped"
    worths = (0.5, 0.3, 0.2, 0.1, 0.05, 0.03, 0.0)

    def at(self, multiplier: float) -> FixedPolicy:
        """Everybody who gives more for a USD than the multiplier."""
        asked = [
            p for p, w in enumerate(self.worths) if w > multiplier or not multiplier
        ]
        return FixedPolicy(mask=sum(1 << p for p in asked))


def test_multipliers_are_tried_where_they_matter() -> None:
    """A dear provider that is asked at multiplier 0 alone does not use up the tries.

    However often the gap to the next multiplier is halved, nothing is found between.
    """
    n, rng = 300, np.random.default_rng(0)
    recording = random_recording("labels", rng, n_items=n, n_providers=7)
    examples = Examples(
        recording=replace(recording, prices_usd=np.array([1.0] * 6 + [60.0])),
        features=np.zeros((n, 0), np.float32),
        fuser=fuser_named("vote"),
    )
    found = calibrate(Stepped(), examples, np.random.default_rng(1))
    costs = {round(point.cost_usd.value, 6) for point in found.points}
    assert costs <= {0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 66.0}
    assert len(costs) >= 7
