"""Retraining rules: whether what has been seen since is worth a new model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from midhaul.memory.samples import Bins, Samples

    Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RetrainSituation:
    """What a rule may look at, at the end of a period.

    Attributes:
        period: its number, from 0.
        new: what came in it, with what the present model said before it learnt of it.
        memory: what is in memory, with what the present model says of it.
        trained: what the present model was trained on, with what it says of it; None
            before the first training.
        bins: how outputs are discretised.
        rng: all chance of it.
    """

    period: int
    new: Samples
    memory: Samples
    trained: Samples | None
    bins: Bins
    rng: np.random.Generator


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainDecision:
    """Whether to retrain, and why.

    Attributes:
        retrain: what to do.
        why: a sentence.
        value: what the rule looked at.
        threshold: the value from which it retrains; NaN where it has none.
        p_value: how probable such a value is when nothing has changed; NaN where the
            rule does not know.
        grown: the cells of output that grew most, each with its share before and now.
        n_groups: groups of the period, where the rule compares groups.
        n_forgotten: groups that it has forgotten since the last decision, so that what
            it remembers stays small.
    """

    retrain: bool
    why: str
    value: float = float("nan")
    threshold: float = float("nan")
    p_value: float = float("nan")
    grown: tuple[tuple[int, float, float], ...] = ()
    n_groups: int = 0
    n_forgotten: int = 0


class RetrainRule(Protocol):
    """Decides at the end of each period. Before the first training it says yes."""

    @property
    def name(self) -> str:
        """What configs and tables call it."""
        ...

    def decide(self, now: RetrainSituation) -> RetrainDecision:
        """Look at a period; DataError if it lacks what the rule needs."""
        ...

    def retrained(self) -> None:
        """Hear that a new model was trained since the last decision."""
        ...

    def state(self) -> Arrays:
        """All that it remembers, to go on from."""
        ...

    def restore(self, state: Arrays) -> None:
        """Go on from a state; DataError if it is of another rule or version."""
        ...
