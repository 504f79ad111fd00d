"""Rows of Armol's table: whom each policy asks about the test items.

A row is learned in a process of its own, which is why it is named and not handed over.
"""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from armol_data import TEN, THREE, load, present, stacked

from midhaul.federation.policies.armol.ppo import fit_ppo
from midhaul.federation.policies.armol.presets import preset
from midhaul.federation.policies.armol.rewards import Rewards, RewardSettings
from midhaul.federation.policies.armol.sac import fit_sac
from midhaul.federation.policies.armol.td3 import fit_td3
from midhaul.federation.policies.base import replay
from midhaul.federation.policies.baselines import FixedFamily
from midhaul.federation.policies.budgets import calibrate
from midhaul.federation.policies.catalogue import fit_policy
from midhaul.federation.quality import set_quality
from midhaul.federation.recordings.problem import all_masks, sizes_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from armol_data import Parts, World

    from midhaul.federation.policies.armol.training import Checkpoint
    from midhaul.federation.quality import QualityOfSet

FITS: dict[str, Any] = {"sac": fit_sac, "td3": fit_td3, "ppo": fit_ppo}
LARGEST = 3
"""Providers of the largest subset that a budget of the table buys."""
ALPHA_PER_USD = 100.0
"""Armol's 0.1 for a call of 0.001 USD."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One policy to learn with one seed.

    Attributes:
        row: what the table calls it.
        policy: learner, or a name of the catalogue.
        preset: of a learner.
        reference: of a learner.
        is_cost_counted: of a learner.
        budget_calls: mean price that a family may spend, in calls of 0.001 USD.
        provider: of a single.
        n_providers: 3 or 10.
        is_leaky: learn on the very items that are tested, as the released program
            seems to, which shows what that is worth.
        is_strict: 40/10/50 within val instead of train to val.
        is_equal: equal prices, or the second list.
        seed: of the split and the learning.
        is_stacked: scores are calibrated and boxes fused by our learned fuser.
        has_curve: look at the test items after every epoch.
        n_steps: of a learner; the preset's when 0.
        n_batch: of SAC and TD3 with armol's preset; as released when 0.
        n_updates: the same.
        device: of a learner.
    """

    row: str
    policy: str
    preset: str = ""
    reference: str = "truth"
    is_cost_counted: bool = True
    budget_calls: float = 0.0
    provider: int = 0
    n_providers: int
    is_leaky: bool = False
    is_strict: bool = False
    is_equal: bool = True
    is_stacked: bool = False
    seed: int = 0
    has_curve: bool = False
    n_steps: int = 0
    n_batch: int = 0
    n_updates: int = 0
    device: str = "cpu"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Done:
    """What a policy asked about the test items.

    Attributes:
        job: whose.
        asked: ``(k,)`` masks.
        seconds: that learning took.
        curve: step, AP50 of the test items and calls an item, after each epoch.
    """

    job: Job
    asked: np.ndarray
    seconds: float
    curve: tuple[tuple[int, float, float], ...] = ()


