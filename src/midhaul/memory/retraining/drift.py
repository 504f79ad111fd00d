"""Drift detectors of river on the log score: ADWIN, Page-Hinkley, KSWIN.

Bifet and Gavalda, "Learning from time-changing data with adaptive windowing", SDM 2007;
Page, "Continuous inspection schemes", Biometrika 41 (1954); Raab, Heusinger and
Schleif, "Reactive soft prototype computing for concept drift streams", Neurocomputing
416 (2020). Each looks at one number after the other and says when they have changed.

1. They see the log score of each sample, or its mean in each group. Samples of a group
   resemble each other, which no detector knows: by sample, all of them fire far more
   often than their settings promise.
2. What a detector has in mind is not ours to save. The state is what it was told since
   it was last reset, and a restored one is told all of it again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from midhaul.errors import ConfigError, require
from midhaul.memory.retraining.base import RetrainDecision
from midhaul.memory.retraining.schedule import FIRST
from midhaul.memory.selectors.pool import check_state
from midhaul.memory.selectors.score import losses

if TYPE_CHECKING:
    from midhaul.memory.retraining.base import Arrays, RetrainSituation

Detection = Literal["adwin", "page-hinkley", "kswin"]
"""The detectors by name."""

_SLOW = "kswin"
"""It sorts a window for each number: thousands a second, the others do millions."""


class DriftRule:
    """Retrain when a detector has found a change of the log score within the period.

    Args:
        detector: which one.
        each: what it is told a number of: a ``"sample"`` or a ``"group"``. By default
            KSWIN, which is slow, is told of groups, and the others of samples.
        settings: of the detector, as river names them.

    Raises:
        ConfigError: there is no such detector or setting.
        PrerequisiteError: river is not installed.
    """

    def __init__(
        self,
        *,
        detector: Detection = "adwin",
        each: Literal["sample", "group"] | None = None,
        **settings: float,
    ) -> None:
        if detector not in get_args(Detection):
            names = ", ".join(get_args(Detection))
            message = f"detector: expected one of {names}, found {detector!r}"
            raise ConfigError(message)
        self.detector = detector
        self.each = each or ("group" if detector == _SLOW else "sample")
        if detector == _SLOW:
            settings = {"seed": 0} | settings
        self._settings = settings
        self._found = self._new()
        self._told: list[np.ndarray] = []

    @property
    def name(self) -> str:
        """That of the detector."""
        return self.detector

    def decide(self, now: RetrainSituation) -> RetrainDecision:
        """Tell it the period's log scores, in their order."""
        if now.trained is None:
            return FIRST
        score = np.zeros(0)
        if len(now.new):
            score = -losses(now.new, now.bins, f"rule {self.name}")
        if self.each == "group" and len(score):
            _, first, group = np.unique(
                now.new.group, return_index=True, return_inverse=True
            )
            means = np.bincount(group, score) / np.bincount(group)
            score = means[np.argsort(first)]
        self._told.append(score)
        n_alarms = _tell(self._found, score)
        return RetrainDecision(
            retrain=n_alarms > 0,
            why=f"{self.name} found {n_alarms} changes of the log score of each "
            f"{self.each}",
            value=float(n_alarms),
            threshold=1.0,
        )

    def retrained(self) -> None:
        """Begin anew: the scores of another model are other scores."""
        self._found = self._new()
        self._told = []

    def state(self) -> Arrays:
        """All that it was told since it was reset."""
        return {"told": np.concatenate([np.zeros(0), *self._told])}

    def restore(self, state: Arrays) -> None:
        """Tell it all again."""
        check_state(state, self.name, ("told",))
        self.retrained()
        self._told = [np.asarray(state["told"], np.float64)]
        _tell(self._found, self._told[0])

    def _new(self) -> Any:
        drift = require("river.drift", "memory")
        makers: dict[str, Any] = {
            "adwin": drift.ADWIN,
            "page-hinkley": drift.PageHinkley,
            "kswin": drift.KSWIN,
        }
        try:
            return makers[self.detector](**self._settings)
        except TypeError as error:
            message = f"{self.detector} cannot be told {self._settings}: {error}"
            raise ConfigError(message, "see the documentation of river.drift") from None


def _tell(detector: Any, scores: np.ndarray) -> int:
    """How often it found a change."""
    n_alarms = 0
    for score in scores.tolist():
        detector.update(score)
        n_alarms += bool(detector.drift_detected)
    return n_alarms
