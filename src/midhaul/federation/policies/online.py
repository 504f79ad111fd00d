"""Any policy, kept up to date: audits, drift alarms, and learning anew from audits.

A share of the items is audited: everybody is asked about them, which is charged like
any other call. Which items is decided by the hash of their ids, so audits are a fair
sample of what comes, whatever the policy asks otherwise. Providers are watched on them
(:mod:`midhaul.federation.policies.drift`); where people say what is right, the quality
of all other answers is watched as well. The policy is learned anew from audits

- after an alarm: what is from before the estimated onset is dropped, and more items are
  audited until there are enough new ones. It is learned from few, again when there are
  twice as many, and so on;
- when a provider comes that was not there (cold start), in the same way;
- when a price changes, at once, from the audits that there are;
- after every so many audits (routine);

and the new policy takes over if it is surely better than the one before on audits that
it was not learned from, or if that one was learned from fewer of the same.

An audited item is judged by its truth where somebody told it, and by the fused answer
of all providers otherwise (:mod:`midhaul.federation.policies.references`), except for
those that are no longer trusted (:mod:`midhaul.federation.policies.trust`).

Armol (Xie et al., INFOCOM 2022) has an online mode in which every item is such a
reference and training never ends.

1. References are a share of the items, not all.
2. What is learned anew is any policy of the catalogue, from a window of audits, instead
   of gradient steps on the last reward.
3. Alarms decide when the window begins.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from midhaul.federation.policies.audits import Audits, audit_places
from midhaul.federation.policies.catalogue import policy_from_state
from midhaul.federation.policies.recipes import OnlineSettings, Recipe
from midhaul.federation.policies.situations import Among, part_of
from midhaul.federation.policies.trust import Trust
from midhaul.federation.policies.watching import Watch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Float64, Int64

    from midhaul.federation.fusion.base import Fuser
    from midhaul.federation.policies.base import Examples, Situation, SubsetPolicy
    from midhaul.federation.policies.drift import Alarm
    from midhaul.federation.problem import Answers, Recording
    from midhaul.federation.saving import State


class OnlineRefit:
    """A policy that is learned anew; an ``OnlinePolicy``.

    Args:
        inner: the policy that decides at first.
        recipe: how it is learned anew.
        fuser: what fuses answers.
        providers: names of those that it was learned with.
        prices_usd: ``(M,)`` of their calls.
        settings: how much is audited.

    Attributes:
        alarms: all so far.
        n_refits: how often it was learned anew, whether that was better or not.
        n_audits: audited items so far.
        n_seen: all items so far, by which alarms name them.
    """

    kind: ClassVar[str] = "online"

    def __init__(
        self,
        inner: SubsetPolicy,
        recipe: Recipe,
        fuser: Fuser,
        providers: Sequence[str],
        prices_usd: Float64[np.ndarray, " p"],
        settings: OnlineSettings | None = None,
    ) -> None:
        self._inner, self._recipe, self._fuser = inner, recipe, fuser
        self._settings = OnlineSettings() if settings is None else settings
        self._learned_with = tuple(providers)
        self._prices_usd = prices_usd
        self._watch = Watch(providers, self._settings)
        self._window: Audits | None = None
        self._is_boosted = self._is_of_window = False
        self._n_since, self._n_last = 0, 0
        self.alarms: tuple[Alarm, ...] = ()
        self._trust = Trust()
        self.n_refits = 0
        self.n_audits = 0
        self.n_seen = 0

    @property
    def name(self) -> str:
        """Short name."""
        return f"online {self._inner.name}"

    @property
    def inner(self) -> SubsetPolicy:
        """The policy that decides now."""
        return self._inner

    @property
    def suspects(self) -> frozenset[str]:
        """Names of providers that have no part in what audits are judged by."""
        return self._trust.suspects

    @property
    def is_boosted(self) -> bool:
        """True while more is audited because something changed."""
        return self._is_boosted

    def remember(self, learned_on: Examples | None, baseline: Examples | None) -> None:
        """Take in items from before, once, so that it need not begin with nothing.

        Args:
            learned_on: what the policy was learned on, with its truth; learned from
                again until a change.
            baseline: what providers did before; of items that the fuser was not fitted
                on, or answers agree with the fused ones better than they will.
        """
        if learned_on is not None:
            self._window = Audits.of(learned_on).last(self._settings.window)
            self._n_last = len(learned_on)
        if baseline is not None:
            self._watch.baseline(replace(baseline, fuser=self._fuser), self._inner)

    def is_audit(self, situation: Situation) -> Bool[np.ndarray, " n"]:
        """``(n,)`` which items everybody is asked about."""
        settings = self._settings
        share = settings.boosted_share if self._is_boosted else settings.audit_share
        return audit_places(situation.recording.items) < share

    def decide(
        self, situation: Situation, rng: np.random.Generator
    ) -> Int64[np.ndarray, " n"]:
        """Ask everybody about audits, and whom the policy wants about the others."""
        everyone = situation.recording.everyone
        new = everyone & ~situation.asked
        inner = Among(policy=self._inner, known=self._learned_with)
        rest = np.flatnonzero(~self.is_audit(situation))
        if len(rest):
            new[rest] = inner.decide(part_of(situation, rest), rng)
        return new

    def learn(
        self,
        situation: Situation,
        fused: Answers,
        quality: Float64[np.ndarray, " n"],
    ) -> None:
        """Take audits in, watch the providers, and learn anew when it is due.

        Args:
            situation: at the end. Its recording has a truth for items about which
                somebody told it, missing elsewhere; or none at all.
            fused: the fused answers that were given.
            quality: ``(n,)`` of these, NaN where nobody told it.
        """
        recording = situation.recording
        self._notice(recording)
        numbers = self.n_seen + 1 + np.arange(len(situation))
        self.n_seen += len(situation)
        is_audit = self.is_audit(situation) & (situation.asked == recording.everyone)
        rows = np.flatnonzero(is_audit)
        if len(rows):
            self._keep(part_of(situation, rows), numbers[rows])
        alarms = self._watch.take_in(situation, fused, quality, is_audit, numbers)
        if alarms:
            self.alarms += alarms
            self._trust.after(alarms)
            self._begin_anew(max(alarm.onset for alarm in alarms))
        if len(rows) and self._window is not None:
            self._refit_if_due(self._window)

    def state(self) -> State:
        """Everything, for :meth:`from_state`."""
        inner: Any = self._inner
        fuser: Any = self._fuser
        return {
            "policy": self.kind,
            "inner": inner.state(),
            "recipe": {**asdict(self._recipe), "told": dict(self._recipe.told)},
            "fuser": fuser.state(),
            "settings": asdict(self._settings),
            "learned_with": self._learned_with,
            "prices_usd": self._prices_usd,
            "watch": self._watch.state(),
            "window": None if self._window is None else self._window.state(),
            "is_boosted": self._is_boosted,
            "is_of_window": self._is_of_window,
            "n_since": self._n_since,
            "n_last": self._n_last,
            "alarms": [asdict(alarm) for alarm in self.alarms],
            "trust": self._trust.state(),
            "n_refits": self.n_refits,
            "n_audits": self.n_audits,
            "n_seen": self.n_seen,
        }

    @classmethod
    def from_state(cls, state: State) -> OnlineRefit:
        """What :meth:`state` gave."""
        from midhaul.federation.fusion import fuser_from_state  # noqa: PLC0415
        from midhaul.federation.policies.drift import Alarm  # noqa: PLC0415

        policy = cls(
            policy_from_state(state["inner"]),
            Recipe(**state["recipe"]),
            fuser_from_state(state["fuser"]),
            tuple(state["learned_with"]),
            np.asarray(state["prices_usd"], np.float64),
            OnlineSettings(**state["settings"]),
        )
        policy._watch = Watch.from_state(state["watch"], policy._settings)
        window = state["window"]
        policy._window = None if window is None else Audits.from_state(window)
        policy._is_boosted = bool(state["is_boosted"])
        policy._is_of_window = bool(state["is_of_window"])
        policy._n_since = int(state["n_since"])
        policy._n_last = int(state["n_last"])
        policy.alarms = tuple(Alarm(**alarm) for alarm in state["alarms"])
        policy._trust = Trust.from_state(state["trust"])
        policy.n_refits = int(state["n_refits"])
        policy.n_audits = int(state["n_audits"])
        policy.n_seen = int(state["n_seen"])
        return policy

    def _notice(self, recording: Recording) -> None:
        """See whether providers or prices are others than before."""
        if recording.providers != self._watch.providers:
            self._watch.with_providers(recording.providers)
            self._window = None
            self._is_boosted, self._is_of_window = True, False
            self._n_since, self._n_last = 0, 0
            self._prices_usd = recording.prices_usd
            return
        if np.array_equal(recording.prices_usd, self._prices_usd):
            return
        self._prices_usd = recording.prices_usd
        if self._window is not None:
            self._window = self._window.priced(recording.prices_usd)
            if len(self._window) >= self._settings.n_fewest:
                self._refit(self._window)

    def _keep(self, part: Situation, numbers: Int64[np.ndarray, " n"]) -> None:
        """Remember audits, with a truth where somebody told it."""
        self.n_audits += len(part)
        self._n_since += len(part)
        later = Audits.seen(part, numbers)
        window, limit = self._window, self._settings.window
        self._window = later if window is None else window.and_then(later, limit)

    def _begin_anew(self, onset: int) -> None:
        """Drop what was before a change, and audit more."""
        if self._window is not None:
            self._trust.remember(self._window.until(onset))
            self._window = self._window.since(onset)
            self._n_since, self._n_last = len(self._window), 0
        self._is_boosted, self._is_of_window = True, False

    def _refit_if_due(self, window: Audits) -> None:
        settings = self._settings
        # Twice as many as the last time, then every so many.
        due = max(settings.n_fewest, self._n_last)
        if settings.n_routine:
            due = min(due, settings.n_routine)
        if len(window) >= settings.n_fewest and self._n_since >= due:
            self._refit(window)
        if len(window) >= settings.n_enough:
            self._is_boosted = False

    def _refit(self, window: Audits) -> None:
        self._trust.look(window)
        examples = self._trust.judged(window, self._fuser)
        self.n_refits += 1
        known, number = self._learned_with, self.n_refits
        # What was learned from fewer of the same items needs no comparison.
        new = (
            self._recipe.fit(examples, number)
            if self._is_of_window
            else self._recipe.improve(self._inner, known, examples, number)
        )
        if new is not None:
            self._inner, self._learned_with = new, window.recording.providers
            self._is_of_window = True
            self._watch.answers_differ()
        self._n_since, self._n_last = 0, len(window)
