"""All policies of the catalogue, held to the promises of their protocols."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from midhaul.federation.fusion import fuser_named
from midhaul.federation.policies.base import policy_from_state
from midhaul.federation.policies.baselines import FixedPolicy
from midhaul.federation.policies.budgets import MixedPolicy, NobodyPolicy
from midhaul.federation.policies.catalogue import (
    CATALOGUE,
    PolicyEntry,
    entry_named,
    fit_policy,
)
from midhaul.federation.policies.checks import (
    check_examples,
    check_family,
    check_online,
    check_policy,
)
from midhaul.federation.policies.online.online import OnlineRefit
from midhaul.federation.policies.online.refit import Recipe
from midhaul.federation.policies.online.settings import OnlineSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from midhaul.federation.policies.base import Examples, Situation
    from midhaul.federation.recordings.problem import Task

_FUSERS: dict[Task, str] = {"labels": "vote", "tags": "vote", "boxes": "wbf"}
_TOLD: dict[str, dict[str, Any]] = {
    "cascade": {"n_trees": 20},
    "chord": {"budget_usd": 0.0012},
    "subset": {"providers": ["a"]},
    "td3": {"n_steps": 20},
}
_RANDOM = ("random-1", "random-n")
_EXACT = ("fixed", "oracle", "confidence", "frugal", "frugal-qs")
_QUICK = [entry for entry in CATALOGUE if entry.extra != "learn"]


def _examples(task: Task, seed: int = 0, **more: int) -> Examples:
    fuser = fuser_named(_FUSERS[task])
    return check_examples(task, fuser, np.random.default_rng(seed), **more)


def _check(entry: PolicyEntry, examples: Examples) -> None:
    fitted: Any = fit_policy(
        entry.name, examples, _TOLD.get(entry.name), np.random.default_rng(1)
    )
    if entry.is_family:
        # What predicts may be wrong about prices of items that it was learned on.
        tolerance = 0.0 if entry.name in _EXACT else 0.1
        check_family(
            fitted,
            examples,
            multipliers=(0.0, 30.0, 300.0, 3000.0, np.inf),
            tolerance=tolerance,
            from_state=policy_from_state,
        )
        return
    check_policy(
        fitted,
        examples,
        from_state=policy_from_state,
        is_random=entry.name in _RANDOM,
    )


@pytest.mark.parametrize("task", ["labels", "tags", "boxes"])
@pytest.mark.parametrize("entry", _QUICK, ids=lambda entry: entry.name)
def test_conforms(entry: PolicyEntry, task: Task) -> None:
    """A policy of the catalogue keeps its promises for every task."""
    _check(entry, _examples(task, n_features=2))


@pytest.mark.parametrize("entry", _QUICK, ids=lambda entry: entry.name)
def test_conforms_without_features(entry: PolicyEntry) -> None:
    """It does so without features, with one provider and with four."""
    _check(entry, _examples("labels", n_providers=1))
    _check(entry, _examples("labels", n_providers=4))


def test_learner_conforms() -> None:
    """One of Armol's learners, learned by name, keeps them too (all: test_learners)."""
    pytest.importorskip("torch")
    _check(entry_named("td3"), _examples("labels", n_features=2))


@pytest.mark.parametrize(
    "policy",
    [
        NobodyPolicy(),
        MixedPolicy(first=FixedPolicy(mask=3), second=FixedPolicy(mask=4), share=0.4),
    ],
    ids=lambda policy: policy.name,
)
def test_parts_conform(policy: Any) -> None:
    """What budgets are met with conforms too."""
    check_policy(policy, _examples("tags"), from_state=policy_from_state)


@pytest.mark.parametrize("told", [{}, {"base": "c"}, {"is_shared": True}])
@pytest.mark.parametrize("task", ["labels", "boxes"])
def test_linucb_conforms_online(told: dict[str, Any], task: Task) -> None:
    """The bandit conforms while it learns."""
    examples = _examples(task, n_features=1)
    family: Any = fit_policy("linucb", examples, told, np.random.default_rng(1))
    check_online(family.learned(100.0), examples, from_state=policy_from_state)


@pytest.mark.parametrize("task", ["labels", "tags", "boxes"])
def test_online_conforms(task: Task) -> None:
    """A policy that is kept up to date conforms, also after it was learned anew."""
    examples = _examples(task, n_features=1)
    recording = examples.recording
    family: Any = fit_policy("frugal", examples, {}, np.random.default_rng(1))
    policy = OnlineRefit(
        family.at(100.0),
        Recipe(name="frugal", told={}, multiplier=100.0, seed=0),
        examples.fuser,
        recording.providers,
        recording.prices_usd,
        OnlineSettings(audit_share=0.5, n_fewest=10, n_routine=10),
    )
    check_online(policy, examples, from_state=policy_from_state)
    assert policy.n_refits > 0


def _neighbours(situation: Situation) -> np.ndarray:
    mask = 1 if situation.features[:, 0].mean() > 0 else 2
    return np.where(situation.asked == 0, mask, 0)


def _writes(situation: Situation) -> np.ndarray:
    situation.features[:] += 1
    return np.zeros(len(situation), np.int64)


def _draws(situation: Situation) -> np.ndarray:
    drawn = np.random.default_rng().integers(0, 2, len(situation))
    return np.where(situation.asked == 0, 1 + drawn, 0)


@dataclass(frozen=True)
class _Bad:
    """Breaks one promise."""

    choose: Callable[[Situation], np.ndarray]
    name: str = "bad"

    def decide(self, situation: Situation, rng: np.random.Generator) -> np.ndarray:
        del rng
        return self.choose(situation)


@pytest.mark.parametrize(
    ("choose", "complaint"),
    [
        (lambda s: np.ones(len(s), np.int64), "second time"),
        (lambda s: np.where(s.asked == 0, 8, 0), "does not exist"),
        (_draws, "same decision"),
        (_neighbours, "item"),
        (_writes, "changed"),
        (lambda s: np.zeros(len(s) + 1, np.int64), "expected"),
        (lambda s: np.zeros(len(s), np.int32), "int64"),
    ],
)
def test_offenders_are_caught(
    choose: Callable[[Situation], np.ndarray], complaint: str
) -> None:
    """A policy that breaks a promise is told which one."""
    examples = _examples("labels", n_features=1)
    with pytest.raises(ValueError, match=complaint):
        check_policy(_Bad(choose), examples)


def test_hidden_knowledge_is_caught() -> None:
    """A policy that is handed answers by another door than its situation is caught."""
    examples = _examples("labels")
    seen: list[int] = []

    class Leaking:
        name = "leaking"

        def decide(self, situation: Situation, rng: np.random.Generator) -> np.ndarray:
            del rng
            # It remembers how often it was asked, and so decides by what is not shown.
            seen.append(len(situation))
            mask = 1 if len(seen) % 2 else 2
            return np.where(situation.asked == 0, mask, 0)

    with pytest.raises(ValueError, match="same decision"):
        check_policy(Leaking(), examples)


def test_rising_prices_are_caught() -> None:
    """A family that costs more at a higher multiplier is caught."""
    examples = _examples("labels")

    @dataclass(frozen=True)
    class Wrong:
        name: str = "fixed"

        def at(self, multiplier: float) -> FixedPolicy:
            return FixedPolicy(mask=4 if multiplier == 0 else 7)

    with pytest.raises(ValueError, match="after"):
        check_family(Wrong(), examples)
