"""Chance decides: the baselines Random-1 and Random-N of Armol's table.

Xie et al., "Cost Effective MLaaS Federation", INFOCOM 2022, ask one provider drawn
uniformly, or a subset drawn uniformly from all but the empty one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Int64

    from midhaul.federation.policies.base import Situation
    from midhaul.federation.saving import State


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomOne:
    """Asks one provider, each with the same chance."""

    kind: ClassVar[str] = "random-1"

    @property
    def name(self) -> str:
        """Short name."""
        return self.kind

    def decide(
        self, situation: Situation, rng: np.random.Generator
    ) -> Int64[np.ndarray, " n"]:
        """Draw where nobody was asked yet."""
        drawn = rng.integers(0, situation.recording.n_providers, len(situation))
        return np.where(situation.asked == 0, np.int64(1) << drawn, 0)

    def state(self) -> State:
        """Everything, for :meth:`from_state`."""
        return {"policy": self.kind}

    @classmethod
    def from_state(cls, state: State) -> RandomOne:
        """What :meth:`state` gave."""
        del state
        return cls()


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomSubset:
    """Asks a subset, each but the empty one with the same chance."""

    kind: ClassVar[str] = "random-n"

    @property
    def name(self) -> str:
        """Short name."""
        return self.kind

    def decide(
        self, situation: Situation, rng: np.random.Generator
    ) -> Int64[np.ndarray, " n"]:
        """Draw where nobody was asked yet."""
        everyone = situation.recording.everyone
        drawn = rng.integers(1, everyone, len(situation), endpoint=True)
        return np.where(situation.asked == 0, drawn, 0)

    def state(self) -> State:
        """Everything, for :meth:`from_state`."""
        return {"policy": self.kind}

    @classmethod
    def from_state(cls, state: State) -> RandomSubset:
        """What :meth:`state` gave."""
        del state
        return cls()
