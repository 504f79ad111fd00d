"""Policies that need no training: everybody, one alone, or one after another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from midhaul.federation.policies.fixed import FixedPolicy

if TYPE_CHECKING:
    from jaxtyping import Int64

    from midhaul.federation.policies.base import Situation, SubsetPolicy

PolicyName = Literal["all", "cheapest-first", "single"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheapestFirst:
    """Asks one provider after another, by price, until one answers."""

    name: str = "cheapest-first"

    def decide(
        self, situation: Situation, rng: np.random.Generator
    ) -> Int64[np.ndarray, " n"]:
        """The cheapest that was not asked, where nobody has answered."""
        del rng
        recording = situation.recording
        chosen = np.zeros(len(situation), np.int64)
        is_missing = np.array([answers.is_missing for answers in recording.answers])
        going = is_missing.all(axis=0)
        for p in np.argsort(recording.prices_usd, kind="stable").tolist():
            is_next = going & (chosen == 0) & (situation.asked >> p & 1 == 0)
            chosen[is_next] = 1 << p
        return chosen


def policy_named(name: PolicyName, n_providers: int) -> SubsetPolicy:
    """A policy by its name.

    Args:
        name: ``all``, ``cheapest-first``, or ``single`` for the first provider alone.
        n_providers: how many there are.
    """
    if name == "cheapest-first":
        return CheapestFirst()
    mask = 1 if name == "single" else (1 << n_providers) - 1
    return FixedPolicy(mask=mask, name=name)
