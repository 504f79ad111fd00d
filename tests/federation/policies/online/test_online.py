"""Policies that are kept up to date: drift, prices, new providers, and their bills."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from midhaul.errors import DataError
from midhaul.federation.evaluate.online import degraded
from midhaul.federation.fusion import fuser_named
from midhaul.federation.policies.base import Examples, Situation, policy_from_state
from midhaul.federation.policies.baselines import FixedPolicy, fit_fixed
from midhaul.federation.policies.catalogue import fit_policy
from midhaul.federation.policies.checks import check_examples
from midhaul.federation.policies.online.audits import Audits, Trust
from midhaul.federation.policies.online.online import OnlineRefit, PolicyWatch
from midhaul.federation.policies.online.refit import Recipe
from midhaul.federation.policies.online.settings import OnlineSettings
from midhaul.federation.policies.online.streaming import stream
from midhaul.federation.quality import item_quality

_RNG = np.random.default_rng
VOTE = fuser_named("vote")
RATE = 60.0
QUICK = OnlineSettings(audit_share=0.1, n_fewest=60, n_enough=150)
WHOLE = check_examples("labels", VOTE, _RNG(7), n_items=3000)
BEFORE = Examples(
    recording=WHOLE.recording.take(np.arange(600)),
    features=WHOLE.features[:600],
    fuser=VOTE,
)
LATER = WHOLE.recording.take(np.arange(600, 3000))


def _online(examples: Examples = BEFORE, settings: OnlineSettings = QUICK) -> Any:
    recording = examples.recording
    family: Any = fit_policy("frugal", examples, {}, _RNG(0))
    policy = OnlineRefit(
        family.at(RATE),
        Recipe(name="frugal", told={}, multiplier=RATE, seed=0),
        VOTE,
        recording.providers,
        recording.prices_usd,
        settings,
    )
    policy.remember(examples, examples)
    return policy


def _streamed(policy: Any, recording: Any, **more: Any) -> Any:
    features = np.zeros((len(recording), 0), np.float32)
    return stream(policy, recording, features, VOTE, _RNG(1), multiplier=RATE, **more)


class _Listening:
    """Asks the first provider and listens."""

    name = "listening"

    def __init__(self) -> None:
        self.n_told = self.n_truths = self.n_items = 0

    def decide(self, situation: Any, rng: np.random.Generator) -> np.ndarray:
        del rng
        return 1 & ~situation.asked

    def learn(self, situation: Any, fused: Any, quality: np.ndarray) -> None:
        self.n_items += len(fused)
        self.n_told += int(np.isfinite(quality).sum())
        self.n_truths += int((~situation.recording.truth.is_missing).sum())


def test_recovers_from_drift() -> None:
    """After the best provider breaks it comes back; the policy alone does not."""
    worse = degraded(LATER, "a", 800, _RNG(2), share=0.9)
    online, alone = _online(), _online().inner
    kept, lost = _streamed(online, worse), _streamed(alone, worse)
    late = slice(1600, None)
    best = kept.worths[late].mean(axis=0).max()
    assert "a" in {alarm.provider for alarm in online.alarms}
    assert kept.alarms[0].item_number > 800
    assert kept.worth[late].mean() > best - 0.05
    assert kept.worth[late].mean() > lost.worth[late].mean() + 0.04
    assert kept.regret()[-1] < lost.regret()[-1]


def test_wrong_answers_are_noticed_without_audits() -> None:
    """Where people say what is right, a break shows in whoever was asked."""
    worse = degraded(LATER, "a", 800, _RNG(2), share=1.0)
    rare = replace(QUICK, audit_share=0.01)
    online = _online(settings=rare)
    _streamed(online, worse.take(np.arange(1000)))
    assert [(a.provider, a.signal) for a in online.alarms] == [("a", "quality")]
    assert 800 < online.alarms[0].number < 950
    assert online.alarms[0].direction == "fell"


def test_audits_are_all_it_costs() -> None:
    """Without a change it costs what its audits cost, and raises no alarm."""
    online = _online()
    before = online.inner
    kept, alone = _streamed(online, LATER), _streamed(before, LATER)
    assert online.alarms == ()
    assert not online.is_boosted
    is_audit = kept.asked == LATER.everyone
    assert 0.07 < is_audit.mean() < 0.13 + (alone.asked == LATER.everyone).mean()
    assert kept.worth.mean() > alone.worth.mean() - 0.03
    assert kept.cost_usd.sum() == pytest.approx(LATER.prices_of(kept.asked).sum())


def test_learns_without_labels() -> None:
    """Nobody ever says what is right, and it comes back from a broken provider."""
    worse = degraded(LATER, "a", 400, _RNG(2), share=1.0)
    online, alone = _online(), _online().inner
    kept = _streamed(online, worse, feedback_share=0.0)
    lost = _streamed(alone, worse, feedback_share=0.0)
    assert "a" in online.suspects
    late = slice(1400, None)
    assert kept.worth[late].mean() > lost.worth[late].mean() + 0.05


def test_follows_prices() -> None:
    """When prices are turned around, it asks others from the next items on."""
    online = _online()
    _streamed(online, LATER.take(np.arange(1000)))
    dear = replace(LATER, prices_usd=np.array([0.02, 0.0001, 0.0001]))
    later = _streamed(online, dear.take(np.arange(1000, 2000)))
    alone = _streamed(_online().inner, dear.take(np.arange(1000, 2000)))
    asks_a = (later.asked & 1 == 1).mean()
    assert asks_a < 0.3
    assert later.worth.mean() > alone.worth.mean()


def test_takes_up_a_new_provider() -> None:
    """A provider that comes later is used once audits have shown what it is worth."""
    narrow = replace(BEFORE, recording=BEFORE.recording.only(["b", "c"]))
    online = _online(narrow)
    old = LATER.only(["b", "c"])
    _streamed(online, old.take(np.arange(500)))
    wide = replace(LATER.only(["b", "c", "a"]), prices_usd=np.array([0.01, 0.01, 0.0]))
    result = _streamed(online, wide.take(np.arange(500, 2400)))
    asks_new = result.asked[900:] & 4 == 4
    assert asks_new.mean() > 0.9
    late = slice(900, None)
    assert result.worth[late].mean() > result.worths[late, :3].mean(axis=0).max()


def test_worse_is_not_taken_up() -> None:
    """What is learned from few audits takes over only where it is better."""
    online = _online(settings=replace(QUICK, n_routine=30, n_fewest=30))
    _streamed(online, LATER.take(np.arange(1200)))
    alone = _streamed(_online().inner, LATER.take(np.arange(1200, 2400)))
    kept = _streamed(online.inner, LATER.take(np.arange(1200, 2400)))
    assert online.n_refits >= 3
    assert kept.worth.mean() > alone.worth.mean() - 0.03


def test_state_goes_on() -> None:
    """Saved in the middle of relearning and read back, it decides and learns alike."""
    worse = degraded(LATER, "a", 200, _RNG(2), share=1.0)
    first = _online()
    _streamed(first, worse.take(np.arange(600)))
    second: Any = policy_from_state(first.state())
    rest = worse.take(np.arange(600, 1200))
    assert np.array_equal(_streamed(first, rest).asked, _streamed(second, rest).asked)
    assert first.alarms == second.alarms
    assert len(first.alarms) > 0
    assert first.n_refits == second.n_refits


def test_keeps_what_it_knows_of_who_stays() -> None:
    """When a provider comes, the others are watched on with what was known of them."""
    watch = PolicyWatch(["b", "c"], QUICK)
    narrow = replace(BEFORE, recording=BEFORE.recording.only(["b", "c"]))
    watch.baseline(narrow, FixedPolicy(mask=3))
    watch.with_providers(["a", "b", "c"])
    again = PolicyWatch.from_state(watch.state(), QUICK)
    worse = degraded(LATER, "b", 0, _RNG(2), share=1.0).take(np.arange(80))
    situation = Situation(
        recording=worse,
        features=np.zeros((80, 0), np.float32),
        asked=np.full(80, worse.everyone),
    )
    fused = VOTE.fuse(worse, situation.asked)
    # The policy answers with what b and c said together before b broke.
    before = LATER.take(np.arange(80))
    pair = np.full(80, 0b110)
    quality = item_quality(before, VOTE.fuse(before.shown(pair), pair))
    plain, numbers = np.zeros(80, bool), np.arange(1, 81)
    for one in (watch, again):
        (alarm,) = one.take_in(situation, fused, quality, plain, numbers)
        assert (alarm.provider, alarm.signal) == ("b", "quality")


def test_missing_provider_is_refused() -> None:
    """When a provider that the policy asks is gone, it says so."""
    with pytest.raises(DataError, match="no longer there"):
        _streamed(_online(), LATER.only(["a", "b"]))
    with pytest.raises(ValueError, match="shares"):
        OnlineSettings(audit_share=0.0)


def test_stream_regret() -> None:
    """Regret against the best fixed subset is 0 for that subset, else the gap."""
    family = fit_fixed(WHOLE)
    best = _streamed(family.at(RATE), WHOLE.recording)
    everybody = _streamed(FixedPolicy(mask=7), WHOLE.recording)
    assert best.masks[best.best_fixed()] == family.at(RATE).mask
    assert best.regret() == pytest.approx(np.zeros(3000), abs=1e-6)
    gap = (best.worth - everybody.worth).sum()
    assert everybody.regret()[-1] == pytest.approx(gap)
    assert (np.diff(best.regret_to_oracle()) >= -1e-9).all()
    points = everybody.points(10)
    assert points[-1].item_number == 3000
    assert points[-1].regret == pytest.approx(gap)
    assert points[0].cost_usd == pytest.approx(WHOLE.recording.prices_usd.sum())


def test_feedback_share_is_kept() -> None:
    """Of the items only the stated share is told, and of the others nothing."""
    policy = _Listening()
    _streamed(policy, LATER, feedback_share=0.25)
    assert policy.n_told == pytest.approx(600, abs=80)
    assert policy.n_told == policy.n_truths
    assert policy.n_items == len(LATER)


def test_few_labels_are_better_than_none() -> None:
    """Labels for a fifth of the items say whom to mistrust, soon after a break."""
    worse = degraded(LATER, "a", 400, _RNG(2), share=1.0)
    online = _online()
    kept = _streamed(online, worse, feedback_share=0.2)
    assert online.suspects == {"a"}
    late = slice(1400, None)
    best = kept.worths[late].mean(axis=0).max()
    assert kept.worth[late].mean() > best - 0.08


def test_blames_who_became_worse() -> None:
    """Only the provider that is right less often than before loses its part."""
    before = Audits.of(BEFORE)
    worse = degraded(LATER, "b", 0, _RNG(2), share=0.8).take(np.arange(120))
    features = np.zeros((120, 0), np.float32)
    since = Audits.of(Examples(recording=worse, features=features, fuser=VOTE))
    trust = Trust()
    trust.remember(before)
    trust.look(Audits.of(replace(BEFORE, recording=LATER.take(np.arange(120)))))
    assert trust.suspects == frozenset()
    trust.look(since)
    assert trust.suspects == {"b"}
    again = Trust.from_state(trust.state())
    again.look(since)
    assert again.suspects == trust.suspects
    judged = trust.judged(replace(since, recording=replace(worse, truth=None)), VOTE)
    asked = np.full(120, 0b101)
    others = VOTE.fuse(worse.shown(asked), asked)
    assert judged.recording.truth is not None
    assert np.array_equal(judged.recording.truth.labels, others.labels)
