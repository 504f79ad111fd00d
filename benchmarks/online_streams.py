"""Regret over time of those who decide about streams; for ``federation_online.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.federation.evaluate.online import degraded
from midhaul.federation.policies.baselines import fit_fixed
from midhaul.federation.policies.catalogue import fit_policy
from midhaul.federation.policies.linucb import LinUcbSettings, fit_linucb
from midhaul.federation.policies.online.online import OnlineRefit
from midhaul.federation.policies.online.refit import Recipe
from midhaul.federation.policies.online.streaming import stream
from midhaul.federation.quality import item_quality

if TYPE_CHECKING:
    from online_cases import Case

    from midhaul.federation.policies.online.streaming import StreamResult
    from midhaul.federation.recordings.problem import Recording

SHARE = 0.7
"""Of the items that a provider that got worse is worse on, in the streams."""


def streams(cases: list[Case], kept_up: str) -> list[tuple[str, float, str, float]]:
    """Regret over time, with and without a provider that gets worse."""
    kept: list[float] = []
    calm: list[float] = []
    for one in cases:
        fixed: Any = fit_fixed(one.train).at(one.multiplier)
        strongest = strongest_of(one, fixed.mask)
        n = len(one.later)
        for provider in (None, strongest):
            recording = one.later
            title = "nothing changes"
            if provider is not None:
                rng = np.random.default_rng(5)
                recording = degraded(recording, provider, n // 3, rng, share=SHARE)
                title = f"{provider} swapped on {SHARE:.0%} from item {n // 3}"
            print(f"\n{one.name}: {n} items, {title}")
            print(
                "policy                 regret at 1/3     2/3     end"
                "   worth of last third   USD/10k  alarms (item, provider)"
            )
            results = {
                name: streamed(one, policy, recording, share)
                for name, policy, share in _contenders(one, fixed, kept_up)
            }
            for name, result in results.items():
                _show(name, result)
            late = slice(2 * n // 3, None)
            best = float(results["fixed"].worths[late].mean(axis=0).max())
            print(f"best fixed subset of the last third {best:27.4f}")
            if provider is None:
                online, still = results["online"], results[kept_up]
                calm.append(float(still.worth.mean() - online.worth.mean()))
            else:
                kept.append(float(results["online"].worth[late].mean()) / best)
    return [
        ("online_over_best_fixed_after_change", min(kept), ">=", 0.95),
        ("online_lost_while_nothing_changes", max(calm), "<=", 0.03),
    ]


def strongest_of(one: Case, mask: int) -> str:
    """The provider that the best fixed subset would miss most."""
    recording = one.train.recording
    best = {
        p: float(item_quality(recording, recording.answers[p]).mean())
        for p in range(recording.n_providers)
        if mask >> p & 1
    }
    return recording.providers[max(best, key=lambda p: best[p])]


def _contenders(one: Case, fixed: Any, kept_up: str) -> list[tuple[str, Any, float]]:
    """Name, policy and share of the items with feedback."""
    rng = np.random.default_rng(6)
    family: Any = fit_policy(kept_up, one.train, {}, rng)
    policy = family.at(one.multiplier)
    bandit: list[tuple[str, Any, float]] = []
    for name, settings in (
        ("linucb", LinUcbSettings()),
        ("linucb, forgetting", LinUcbSettings(discount=0.999)),
        ("linucb, first answer", LinUcbSettings(base="cheapest")),
        ("same, forgetting", LinUcbSettings(base="cheapest", discount=0.999)),
    ):
        learned = fit_linucb(one.train, settings, rng).learned(one.multiplier)
        bandit.append((name, learned, 1.0))
    return [
        ("fixed", fixed, 0.0),
        *bandit,
        (kept_up, policy, 0.0),
        ("online", kept_up_to_date(one, policy, kept_up), 1.0),
        ("online, 20 % labels", kept_up_to_date(one, policy, kept_up), 0.2),
        ("online, no labels", kept_up_to_date(one, policy, kept_up), 0.0),
    ]


def kept_up_to_date(one: Case, inner: Any, kept_up: str) -> OnlineRefit:
    """A policy with what keeps it up to date, as it is before the stream."""
    recording = one.train.recording
    online = OnlineRefit(
        inner,
        Recipe(name=kept_up, told={}, multiplier=one.multiplier, seed=0),
        one.fuser,
        recording.providers,
        recording.prices_usd,
    )
    online.remember(one.train, one.calibration)
    return online


def streamed(
    one: Case, policy: Any, recording: Recording, share: float
) -> StreamResult:
    """What a policy does to a stream, told what is right about a share of it."""
    features = np.zeros((len(recording), 0), np.float32)
    return stream(
        policy,
        recording,
        features,
        one.fuser,
        np.random.default_rng(7),
        feedback_share=share,
        multiplier=one.multiplier,
        batch=32,
    )


def _show(name: str, result: StreamResult) -> None:
    n = len(result)
    regret = result.regret()
    marks = "".join(f"{regret[end - 1]:8.1f}" for end in (n // 3, 2 * n // 3, n))
    late = result.worth[2 * n // 3 :].mean()
    alarms = ", ".join(f"{a.item_number} {a.alarm.provider}" for a in result.alarms)
    usd = result.cost_usd.mean() * 10_000
    print(f"{name:28}{marks}{late:22.4f}{usd:10.2f}  {alarms}")
