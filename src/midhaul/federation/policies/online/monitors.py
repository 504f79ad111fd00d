"""How a policy in use is watched: providers on audits, its own answers elsewhere.

Where people say what is right, what is watched of items that are no audits is the
quality of the fused answer, and that of each provider's own answer where it was asked.
A provider that breaks shows in its own answers first, since others make up for it in
the fused ones, and it is named. Whom the policy asks depends on what it learned and on
the item alone, so while neither changes the items that a provider is asked about are
exchangeable as well. When a provider breaks that is asked first, whoever is asked after
it sees other items, and now and then is named instead.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.federation.policies.base import part_of
from midhaul.federation.policies.online.audits import audit_places
from midhaul.federation.policies.online.drift import Alarm, DriftMonitor
from midhaul.federation.policies.online.e_detectors import EDetectors
from midhaul.federation.policies.replay import replay

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Float64, Int64

    from midhaul.federation.npz_state import State
    from midhaul.federation.policies.base import Examples, Situation, SubsetPolicy
    from midhaul.federation.policies.online.refit_settings import OnlineSettings
    from midhaul.federation.recordings.problem import Answers, Recording


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
            values[:, start:],
            judged.items[start:],
            numbers[rows[start:]],
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
