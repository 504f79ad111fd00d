"""Replaying a policy over recorded answers: every call it makes is charged."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.federation.policies.base import Situation
from midhaul.model.display import Shown

if TYPE_CHECKING:
    from jaxtyping import Float32, Float64, Int64

    from midhaul.federation.fusion.base import Fuser
    from midhaul.federation.policies.base import SubsetPolicy
    from midhaul.federation.recordings.problem import Answers, Recording


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Replay(Shown):
    """What a policy did to n items.

    Attributes:
        asked: ``(n,)`` mask of all providers asked.
        rounds: ``(r, n)`` mask asked in each round; 0 where an item was done.
        cost_usd: ``(n,)`` price of the calls.
        fused: the answers given.
        situation: what was known at the end.
    """

    asked: Int64[np.ndarray, " n"]
    rounds: Int64[np.ndarray, "r n"]
    cost_usd: Float64[np.ndarray, " n"]
    fused: Answers
    situation: Situation


def replay(
    policy: SubsetPolicy,
    recording: Recording,
    features: Float32[np.ndarray, "n d"],
    fuser: Fuser,
    rng: np.random.Generator,
) -> Replay:
    """Let a policy decide about every item of a recording until it asks nobody.

    The policy sees only answers that it paid for, and never the truth.

    Args:
        policy: who decides.
        recording: what would be answered.
        features: ``(n, d)`` of the items.
        fuser: what fuses the answers in the end.
        rng: the policy's chance.
    """
    n = len(recording)
    asked = np.zeros(n, np.int64)
    rounds: list[Int64[np.ndarray, " n"]] = []
    going = np.arange(n)
    while len(going):
        part = recording if len(going) == n else recording.take(going)
        situation = Situation(
            recording=part.shown(asked[going]),
            features=features[going],
            asked=asked[going],
        )
        new = policy.decide(situation, rng) & ~asked[going] & recording.everyone
        going, new = going[new != 0], new[new != 0]
        if len(going):
            asked[going] |= new
            rounds.append(np.zeros(n, np.int64))
            rounds[-1][going] = new
    shown = recording.shown(asked)
    return Replay(
        asked=asked,
        rounds=np.array(rounds, np.int64).reshape(len(rounds), n),
        cost_usd=recording.prices_of(asked),
        fused=fuser.fuse(shown, asked),
        situation=Situation(
            recording=replace(shown, truth=None), features=features, asked=asked
        ),
    )
