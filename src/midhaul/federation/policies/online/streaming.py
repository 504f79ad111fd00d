"""A policy over time: item after item, with what it lost against who knew better.

Regret is the sum over items of the worth that somebody else had there less the
policy's, worth being quality less multiplier times price. Somebody else is the best
fixed subset in hindsight, or the oracle that knows the best one of every item. Every
call is charged, also those of audits and of exploring.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.federation.policies.base import candidate_masks, finite_multiplier, replay
from midhaul.federation.quality import item_quality, subset_qualities
from midhaul.federation.recordings.problem import prices_of
from midhaul.model.display import Shown

if TYPE_CHECKING:
    from jaxtyping import Float32, Float64, Int64

    from midhaul.federation.fusion.base import Fuser
    from midhaul.federation.policies.base import OnlinePolicy, SubsetPolicy
    from midhaul.federation.policies.online.drift import Alarm
    from midhaul.federation.recordings.problem import Recording


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamAlarm:
    """An alarm, and when it came.

    Attributes:
        item_number: items that had come until then, from 1.
    """

    item_number: int
    alarm: Alarm


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPoint:
    """How it went until one item.

    Attributes:
        regret: worth lost so far.
        quality: mean of the last items.
        cost_usd: mean price of the last items.
        is_alarm: whether an alarm came since the point before.
    """

    item_number: int
    regret: float
    quality: float
    cost_usd: float
    is_alarm: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class StreamResult(Shown):
    """What a policy did to n items in a row.

    Attributes:
        asked: ``(n,)`` mask of all providers asked.
        cost_usd: ``(n,)`` price of the calls.
        quality: ``(n,)`` of the fused answers.
        multiplier: quality that one USD has to buy.
        masks: ``(s,)`` the subsets it is held against.
        worths: ``(n, s)`` quality of each subset less multiplier times its price.
        alarms: in their order.
    """

    asked: Int64[np.ndarray, " n"]
    cost_usd: Float64[np.ndarray, " n"]
    quality: Float64[np.ndarray, " n"]
    multiplier: float
    masks: Int64[np.ndarray, " s"]
    worths: Float64[np.ndarray, "n s"]
    alarms: tuple[StreamAlarm, ...]

    def __len__(self) -> int:
        """Number of items."""
        return len(self.asked)

    @property
    def worth(self) -> Float64[np.ndarray, " n"]:
        """``(n,)`` quality less multiplier times price."""
        return self.quality - self.multiplier * self.cost_usd

    def best_fixed(self, start: int = 0, stop: int | None = None) -> int:
        """Number of the subset of the highest worth over some of the items."""
        return int(self.worths[start:stop].mean(axis=0).argmax())

    def regret(self, *, subset: int | None = None) -> Float64[np.ndarray, " n"]:
        """``(n,)`` worth lost so far against a fixed subset.

        Args:
            subset: its number; the best one over all items when None.
        """
        number = self.best_fixed() if subset is None else subset
        return np.cumsum(self.worths[:, number] - self.worth)

    def regret_to_oracle(self) -> Float64[np.ndarray, " n"]:
        """``(n,)`` worth lost so far against the best subset of every item."""
        return np.cumsum(self.worths.max(axis=1) - self.worth)

    def points(self, n_points: int = 100, window: int = 200) -> tuple[StreamPoint, ...]:
        """A few items in equal steps, the last one included.

        Args:
            n_points: how many.
            window: items that means are over.
        """
        regret, came = self.regret(), [one.item_number for one in self.alarms]
        ends = np.unique(np.linspace(1, len(self), n_points).astype(int)).tolist()
        ends = ends if len(self) else []
        return tuple(
            StreamPoint(
                item_number=end,
                regret=float(regret[end - 1]),
                quality=float(self.quality[max(0, end - window) : end].mean()),
                cost_usd=float(self.cost_usd[max(0, end - window) : end].mean()),
                is_alarm=any(before < number <= end for number in came),
            )
            for before, end in zip([0, *ends[:-1]], ends, strict=True)
        )


def stream(
    policy: SubsetPolicy | OnlinePolicy,
    recording: Recording,
    features: Float32[np.ndarray, "n d"],
    fuser: Fuser,
    rng: np.random.Generator,
    *,
    feedback_share: float = 1.0,
    multiplier: float = 0.0,
    batch: int = 16,
) -> StreamResult:
    """Let a policy decide about items in their order, and learn if it can.

    Changed prices or more providers are another recording: stream it afterwards with
    the same policy.

    Args:
        policy: who decides; told how items ended when it can learn, and changed by it.
        recording: items in the order in which they come, with a truth.
        features: ``(n, d)``.
        fuser: what fuses answers.
        rng: chance of the policy and of the feedback.
        feedback_share: chance that somebody says what is right, for each item.
        multiplier: quality that one USD has to buy, for worth.
        batch: items that come at the same time.
    """
    learn: Any = getattr(policy, "learn", None)
    n, feedback = len(recording), np.random.default_rng(int(rng.integers(2**63)))
    is_told = feedback.random(n) < feedback_share
    asked, quality = np.zeros(n, np.int64), np.zeros(n)
    alarms: list[StreamAlarm] = []
    for start in range(0, n, batch):
        rows = np.arange(start, min(n, start + batch))
        part = recording.take(rows)
        n_alarms = len(getattr(policy, "alarms", ()))
        done = replay(policy, part, features[rows], fuser, rng)
        asked[rows] = done.asked
        quality[rows] = item_quality(part, done.fused)
        if learn is None:
            continue
        told = None if part.truth is None else part.truth.hidden(~is_told[rows])
        situation = replace(
            done.situation, recording=replace(done.situation.recording, truth=told)
        )
        learn(situation, done.fused, np.where(is_told[rows], quality[rows], np.nan))
        new = getattr(policy, "alarms", ())[n_alarms:]
        alarms += [StreamAlarm(item_number=int(rows[-1]) + 1, alarm=a) for a in new]
    masks = candidate_masks(recording.n_providers)
    rate = finite_multiplier(multiplier, recording.prices_usd)
    costs = prices_of(masks, recording.prices_usd)
    return StreamResult(
        asked=asked,
        cost_usd=recording.prices_of(asked),
        quality=quality,
        multiplier=rate,
        masks=masks,
        worths=subset_qualities(recording, fuser, masks) - rate * costs,
        alarms=tuple(alarms),
    )
