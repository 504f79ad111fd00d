"""What a bandit sees of an item: its features, perhaps a first provider's answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.federation.policies.answer_features import describe

if TYPE_CHECKING:
    from jaxtyping import Float32, Float64

    from midhaul.federation.problem import Recording
    from midhaul.federation.saving import State

_WIDEST = 8.0
"""Deviations from the mean beyond which a number says no more."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Context:
    """How items become numbers of mean 0 and deviation 1, with a constant first.

    Attributes:
        base: provider whose answer is described as well; -1 for nobody.
        center: ``(d,)`` mean on the training items.
        scale: ``(d,)`` deviation; 1 where a number never changes.
    """

    base: int
    center: Float64[np.ndarray, " d"]
    scale: Float64[np.ndarray, " d"]

    def of(
        self, recording: Recording, features: Float32[np.ndarray, "n f"]
    ) -> Float64[np.ndarray, "n d1"]:
        """``(n, 1 + d)`` of the items.

        Args:
            recording: items and answers; of these only the base's is looked at.
            features: ``(n, f)`` as the policy was learned with.
        """
        raw = _raw(recording, features, self.base)
        scaled = ((raw - self.center) / self.scale).clip(-_WIDEST, _WIDEST)
        return np.concatenate([np.ones((len(raw), 1)), scaled], axis=1)

    def state(self) -> State:
        """Everything, for :meth:`from_state`."""
        return {"base": self.base, "center": self.center, "scale": self.scale}

    @classmethod
    def from_state(cls, state: State) -> Context:
        """What :meth:`state` gave."""
        return cls(
            base=int(state["base"]),
            center=np.asarray(state["center"], np.float64),
            scale=np.asarray(state["scale"], np.float64),
        )


def context_of(
    recording: Recording, features: Float32[np.ndarray, "n f"], base: int
) -> Context:
    """Learn means and deviations.

    Args:
        recording: training items; the truth is not looked at.
        features: ``(n, f)``.
        base: provider whose answer is described as well; -1 for nobody.
    """
    raw = _raw(recording, features, base)
    if not len(raw):
        raw = np.zeros((1, raw.shape[1]))
    scale = raw.std(axis=0)
    return Context(
        base=base, center=raw.mean(axis=0), scale=np.where(scale > 0, scale, 1.0)
    )


def _raw(
    recording: Recording, features: Float32[np.ndarray, "n f"], base: int
) -> Float64[np.ndarray, "n d"]:
    known = features.astype(np.float64)
    if base < 0:
        return known
    answer = describe(recording.answers[base], recording).astype(np.float64)
    return np.concatenate([known, answer], axis=1)
