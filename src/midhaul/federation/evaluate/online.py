"""Online learning in an evaluation: a provider gets worse in a stream of test items.

Every family is streamed twice, at the same exchange rate: as it was learned, and kept
up to date by audits, alarms and refits.
The recording is *degraded* from some item on, to see who notices.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from midhaul.errors import ConfigError, DataError
from midhaul.federation.evaluate import tables
from midhaul.federation.policies.baselines import best_single
from midhaul.federation.policies.catalogue import entry_named
from midhaul.federation.policies.online.online import OnlineRefit
from midhaul.federation.policies.online.refit import Recipe
from midhaul.federation.policies.online.streaming import stream

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midhaul.federation.evaluate.config import StreamedOnlineConfig
    from midhaul.federation.evaluate.split_and_fit import PreparedSplit, TestPart
    from midhaul.federation.policies.base import PolicyFamily, SubsetPolicy
    from midhaul.federation.policies.online.streaming import StreamResult
    from midhaul.federation.recordings.problem import Recording
    from midhaul.runs.progress import Progress
    from midhaul.runs.run import Run

Degrading = Literal["swapped", "failing", "unsure"]
"""``swapped``: it answers what it said to another item, so nothing but its being wrong
shows; ``failing``: it does not answer; ``unsure``: its scores are halved."""


def degraded(
    recording: Recording,
    provider: str,
    from_item: int,
    rng: np.random.Generator,
    *,
    share: float = 0.5,
    how: Degrading = "swapped",
) -> Recording:
    """The same recording with one provider worse from an item on.

    A share of the items from then on is hit. DataError where there is no such provider.
    """
    if provider not in recording.providers:
        message = f"no provider {provider}; there are {', '.join(recording.providers)}"
        raise DataError(message)
    p, n = recording.providers.index(provider), len(recording)
    answers = recording.answers[p]
    is_hit = (np.arange(n) >= from_item) & (rng.random(n) < share)
    if how == "swapped":
        source = np.where(is_hit, rng.integers(0, max(1, n), n), np.arange(n))
        worse = answers.take(source)
    elif how == "failing":
        worse = answers.hidden(is_hit)
    else:
        factor = np.where(is_hit, np.float32(0.5), np.float32(1.0))
        worse = replace(answers, scores=answers.scores * factor[answers.items])
    changed = tuple(
        worse if number == p else other
        for number, other in enumerate(recording.answers)
    )
    return replace(recording, answers=changed)


_BATCH = 32
"""Items that come at the same time."""


def write_online(
    run: Run,
    prepared: PreparedSplit,
    part: TestPart,
    families: Mapping[int, tuple[str, PolicyFamily]],
    config: StreamedOnlineConfig,
    seed: int,
    progress: Progress,
) -> None:
    """Stream the test items to families as learned and kept up to date."""
    order = np.random.default_rng([seed, 9]).permutation(len(part.items))
    recording = _worse(prepared, part.recording.take(order), config, seed)
    features = part.features[order]
    fuser, train = prepared.fuser, prepared.train
    rate = config.rate(train.recording.prices_usd)
    with progress.task("learning online", total=2 * len(families)) as task:
        for number, (name, family) in families.items():
            rows: list[dict[str, Any]] = []
            sums: list[dict[str, Any]] = []
            alarms: list[dict[str, Any]] = []
            for is_online in (False, True):
                policy: SubsetPolicy = family.at(rate)
                if is_online:
                    policy = OnlineRefit(
                        policy,
                        Recipe(name=name, told={}, multiplier=rate, seed=seed),
                        fuser,
                        recording.providers,
                        recording.prices_usd,
                        config.settings,
                    )
                    policy.remember(train, prepared.calibration)
                done = stream(
                    policy,
                    recording,
                    features,
                    fuser,
                    np.random.default_rng([seed, 8]),
                    feedback_share=config.feedback_share,
                    multiplier=rate,
                    batch=_BATCH,
                )
                named = {"policy": name, "is_online": is_online}
                rows += [{**named, **asdict(point)} for point in done.points()]
                sums.append({**named, **_sums(done, policy)})
                alarms += [
                    {
                        "policy": name,
                        "item_number": one.item_number,
                        "provider": one.alarm.provider,
                        "signal": one.alarm.signal,
                        "direction": one.alarm.direction,
                        "onset": one.alarm.onset,
                    }
                    for one in done.alarms
                ]
                task.advance()
            run.write(tables.ALARMS, alarms, part=number)
            run.write(tables.ONLINE, rows, part=number)
            run.write(tables.ONLINE_SUMMARY, sums, part=number)


def is_kept_up(name: str) -> bool:
    """Whether a policy is learned anew here: those at an exchange rate are."""
    entry = entry_named(name)
    return entry.is_family and not entry.knows_truth


def _worse(
    prepared: PreparedSplit,
    recording: Recording,
    config: StreamedOnlineConfig,
    seed: int,
) -> Recording:
    """The stream, in which a provider gets worse."""
    train = prepared.train.recording
    name = config.provider or train.providers[best_single(train, prepared.fuser)]
    if name not in recording.providers:
        message = f"online.provider: there is no provider {name}"
        raise ConfigError(message, f"there are {', '.join(recording.providers)}")
    if config.worse == "none":
        return recording
    return degraded(
        recording,
        name,
        int(config.worse_from * len(recording)),
        np.random.default_rng([seed, 10]),
        share=config.worse_share,
        how=config.worse,
    )


def _sums(done: StreamResult, policy: SubsetPolicy) -> dict[str, Any]:
    """How a stream went, and its last third beside the best fixed subset of that."""
    late = slice(2 * len(done) // 3, None)
    online = policy if isinstance(policy, OnlineRefit) else None
    return {
        "n_items": len(done),
        "quality": float(done.quality.mean()),
        "cost_usd": float(done.cost_usd.mean()),
        "regret": float(done.regret()[-1]),
        "worth": float(done.worth.mean()),
        "worth_at_end": float(done.worth[late].mean()),
        "best_fixed_at_end": float(done.worths[late].mean(axis=0).max()),
        "n_alarms": len(done.alarms),
        "n_audits": online.n_audits if online else 0,
        "n_refits": online.n_refits if online else 0,
    }
