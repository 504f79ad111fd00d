"""What items from before a change still teach, and when a policy does with that."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from midhaul.federation.evaluate.online import degraded
from midhaul.federation.fusion import fuser_named
from midhaul.federation.policies.base import Examples, Situation
from midhaul.federation.policies.baselines import FixedPolicy
from midhaul.federation.policies.checks import check_examples
from midhaul.federation.policies.online.audits import Audits, Trust
from midhaul.federation.policies.online.drift import Alarm
from midhaul.federation.policies.online.refit import (
    EarlierItems,
    OnlineSettings,
    Recipe,
    Renewal,
)

_RNG = np.random.default_rng
VOTE = fuser_named("vote")
RECIPE = Recipe(name="fixed", told={}, multiplier=20.0, seed=0)
WHOLE = check_examples("labels", VOTE, _RNG(7), n_items=1200)
BEFORE = Examples(
    recording=WHOLE.recording.take(np.arange(600)),
    features=WHOLE.features[:600],
    fuser=VOTE,
)
LATER = WHOLE.recording.take(np.arange(600, 1200))


def _alarm(provider: str, direction: Any = "fell") -> Alarm:
    return Alarm(
        provider=provider, signal="quality", direction=direction, number=1, onset=1
    )


def _earlier(*alarms: Alarm) -> EarlierItems:
    earlier = EarlierItems()
    earlier.add(Audits.of(BEFORE), 5000)
    earlier.blame(alarms)
    return earlier


def _renewal() -> Renewal:
    """Asks the best provider alone."""
    best, providers = FixedPolicy(mask=1), BEFORE.recording.providers
    renewal = Renewal(best, RECIPE, VOTE, providers, OnlineSettings())
    renewal.remember(BEFORE)
    return renewal


def _seen(recording: Any, n: int) -> Situation:
    part = recording.take(np.arange(n))
    return Situation(
        recording=part,
        features=np.zeros((n, 0), np.float32),
        asked=np.full(n, part.everyone, np.int64),
    )


def test_leaves_out_who_is_blamed() -> None:
    """The policy knows those who did not change, and nobody else."""
    found = _earlier(_alarm("a")).without_blamed(RECIPE, Trust(), VOTE, 100)
    assert found is not None
    assert found.known == ("b", "c")
    asked = found.decide(
        replace(_seen(LATER, 50), asked=np.zeros(50, np.int64)), _RNG(0)
    )
    assert (asked & 1 == 0).all()
    assert (asked != 0).any()


def test_nobody_to_leave_out() -> None:
    """Without a name, with nobody left, or with few items there is no such policy."""
    trust = Trust()
    assert EarlierItems().without_blamed(RECIPE, trust, VOTE, 100) is None
    assert _earlier(_alarm("")).without_blamed(RECIPE, trust, VOTE, 100) is None
    assert _earlier(_alarm("a")).without_blamed(RECIPE, trust, VOTE, 601) is None
    everybody = [_alarm(name) for name in "abc"]
    assert _earlier(*everybody).without_blamed(RECIPE, trust, VOTE, 100) is None


def test_who_is_better_again_is_not_blamed() -> None:
    """A provider that rises again is left out no longer."""
    earlier = _earlier(_alarm("a"), _alarm("b"), _alarm("a", "rose"))
    assert earlier.blamed == {"b"}


def test_earlier_items_are_read_back() -> None:
    """What was written down leaves out the same, with the same decisions."""
    first = _earlier(_alarm("a"))
    second = EarlierItems.from_state(first.state())
    situation = replace(_seen(LATER, 50), asked=np.zeros(50, np.int64))
    decisions = [
        found.decide(situation, _RNG(0))
        for one in (first, second)
        if (found := one.without_blamed(RECIPE, Trust(), VOTE, 100)) is not None
    ]
    assert len(decisions) == 2
    assert np.array_equal(decisions[0], decisions[1])


def test_who_decides_is_one_value() -> None:
    """Requests are decided while a thread learns: policy and names go together."""
    renewal = _renewal()
    before = renewal.policy
    assert renewal.policy is before
    renewal.begin_anew([_alarm("a")])
    worse = degraded(LATER, "a", 0, _RNG(2), share=1.0)
    renewal.keep(_seen(worse, 40), np.arange(1, 41))
    assert renewal.renew_if_due()
    assert (before.known, renewal.policy.known) == (("a", "b", "c"), ("b", "c"))


def test_few_audits_suffice_to_leave_out() -> None:
    """Audits that are too few to learn from say that a broken provider is left out."""
    renewal = _renewal()
    renewal.begin_anew([_alarm("a")])
    assert renewal.is_boosted
    worse = degraded(LATER, "a", 0, _RNG(2), share=1.0)
    renewal.keep(_seen(worse, 40), np.arange(1, 41))
    assert renewal.renew_if_due()
    assert renewal.known == ("b", "c")
    assert renewal.n_refits == 0
    assert not renewal.is_boosted
    assert Renewal.from_state(renewal.state()).known == ("b", "c")


def test_who_is_as_good_is_not_left_out() -> None:
    """After a false alarm about the best provider it is asked as before."""
    renewal = _renewal()
    renewal.begin_anew([_alarm("a")])
    renewal.keep(_seen(LATER, 60), np.arange(1, 61))
    assert not renewal.renew_if_due()
    assert renewal.known == ("a", "b", "c")


def test_who_is_left_out_is_audited_no_more() -> None:
    """Once it is left out, its getting worse still costs nothing; its return does."""
    renewal = _renewal()
    renewal.policy = replace(renewal.policy, known=("b", "c"))
    renewal.begin_anew([_alarm("a")])
    assert not renewal.is_boosted
    renewal.begin_anew([_alarm("a", "rose")])
    assert renewal.is_boosted
