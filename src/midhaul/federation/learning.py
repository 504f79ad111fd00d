"""Learning one policy for an experiment, with its learning curve and its budgets."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from midhaul.federation.evaluation import replay
from midhaul.federation.features.first_answer import AfterFirstPolicy, FirstAnswer
from midhaul.federation.policies.budgets import calibrate
from midhaul.federation.policies.catalogue import entry_named, fit_policy
from midhaul.federation.quality import set_quality

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midhaul.federation.config_parts import LearnerConfig
    from midhaul.federation.policies.base import Examples, PolicyFamily, SubsetPolicy
    from midhaul.federation.policies.budgets import BudgetCurve
    from midhaul.federation.policies.training import Checkpoint
    from midhaul.runs.progress import Progress

LEARNERS = ("sac", "td3", "ppo")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Learned:
    """A policy, or a family of them.

    Attributes:
        policy: of a policy without a budget; None for a family.
        curve: of a family; None for a policy.
        fit_s: time that learning and calibrating took.
        learning: rows of the table of that name, without configuration and split.
    """

    policy: SubsetPolicy | None
    curve: BudgetCurve | None
    fit_s: float
    learning: tuple[dict[str, object], ...] = ()

    def at(self, budget_usd: float | None) -> SubsetPolicy:
        """The policy that keeps a budget; the only one where there is no budget."""
        if self.curve is None or budget_usd is None:
            return cast("SubsetPolicy", self.policy)
        return self.curve.for_budget(budget_usd)


def learn(
    name: str,
    train: Examples,
    calibration: Examples,
    learner: LearnerConfig,
    seed: int,
    progress: Progress,
    *,
    settings: Mapping[str, Any] | None = None,
) -> Learned:
    """Learn a policy by its name in the catalogue.

    Args:
        name: of the policy.
        train: items to learn from.
        calibration: other items, for budgets and for choosing between states.
        learner: settings of sac, td3 and ppo.
        seed: of the learning.
        progress: where to tell how far a long learner is.
        settings: of its entry in the catalogue, for those that have no others here.

    Raises:
        ConfigError: there is no such policy.
        PrerequisiteError: a library is missing.
    """
    begin_s = time.perf_counter()
    rng = np.random.default_rng([seed, 4])
    if name not in LEARNERS:
        fitted: Any = fit_policy(name, train, settings, rng)
        return _calibrated(name, fitted, calibration, seed, begin_s, ())
    told = {
        "preset": learner.preset,
        "n_steps": learner.n_steps,
        "first": learner.first,
        "device": learner.device,
    }
    rows: list[dict[str, object]] = []
    n_providers = train.recording.n_providers

    def probe(checkpoint: Checkpoint) -> None:
        rows.append(_row(checkpoint, calibration, n_providers, learner.first))

    with progress.task(f"learning {name}") as task:
        fitted = fit_policy(
            name, train, told, rng, task.advance, calibration=calibration, probe=probe
        )
    return _calibrated(name, fitted, calibration, seed, begin_s, tuple(rows))


def learn_bound(examples: Examples, seed: int) -> Learned:
    """The oracle of the very items it is judged on.

    Args:
        examples: these items.
        seed: of the replay.
    """
    begin_s = time.perf_counter()
    family: Any = fit_policy("oracle", examples, {}, np.random.default_rng([seed, 4]))
    return Learned(
        policy=_cheapest_best(family),
        curve=None,
        fit_s=time.perf_counter() - begin_s,
    )


def _cheapest_best(family: PolicyFamily) -> SubsetPolicy:
    """The best subset of each item, the cheapest of equals."""
    return family.at(1e-9)


def _calibrated(
    name: str,
    fitted: Any,
    calibration: Examples,
    seed: int,
    begin_s: float,
    rows: tuple[dict[str, object], ...],
) -> Learned:
    curve = None
    if entry_named(name).is_family:
        curve = calibrate(fitted, calibration, np.random.default_rng([seed, 5]))
    return Learned(
        policy=None if curve is not None else fitted,
        curve=curve,
        fit_s=time.perf_counter() - begin_s,
        learning=rows,
    )


def _row(
    checkpoint: Checkpoint, calibration: Examples, n_providers: int, first: str
) -> dict[str, object]:
    """Where a learner stands, on the calibration items."""
    policy: SubsetPolicy = checkpoint.policy
    if first:
        policy = AfterFirstPolicy(first=FirstAnswer(provider=first), inner=policy)
    done = replay(
        policy,
        calibration.recording,
        calibration.features,
        calibration.fuser,
        np.random.default_rng(0),
    )
    return {
        "step": checkpoint.step,
        "n_calls": checkpoint.n_fused * n_providers,
        "quality": set_quality(calibration.recording, done.fused).value,
        "cost_usd": float(done.cost_usd.mean()),
    }
