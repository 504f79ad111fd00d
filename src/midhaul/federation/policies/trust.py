"""Whose answers are trusted as a reference, and what an audited item is judged by.

A provider loses its part in references when an alarm says that its agreement with the
others fell, or its quality where people say what is right; or when people say that on
some audits after a change, and it is right less often there than it was before
(one-sided, 99 %). It has its part again when an alarm says that either rose.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.federation.policies.audits import merged
from midhaul.federation.policies.base import Examples
from midhaul.federation.policies.references import SCORE_OF_BOXES, as_truth

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jaxtyping import Float64

    from midhaul.federation.fusion.base import Fuser
    from midhaul.federation.policies.audits import Audits
    from midhaul.federation.policies.drift import Alarm
    from midhaul.federation.saving import State

_FEWEST = 10
"""Items that people judged, on which a provider can be blamed."""

_SURE = 2.326
"""Standard errors of a difference that leave a chance of 1 %."""


class Trust:
    """Remembers who is a suspect.

    Attributes:
        suspects: names of providers that have no part in references.
    """

    def __init__(self) -> None:
        self.suspects: frozenset[str] = frozenset()
        self._before: dict[str, tuple[float, float]] = {}

    def after(self, alarms: Iterable[Alarm]) -> None:
        """Trust or no longer trust providers whose agreement or quality changed."""
        found = set(self.suspects)
        for alarm in alarms:
            if alarm.provider and alarm.signal in ("agreement", "quality"):
                change = found.add if alarm.direction == "fell" else found.discard
                change(alarm.provider)
        self.suspects = frozenset(found)

    def remember(self, before: Audits) -> None:
        """Take in how good providers were until a change, where people said it."""
        standing = _standing(before)
        if standing:
            self._before = standing

    def look(self, since: Audits) -> None:
        """Blame those who are worse since a change."""
        for name, (mean, error) in _standing(since).items():
            if name in self._before:
                was, was_error = self._before[name]
                if was - mean > _SURE * math.hypot(error, was_error):
                    self.suspects |= {name}

    def judged(self, audits: Audits, fuser: Fuser) -> Examples:
        """Audits with what they are judged by, to learn from.

        What people said where they did; elsewhere what trusted providers say together,
        or all of them where only one would be left.

        Args:
            audits: with a truth where people said it.
            fuser: what fuses answers.
        """
        recording = audits.recording
        names = recording.providers
        trusted = sum(1 << p for p, n in enumerate(names) if n not in self.suspects)
        if trusted.bit_count() <= 1:
            trusted = recording.everyone
        asked = np.full(len(recording), trusted, np.int64)
        fused = fuser.fuse(recording.shown(asked), asked)
        min_score = SCORE_OF_BOXES if recording.task == "boxes" else 0.0
        truth = as_truth(fused, min_score)
        if recording.truth is not None:
            truth = merged(recording.truth, truth, ~recording.truth.is_missing)
        return Examples(
            recording=replace(recording, truth=truth),
            features=audits.features,
            fuser=fuser,
        )

    def state(self) -> State:
        """Everything, for :meth:`from_state`."""
        return {
            "suspects": sorted(self.suspects),
            "before": {name: list(pair) for name, pair in self._before.items()},
        }

    @classmethod
    def from_state(cls, state: State) -> Trust:
        """What :meth:`state` gave."""
        trust = cls()
        trust.suspects = frozenset(state["suspects"])
        trust._before = {
            str(name): (float(mean), float(error))
            for name, (mean, error) in state["before"].items()
        }
        return trust


def _standing(audits: Audits) -> dict[str, tuple[float, float]]:
    """Mean quality of each provider's own answers and its error, as people judge."""
    from midhaul.federation.quality import item_quality  # noqa: PLC0415 - loads numba

    truth = audits.recording.truth
    if truth is None:
        return {}
    told = np.flatnonzero(~truth.is_missing)
    if len(told) < _FEWEST:
        return {}
    part = audits.recording.take(told)
    found: dict[str, tuple[float, float]] = {}
    for name, answers in zip(part.providers, part.answers, strict=True):
        known: Float64[np.ndarray, " k"] = item_quality(part, answers)
        # Half an item right and half a one wrong: nobody is judged without an error.
        error = math.sqrt(float(known.var()) / len(known) + 0.25 / len(known) ** 2)
        found[name] = float(known.mean()), error
    return found