class Judge:
    """Qualities of test items by whom was asked, each measured once."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self._known: dict[bytes, QualityOfSet] = {}
        self._rewards = Rewards(parts.test)

    def quality(self, asked: np.ndarray) -> QualityOfSet:
        """Of all test items together."""
        key = asked.tobytes()
        if key not in self._known:
            test = self.parts.test
            fused = test.fuser.fuse(test.recording.shown(asked), asked)
            self._known[key] = set_quality(test.recording, fused)
        return self._known[key]

    def values(self, asked: np.ndarray) -> np.ndarray:
        """AP50 of each test image alone, -1 where the answer is empty."""
        return self._rewards.values(np.arange(len(asked)), asked)


@functools.lru_cache(maxsize=1)
def world(data: Path) -> World:
    """What was recorded; read once by each process."""
    import torch  # noqa: PLC0415 - not needed by whoever only judges

    torch.set_num_threads(1)
    return load(data)


def parts_of(data: Path, job: Job) -> Parts:
    """The items of a job."""
    found = world(data)
    names = present(found.val.recording, THREE if job.n_providers == 3 else TEN)  # noqa: PLR2004
    some = found.with_providers(names, equal=job.is_equal)
    parts = some.within(job.seed) if job.is_strict else some.across(job.seed)
    return stacked(parts, job.seed) if job.is_stacked else parts


def do_all(data: Path, jobs: Sequence[Job]) -> list[Done]:
    """Do jobs that share what they learn."""
    return [do(data, job) for job in jobs]


def do(data: Path, job: Job) -> Done:
    """Learn a policy, and let it decide about the test items."""
    parts = parts_of(data, job)
    rng = np.random.default_rng([job.seed, 7])
    begin, curve = time.perf_counter(), []
    if job.policy in FITS:
        judge = Judge(parts)

        def look(checkpoint: Checkpoint) -> None:
            masks = checkpoint.policy.choose(parts.test.features)
            calls = float(np.bitwise_count(masks).mean())
            curve.append((checkpoint.step, judge.quality(masks).value, calls))

        fitted: Any = FITS[job.policy](
            parts.test if job.is_leaky else parts.train,
            settings_of(job),
            rng,
            calibration=parts.calibration,
            probe=look if job.has_curve else None,
        )
    else:
        fitted = _fitted(data, job, parts, rng)
    seconds = time.perf_counter() - begin
    test = parts.test
    result = replay(fitted, test.recording, test.features, test.fuser, rng)
    return Done(job=job, asked=result.asked, seconds=seconds, curve=tuple(curve))


def settings_of(job: Job) -> Any:
    """Settings of a learner, with what the job cuts."""
    settings: Any = preset(job.policy, job.preset, job.n_steps or None)
    reward = replace(
        settings_of_prices(is_equal=job.is_equal),
        reference=job.reference,
        is_cost_counted=job.is_cost_counted,
    )
    course = replace(settings.course, reward=reward, device=job.device)
    settings = replace(settings, course=course)
    if job.policy == "ppo" or job.preset != "armol":
        return settings
    memory = settings.replay
    memory = replace(
        memory,
        n_batch=job.n_batch or memory.n_batch,
        n_updates=job.n_updates or memory.n_updates,
    )
    return replace(settings, replay=memory)


def settings_of_prices(*, is_equal: bool) -> RewardSettings:
    """Armol's reward: by calls, or by USD where these differ in price."""
    return RewardSettings(beta_per_usd=None if is_equal else -ALPHA_PER_USD)


def _fitted(data: Path, job: Job, parts: Parts, rng: np.random.Generator) -> Any:
    if job.policy == "single":
        told = {"provider": parts.train.recording.providers[job.provider]}
        return fit_policy("single", parts.train, told, rng)
    if job.policy == "oracle":
        family: Any = fit_policy("oracle", parts.test, None, rng)
        return family.at(ALPHA_PER_USD)
    if job.policy == "fixed":
        found = _fixed(data, replace(job, row="", budget_calls=0.0))
        return found.within(job.budget_calls * 1e-3)
    if job.policy == "cascade":
        curve = _curve(data, replace(job, row="", budget_calls=0.0))
        return curve.for_budget(job.budget_calls * 1e-3)
    return fit_policy(job.policy, parts.train, None, rng)


@functools.lru_cache(maxsize=1)
def _fixed(data: Path, job: Job) -> FixedFamily:
    """All subsets that a budget of this table can buy, on the training items."""
    train = parts_of(data, job).train
    recording, everyone = train.recording, all_masks(train.recording.n_providers)
    masks = everyone[sizes_of(everyone) <= LARGEST]
    qualities: list[float] = []
    for mask in masks.tolist():
        asked = np.full(len(recording), mask, np.int64)
        fused = train.fuser.fuse(recording.shown(asked), asked)
        qualities.append(set_quality(recording, fused).value)
    return FixedFamily(
        masks=masks,
        qualities=np.array(qualities),
        prices_usd=recording.prices_usd,
    )


@functools.lru_cache(maxsize=1)
def _curve(data: Path, job: Job) -> Any:
    """A family, with what its multipliers cost."""
    rng, parts = np.random.default_rng(job.seed), parts_of(data, job)
    family: Any = fit_policy(job.policy, parts.train, None, rng)
    return calibrate(family, parts.calibration, rng)
