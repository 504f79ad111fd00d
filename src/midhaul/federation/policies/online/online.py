"""Any policy, kept up to date: audits, drift alarms, and learning anew from audits.

A share of the items is audited: everybody is asked about them, which is charged like
any other call. Which items is decided by the hash of their ids, so audits are a fair
sample of what comes, whatever the policy asks otherwise. Providers are watched on them
(:mod:`midhaul.federation.policies.online.drift`); where people say what is right, the
quality of all other answers is watched as well, fused and of each provider that was
asked. The policy is learned anew
from audits (:mod:`midhaul.federation.policies.online.refit`)

- after an alarm: what is from before the estimated onset is set aside, and more items
  are audited until there are enough new ones. It is learned from few, again when there
  are twice as many, and so on. Before that, one that leaves out who changed is learned
  from what was set aside, and decides once that seems better on the first new audits;
- when a provider comes that was not there (cold start), in the same way;
- when a price changes, at once, from the audits that there are;
- after every so many audits (routine);

and the new policy takes over if it is surely better than the one before on audits that
it was not learned from, or if that one was learned from fewer of the same.

An audited item is judged by its truth where somebody told it, and by the fused answer
of all providers otherwise (:mod:`midhaul.federation.policies.ensemble_labels`), except
for those that are no longer trusted (:mod:`midhaul.federation.policies.online.audits`).

Armol (Xie et al., INFOCOM 2022) has an online mode in which every item is such a
reference and training never ends.

1. References are a share of the items, not all.
2. What is learned anew is any policy of the catalogue, from a window of audits, instead
   of gradient steps on the last reward.
3. Alarms decide when the window begins.

*Watching*: providers on audits, the policy's own answers elsewhere. Where people say
what is right, what is watched of items that are no audits is the quality of the fused
answer, and that of each provider's own answer where it was asked. A provider that
breaks shows in its own answers first, since others make up for it in the fused ones,
and it is named. Whom the policy asks depends on what it learned and on the item alone,
so while neither changes the items that a provider is asked about are exchangeable as
well. When a provider breaks that is asked first, whoever is asked after it sees other
items, and now and then is named instead.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from midhaul.federation.policies.base import part_of, replay
from midhaul.federation.policies.online.audits import audit_places
from midhaul.federation.policies.online.drift import Alarm, DriftMonitor, EDetectors
from midhaul.federation.policies.online.refit import Recipe, Renewal
from midhaul.federation.policies.online.settings import OnlineSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Float64, Int64

    from midhaul.federation.fusion.base import Fuser
    from midhaul.federation.policies.base import (
        Among,
        Examples,
        Situation,
        SubsetPolicy,
    )
    from midhaul.federation.recordings.problem import Answers, Recording
    from midhaul.npz_state import State


class PolicyWatch:
    """Providers on audits, and where people say what is right all other answers."""

    def __init__(self, providers: Sequence[str], settings: OnlineSettings) -> None:
        self._share = settings.audit_share
        of_audits, of_items = _distances(settings)
        self._monitor = DriftMonitor(providers, of_audits)
        self._quality = EDetectors(1 + len(self._monitor.providers), of_items)

    @property
    def providers(self) -> tuple[str, ...]:
        """Names of those that are watched."""
        return self._monitor.providers

    def baseline(self, before: Examples, policy: SubsetPolicy) -> None:
        """Take in items from before, about which nobody wants an alarm.

        The policy decides about those that are no audits.
        """
        from midhaul.federation.quality import item_quality  # noqa: PLC0415

        recording, fuser = before.recording, before.fuser
        asked = np.full(len(recording), recording.everyone, np.int64)
        fused = fuser.fuse(recording.shown(asked), asked)
        self._monitor.baseline(recording, fused)
        if recording.truth is not None:
            rng = np.random.default_rng(0)
            done = replay(policy, recording, before.features, fuser, rng)
            quality = item_quality(recording, done.fused)
            judged = replace(done.situation.recording, truth=recording.truth)
            self._quality.baseline(_qualities(judged, quality))

    def take_in(
        self,
        situation: Situation,
        fused: Answers,
        quality: Float64[np.ndarray, " n"],
        is_audit: Bool[np.ndarray, " n"],
        numbers: Int64[np.ndarray, " n"],
    ) -> tuple[Alarm, ...]:
        """Watch some items, by rising number: what seems to have changed.

        Quality is NaN where nobody said what is right, audits are those everybody was
        asked about.
        """
        # Auditing more must not make false alarms more frequent.
        places = audit_places(situation.recording.items)
        watched = np.flatnonzero(is_audit & (places < self._share))
        shown = replace(part_of(situation, watched).recording, truth=None)
        alarms = self._monitor.watch(shown, fused.take(watched), numbers[watched])
        return alarms + self._watch_answers(situation, quality, ~is_audit, numbers)

    def answers_differ(self) -> None:
        """Forget how good answers were: another policy asks for them."""
        self._quality.forget(np.arange(1 + len(self.providers)))

    def with_providers(self, providers: Sequence[str]) -> None:
        """Watch other providers from now on."""
        before, known = self._quality, ("", *self.providers)
        self._monitor = self._monitor.with_providers(providers)
        self._quality = EDetectors(1 + len(self.providers), before.n_between)
        pairs = [
            (row, known.index(name))
            for row, name in enumerate(("", *self.providers))
            if name in known
        ]
        rows, theirs = np.array(pairs, np.int64).T
        self._quality.take_over(rows, before, theirs)

    def state(self) -> State:
        """Everything, for :meth:`from_state`."""
        return {"monitor": self._monitor.state(), "quality": self._quality.state()}

    @classmethod
    def from_state(cls, state: State, settings: OnlineSettings) -> PolicyWatch:
        """What :meth:`state` gave."""
        of_audits, of_items = _distances(settings)
        monitor = DriftMonitor.from_state(state["monitor"], of_audits)
        watch = cls(monitor.providers, settings)
        watch._monitor = monitor
        watch._quality = EDetectors.from_state(state["quality"], of_items)
        return watch

    def _watch_answers(
        self,
        situation: Situation,
        quality: Float64[np.ndarray, " n"],
        is_plain: Bool[np.ndarray, " n"],
        numbers: Int64[np.ndarray, " n"],
    ) -> tuple[Alarm, ...]:
        rows = np.flatnonzero(is_plain & np.isfinite(quality))
        if not len(rows):
            return ()
        judged = situation.recording.take(rows)
        values = _qualities(judged, quality[rows])
        alarms: list[Alarm] = []
        start = 0
        while change := self._quality.watch(
            values[:, start:], judged.items[start:], numbers[rows[start:]]
        ):
            provider = ("", *self.providers)[change.row]
            alarms.append(Alarm.of(change, provider, "quality"))
            self.answers_differ()
            start += change.at + 1
        return tuple(alarms)


def _distances(settings: OnlineSettings) -> tuple[float, float]:
    """Audits between false alarms, and other items: two sorts share their rate."""
    of_items = 2 * settings.n_between_alarms
    return max(1.0, of_items * settings.audit_share), of_items


def _qualities(
    recording: Recording, fused: Float64[np.ndarray, " n"]
) -> Float64[np.ndarray, "w n"]:
    """Quality of the fused answers, then of each provider's own; NaN where unknown."""
    from midhaul.federation.quality import item_quality  # noqa: PLC0415 - loads numba

    truth, rows = recording.truth, [fused]
    for answers in recording.answers:
        if truth is None:
            rows.append(np.full(len(recording), np.nan))
            continue
        is_known = ~answers.is_missing & ~truth.is_missing
        rows.append(np.where(is_known, item_quality(recording, answers), np.nan))
    return np.stack(rows)


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
        self._settings = OnlineSettings() if settings is None else settings
        self._renewal = Renewal(inner, recipe, fuser, providers, self._settings)
        self._fuser = fuser
        self._prices_usd = prices_usd
        self._watch = PolicyWatch(providers, self._settings)
        self.alarms: tuple[Alarm, ...] = ()
        self.n_audits = 0
        self.n_seen = 0

    @property
    def name(self) -> str:
        """Short name."""
        return f"online {self.inner.name}"

    @property
    def inner(self) -> Among:
        """The policy that decides now, whoever else is there."""
        return self._renewal.policy

    @property
    def suspects(self) -> frozenset[str]:
        """Names of providers that have no part in what audits are judged by."""
        return self._renewal.suspects

    @property
    def is_boosted(self) -> bool:
        """True while more is audited because something changed."""
        return self._renewal.is_boosted

    @property
    def n_refits(self) -> int:
        """How often it was learned anew, whether that was better or not."""
        return self._renewal.n_refits

    def remember(self, learned_on: Examples | None, baseline: Examples | None) -> None:
        """Take in items from before, once, so that it need not begin with nothing.

        Args:
            learned_on: what the policy was learned on, with its truth; learned from
                again until a change.
            baseline: what providers did before; of items that the fuser was not fitted
                on, or answers agree with the fused ones better than they will.
        """
        if learned_on is not None:
            self._renewal.remember(learned_on)
        if baseline is not None:
            before = replace(baseline, fuser=self._fuser)
            self._watch.baseline(before, self.inner)

    def is_audit(self, situation: Situation) -> Bool[np.ndarray, " n"]:
        """``(n,)`` which items everybody is asked about."""
        settings = self._settings
        share = settings.boosted_share if self.is_boosted else settings.audit_share
        return audit_places(situation.recording.items) < share

    def decide(
        self, situation: Situation, rng: np.random.Generator
    ) -> Int64[np.ndarray, " n"]:
        """Ask everybody about audits, and whom the policy wants about the others."""
        everyone = situation.recording.everyone
        new = everyone & ~situation.asked
        rest = np.flatnonzero(~self.is_audit(situation))
        if len(rest):
            part = part_of(situation, rest)
            new[rest] = self._renewal.policy.decide(part, rng)
        return new

    def learn(
        self,
        situation: Situation,
        fused: Answers,
        quality: Float64[np.ndarray, " n"],
        *,
        is_audit: Bool[np.ndarray, " n"] | None = None,
    ) -> None:
        """Take audits in, watch the providers, and learn anew when it is due.

        Args:
            situation: at the end. Its recording has a truth for items about which
                somebody told it, missing elsewhere; or none at all.
            fused: the fused answers that were given.
            quality: ``(n,)`` of these, NaN where nobody told it.
            is_audit: ``(n,)`` which items were audited, for items that were decided
                a while ago: the share may be another one since. As of now when None.
        """
        recording = situation.recording
        self._notice(recording)
        numbers = self.n_seen + 1 + np.arange(len(situation))
        self.n_seen += len(situation)
        marked = self.is_audit(situation) if is_audit is None else is_audit
        is_whole = marked & (situation.asked == recording.everyone)
        rows = np.flatnonzero(is_whole)
        if len(rows):
            self.n_audits += len(rows)
            self._renewal.keep(part_of(situation, rows), numbers[rows])
        alarms = self._watch.take_in(situation, fused, quality, is_whole, numbers)
        if alarms:
            self.alarms += alarms
            self._renewal.begin_anew(alarms)
        if len(rows) and self._renewal.renew_if_due():
            self._watch.answers_differ()

    def state(self) -> State:
        """Everything, for :meth:`from_state`."""
        return {
            "policy": self.kind,
            "renewal": self._renewal.state(),
            "prices_usd": self._prices_usd,
            "watch": self._watch.state(),
            "alarms": [asdict(alarm) for alarm in self.alarms],
            "n_audits": self.n_audits,
            "n_seen": self.n_seen,
        }

    @classmethod
    def from_state(
        cls,
        state: State,
        settings: OnlineSettings | None = None,
        recipe: Recipe | None = None,
    ) -> OnlineRefit:
        """What :meth:`state` gave; settings and recipe may be others now."""
        from midhaul.federation.policies.online.drift import Alarm  # noqa: PLC0415

        renewal = Renewal.from_state(state["renewal"], settings, recipe)
        policy = cls(
            renewal.policy.policy,
            renewal.recipe,
            renewal.fuser,
            renewal.known,
            np.asarray(state["prices_usd"], np.float64),
            renewal.settings,
        )
        policy._renewal = renewal
        policy._watch = PolicyWatch.from_state(state["watch"], renewal.settings)
        policy.alarms = tuple(Alarm(**alarm) for alarm in state["alarms"])
        policy.n_audits = int(state["n_audits"])
        policy.n_seen = int(state["n_seen"])
        return policy

    def _notice(self, recording: Recording) -> None:
        """See whether providers or prices are others than before."""
        before, self._prices_usd = self._prices_usd, recording.prices_usd
        if recording.providers != self._watch.providers:
            self._watch.with_providers(recording.providers)
            self._renewal.with_other_providers()
            return
        is_same = np.array_equal(recording.prices_usd, before)
        if not is_same and self._renewal.at_prices(recording.prices_usd):
            self._watch.answers_differ()
