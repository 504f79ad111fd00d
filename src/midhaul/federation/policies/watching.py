"""How a policy in use is watched: providers on audits, its own answers elsewhere."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.federation.evaluation import replay
from midhaul.federation.policies.audits import audit_places
from midhaul.federation.policies.drift import Alarm, DriftMonitor
from midhaul.federation.policies.e_detectors import EDetectors
from midhaul.federation.policies.situations import part_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Float64, Int64

    from midhaul.federation.policies.base import Examples, Situation, SubsetPolicy
    from midhaul.federation.policies.recipes import OnlineSettings
    from midhaul.federation.problem import Answers
    from midhaul.federation.saving import State


class Watch:
    """Providers on audits, and where people say what is right also the fused answers.

    Args:
        providers: names.
        settings: share of audits, and how rare false alarms are, both sorts together.
    """

    def __init__(self, providers: Sequence[str], settings: OnlineSettings) -> None:
        # Two sorts of alarms share the rate of false ones.
        n_between = 2 * settings.n_between_alarms
        self._share = settings.audit_share
        self._monitor = DriftMonitor(providers, max(1.0, n_between * self._share))
        self._quality = EDetectors(1, n_between)

    @property
    def providers(self) -> tuple[str, ...]:
        """Names of those that are watched."""
        return self._monitor.providers

    def baseline(self, before: Examples, policy: SubsetPolicy) -> None:
        """Take in items from before, about which nobody wants an alarm.

        Args:
            before: with a truth where there is one.
            policy: who decides about those that are no audits.
        """
        from midhaul.federation.quality import item_quality  # noqa: PLC0415

        recording, fuser = before.recording, before.fuser
        asked = np.full(len(recording), recording.everyone, np.int64)
        fused = fuser.fuse(recording.shown(asked), asked)
        self._monitor.baseline(recording, fused)
        if recording.truth is not None:
            rng = np.random.default_rng(0)
            done = replay(policy, recording, before.features, fuser, rng)
            self._quality.baseline(item_quality(recording, done.fused)[None, :])

    def take_in(
        self,
        situation: Situation,
        fused: Answers,
        quality: Float64[np.ndarray, " n"],
        is_audit: Bool[np.ndarray, " n"],
        numbers: Int64[np.ndarray, " n"],
    ) -> tuple[Alarm, ...]:
        """Watch some items.

        Args:
            situation: at the end.
            fused: the fused answers.
            quality: ``(n,)`` of these, NaN where nobody said what is right.
            is_audit: ``(n,)`` which items everybody was asked about, by their id.
            numbers: ``(n,)`` of the items, rising.

        Returns:
            What seems to have changed.
        """
        # Auditing more must not make false alarms more frequent.
        places = audit_places(situation.recording.items)
        watched = np.flatnonzero(is_audit & (places < self._share))
        shown = replace(part_of(situation, watched).recording, truth=None)
        alarms = self._monitor.watch(shown, fused.take(watched), numbers[watched])
        return alarms + self._watch_answers(situation, quality, ~is_audit, numbers)

    def answers_differ(self) -> None:
        """Forget how good answers were: another policy gives them."""
        self._quality.forget(np.zeros(1, np.int64))

    def with_providers(self, providers: Sequence[str]) -> None:
        """Watch other providers from now on."""
        self._monitor = self._monitor.with_providers(providers)

    def state(self) -> State:
        """Everything, for :meth:`from_state`."""
        return {"monitor": self._monitor.state(), "quality": self._quality.state()}

    @classmethod
    def from_state(cls, state: State, settings: OnlineSettings) -> Watch:
        """What :meth:`state` gave."""
        monitor = DriftMonitor.from_state(state["monitor"])
        watch = cls(monitor.providers, settings)
        watch._monitor = monitor
        watch._quality = EDetectors.from_state(state["quality"])
        return watch

    def _watch_answers(
        self,
        situation: Situation,
        quality: Float64[np.ndarray, " n"],
        is_plain: Bool[np.ndarray, " n"],
        numbers: Int64[np.ndarray, " n"],
    ) -> tuple[Alarm, ...]:
        rows = np.flatnonzero(is_plain & np.isfinite(quality))
        alarms: list[Alarm] = []
        while change := self._quality.watch(
            quality[None, rows],
            [situation.recording.items[i] for i in rows.tolist()],
            numbers[rows],
        ):
            alarms.append(Alarm.of(change, "", "quality"))
            self.answers_differ()
            rows = rows[change.at + 1 :]
        return tuple(alarms)
