"""Whose answers are trusted as a reference, and what an audited item is judged by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.federation.policies.audits import merged
from midhaul.federation.policies.references import SCORE_OF_BOXES, as_truth

if TYPE_CHECKING:
    from collections.abc import Iterable

    from midhaul.federation.fusion.base import Fuser
    from midhaul.federation.policies.base import Situation
    from midhaul.federation.policies.drift import Alarm
    from midhaul.federation.problem import Answers


def judged_by(
    part: Situation, fused: Answers, fuser: Fuser, suspects: frozenset[str]
) -> Answers:
    """What people said where they did, otherwise what trusted providers say together.

    Args:
        part: items that everybody was asked about.
        fused: the fused answers of everybody.
        fuser: fuses those of fewer.
        suspects: names of providers that are not trusted; all are, where only one would
            be left.
    """
    recording = part.recording
    providers = recording.providers
    trusted = sum(1 << p for p, name in enumerate(providers) if name not in suspects)
    if trusted != recording.everyone and trusted.bit_count() > 1:
        asked = np.full(len(part), trusted, np.int64)
        fused = fuser.fuse(recording.shown(asked), asked)
    min_score = SCORE_OF_BOXES if recording.task == "boxes" else 0.0
    reference = as_truth(fused, min_score)
    truth = recording.truth
    return reference if truth is None else merged(truth, reference, ~truth.is_missing)


def suspects_after(suspects: frozenset[str], alarms: Iterable[Alarm]) -> frozenset[str]:
    """Trust or no longer trust providers that changed.

    Args:
        suspects: those that were not trusted so far.
        alarms: what changed, in its order.
    """
    found = set(suspects)
    for alarm in alarms:
        if alarm.signal == "agreement":
            (found.add if alarm.direction == "fell" else found.discard)(alarm.provider)
    return frozenset(found)
