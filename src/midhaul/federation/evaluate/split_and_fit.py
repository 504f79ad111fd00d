"""Splits, fits and contenders: what policies learn from, and who is compared.

Recorded answers become what policies learn from: splits, calibration, fusion.

*Learning* gives one policy, with its learning curve and its budgets. *Contenders* are
all policies, each at every budget that it is asked to keep.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from midhaul.errors import ConfigError, DataError
from midhaul.federation.fusion import fit_fuser, fuser_named
from midhaul.federation.fusion.calibration import fit_calibration
from midhaul.federation.policies.answer_features import AfterFirstPolicy, FirstAnswer
from midhaul.federation.policies.base import Examples, replay
from midhaul.federation.policies.budgets import calibrate
from midhaul.federation.policies.catalogue import entry_named, fit_policy
from midhaul.federation.policies.ensemble_labels import with_references
from midhaul.federation.quality import set_quality
from midhaul.federation.recordings.problem import split_items

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Float32, Int64

    from midhaul.federation.bundle import Bundle
    from midhaul.federation.evaluate.config import (
        EvaluateConfig,
        FusionConfig,
        LearnerConfig,
        Reference,
    )
    from midhaul.federation.fusion import SavedFuser
    from midhaul.federation.fusion.calibration import Calibration
    from midhaul.federation.policies.armol.training import Checkpoint
    from midhaul.federation.policies.base import SubsetPolicy
    from midhaul.federation.policies.budgets import BudgetCurve
    from midhaul.federation.policies.ensemble_labels import ReferenceBill
    from midhaul.federation.recordings.problem import Recording
    from midhaul.runs.progress import Progress

_FEWEST_ITEMS = 4
_REFERENCE_FUSERS = {"boxes": "wbf", "tags": "vote", "labels": "vote"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PreparedSplit:
    """One split of the items, ready to learn from.

    Attributes:
        train: what policies are learned on; scores are calibrated.
        calibration: what budgets are calibrated on.
        scores: how scores were calibrated; None where they were not.
        fuser: fitted on the training items.
        bill: what the references cost; None where people said what is right.
    """

    train: Examples
    calibration: Examples
    scores: Calibration | None
    fuser: SavedFuser
    bill: ReferenceBill | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TestPart:
    """Items that nothing was learned on.

    Attributes:
        items: ``(k,)`` their numbers in the whole recording.
        raw: as the providers answered.
        recording: with calibrated scores.
    """

    items: Int64[np.ndarray, " k"]
    raw: Recording
    recording: Recording
    features: Float32[np.ndarray, "k d"]


def prepare(
    train: Recording,
    calibration: Recording,
    features: Sequence[Float32[np.ndarray, "n d"]],
    fusion: FusionConfig,
    reference: Reference,
    rng: np.random.Generator,
) -> PreparedSplit:
    """Fit what is fitted before any policy, on the training items alone.

    DataError where there is no truth, or there are too few items.
    """
    for what, part in (("training", train), ("calibration", calibration)):
        if len(part) < _FEWEST_ITEMS:
            message = f"the {what} part has {len(part)} items, {_FEWEST_ITEMS} at least"
            raise DataError(message, "take more items, or other shares")
    bill = None
    if reference == "ensemble":
        teacher = fuser_named(_REFERENCE_FUSERS[train.task], iou=fusion.iou)
        train, bill = with_references(train, teacher)
        calibration, more = with_references(calibration, teacher)
        bill += more
    elif train.truth is None:
        message = "the recording has no truth to learn from"
        raise DataError(
            message, 'name its file in data.truth, or reference = "ensemble"'
        )
    scores = None
    if fusion.calibration != "none":
        scores = fit_calibration(train, method=fusion.calibration)
        train, calibration = scores.apply(train), scores.apply(calibration)
    fuser = fit_fuser(fusion.name, train, rng=rng, iou=fusion.iou)
    return PreparedSplit(
        train=Examples(recording=train, features=features[0], fuser=fuser),
        calibration=Examples(recording=calibration, features=features[1], fuser=fuser),
        scores=scores,
        fuser=fuser,
        bill=bill,
    )


def split_three(
    recording: Recording,
    features: Float32[np.ndarray, "n d"],
    fusion: FusionConfig,
    reference: Reference,
    shares: Sequence[float],
    seed: int,
) -> tuple[PreparedSplit, TestPart]:
    """Training, calibration and test items by hash, and what is fitted on the first."""
    train, calibration, test = split_items(recording.items, seed, shares)
    prepared = prepare(
        recording.take(train),
        recording.take(calibration),
        (features[train], features[calibration]),
        fusion,
        reference,
        np.random.default_rng([seed, 1]),
    )
    if len(test) < _FEWEST_ITEMS:
        message = f"the test part has {len(test)} items, {_FEWEST_ITEMS} at least"
        raise DataError(message, "take more items, or other shares")
    raw = recording.take(test)
    shown = raw if prepared.scores is None else prepared.scores.apply(raw)
    part = TestPart(
        items=test,
        raw=raw,
        recording=replace(shown, truth=raw.truth),
        features=features[test],
    )
    return prepared, part


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

    Calibration items are for budgets and for choosing between states; ``settings`` are
    of its entry, for those that have no others here.
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
    """The oracle of the very items it is judged on."""
    begin_s = time.perf_counter()
    family: Any = fit_policy("oracle", examples, {}, np.random.default_rng([seed, 4]))
    best = family.at(1e-9)  # the best subset of each item, the cheapest of equals
    return Learned(policy=best, curve=None, fit_s=time.perf_counter() - begin_s)


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


LearnedAs = tuple[str, int, float | None]
"""What contenders that are learned as one have in common."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A policy at one budget.

    Attributes:
        number: of the configuration, from 0.
        policy: its name in the catalogue; empty for one that was trained before.
        provider: the only provider it asks; -1 where it asks several.
        share: its budget over the price of all; None where it keeps none.
        budget_usd: its budget for an item; None where it keeps none.
        trained: number of the trained federation; -1 where it is learned here.
    """

    number: int
    name: str
    policy: str
    provider: int = -1
    share: float | None = None
    budget_usd: float | None = None
    trained: int = -1

    @property
    def family(self) -> str:
        """What configurations that differ by their budget have in common."""
        return self.policy if self.share is not None else self.name

    @property
    def settings(self) -> dict[str, Any]:
        """What its policy is told when it is learned."""
        known = entry_named(self.policy).settings
        told = {"budget_usd": self.budget_usd, "provider": self.provider}
        return {key: value for key, value in told.items() if key in known}

    @property
    def learned_as(self) -> LearnedAs:
        """The same for those that one learning is enough for."""
        budget_usd = self.settings.get("budget_usd") if self.policy else None
        return self.policy, self.provider, budget_usd

    def row(self) -> dict[str, object]:
        """Its row in the table of configurations."""
        return {
            "configuration": self.number,
            "name": self.name,
            "policy": self.family,
            "budget_share": self.share,
            "budget_usd": self.budget_usd,
            "settings": json.dumps({"provider": self.provider})
            if self.provider >= 0
            else "{}",
        }


def line_up(
    config: EvaluateConfig, recording: Recording, trained: Sequence[Bundle]
) -> tuple[Contender, ...]:
    """All contenders, numbered in the order of the config.

    ConfigError where there is no such policy, or it has to be told whom to ask.
    """
    price_usd = float(recording.prices_usd.sum())
    found: list[Contender] = []

    def add(name: str, policy: str, **more: float | None) -> None:
        found.append(
            Contender(number=len(found), name=name, policy=policy, **more)  # pyright: ignore[reportArgumentType]
        )

    for name in config.policies:
        if name == "single":
            for p, provider in enumerate(recording.providers):
                add(provider, name, provider=p)
        elif _has_budgets(name):
            for share in config.budget_shares:
                title = f"{name} {share * 100:g} %"
                add(title, name, share=share, budget_usd=share * price_usd)
        else:
            add(name, name)
    for number, bundle in enumerate(trained):
        add(f"trained {number + 1}: {bundle.policy.name}", "", trained=number)
    return tuple(found)


def _has_budgets(name: str) -> bool:
    """Whether a policy is brought to budgets.

    ConfigError where it is to be told whom to ask.
    """
    entry = entry_named(name)
    if "providers" in entry.settings:
        message = f"policy {name!r} has to be told whom to ask"
        hint = "train it with federation.train and its key providers, and name the "
        raise ConfigError(message, hint + "file in trained")
    has_budget = entry.is_family or "budget_usd" in entry.settings
    return has_budget and not entry.knows_truth
