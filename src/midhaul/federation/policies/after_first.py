"""What one provider answers, as features for whom to ask besides; it is charged.

A learner that decides once turns into a cascade of two rounds this way: the first
provider is asked about every item, its answer is described, and the learner decides
about the others. Its calls are part of every reward (``Rewards(always=...)``) and of
every replay, because the policy itself asks it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from midhaul.federation.npz_state import SavedFields, from_state
from midhaul.federation.policies.answer_features import describe
from midhaul.federation.policies.base import SubsetPolicy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float32, Int64

    from midhaul.federation.npz_state import State
    from midhaul.federation.policies.base import Examples, Situation
    from midhaul.federation.recordings.problem import Recording


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstAnswer(SavedFields):
    """Describes one provider's answer.

    Attributes:
        provider: its name.
    """

    provider: str

    tag: ClassVar[str] = "kind"
    kind: ClassVar[str] = "first-answer"

    @property
    def names(self) -> tuple[str, ...]:
        """The name of the provider: how many columns depends on the label set."""
        return (self.provider,)

    @property
    def is_of_images(self) -> bool:
        """It needs no image."""
        return False

    def extract(
        self,
        recording: Recording,
        images: Sequence[bytes] = (),  # noqa: ARG002
    ) -> Float32[np.ndarray, "n d"]:
        """See :class:`midhaul.federation.features.base.FeatureExtractor`."""
        return describe(recording.only([self.provider]).answers[0], recording)

    def mask(self, recording: Recording) -> int:
        """The subset to be paid for before these features are known.

        DataError without it.
        """
        recording.only([self.provider])
        return 1 << recording.providers.index(self.provider)

    def prices_usd(self, recording: Recording) -> Float32[np.ndarray, " n"]:
        """``(n,)`` what the features of each item cost."""
        masks = np.full(len(recording), self.mask(recording), np.int64)
        return recording.prices_of(masks).astype(np.float32)

    def widened(self, examples: Examples) -> Examples:
        """The same examples with these features beside theirs."""
        mine = self.extract(examples.recording)
        features = np.concatenate([examples.features, mine], axis=1)
        return replace(examples, features=features)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AfterFirstPolicy(SavedFields):
    """Asks one provider, describes its answer, and lets another policy go on.

    Attributes:
        first: whose answer is described.
        inner: decides about the others; learned on ``first.widened(examples)``.
    """

    first: FirstAnswer
    inner: SubsetPolicy

    tag: ClassVar[str] = "policy"
    kind: ClassVar[str] = "after-first"

    @property
    def name(self) -> str:
        """Name of the policy that goes on, and who is first."""
        return f"{self.inner.name} after {self.first.provider}"

    def decide(
        self, situation: Situation, rng: np.random.Generator
    ) -> Int64[np.ndarray, " n"]:
        """Ask the first provider, then whom the inner policy wants besides."""
        mask = self.first.mask(situation.recording)
        answer = self.first.extract(situation.recording)
        known = np.concatenate([situation.features, answer], axis=1)
        wanted = self.inner.decide(replace(situation, features=known), rng)
        is_new = situation.asked & mask == 0
        return np.where(is_new, mask, wanted & ~situation.asked)

    @classmethod
    def from_state(cls, state: State) -> Self:
        """What :meth:`state` gave."""
        from midhaul.federation.policies.saved import policy_from_state  # noqa: PLC0415

        inner = policy_from_state(state["inner"])
        return from_state(cls, state, given={"inner": inner})
