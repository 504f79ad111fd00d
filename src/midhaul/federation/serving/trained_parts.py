"""What a federation knows: whom to ask, and how several answers become one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.federation.features.base import NoFeatures
from midhaul.federation.policies.base import Situation
from midhaul.federation.recordings.problem import Answers, Recording

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from jaxtyping import Float32, Float64

    from midhaul.federation.features.base import FeatureExtractor
    from midhaul.federation.fusion.base import Fuser
    from midhaul.federation.fusion.calibration import Calibration
    from midhaul.federation.policies.base import SubsetPolicy
    from midhaul.federation.recordings.cleaning import CleaningRules
    from midhaul.federation.recordings.problem import Task
    from midhaul.federation.recordings.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Knowledge:
    """What decides about an answer.

    Attributes:
        task: what an answer is.
        vocabulary: the label set, and the providers' words for it.
        policy: who is asked.
        fuser: what fuses the answers.
        features: what is known of an item before a call.
        calibration: of the providers' scores; None takes them as they are.
        rules: what the providers' numbers mean.
        measure: tells width and height of an item, and raises DataError for what
            providers could not read; None takes everything as it comes.
        save: writes down what the policy has learned, in any thread; None forgets it.
    """

    task: Task
    vocabulary: Vocabulary
    policy: SubsetPolicy
    fuser: Fuser
    features: FeatureExtractor = field(default_factory=NoFeatures)
    calibration: Calibration | None = None
    rules: CleaningRules | None = None
    measure: Callable[[bytes], Awaitable[tuple[float, float]]] | None = None
    save: Callable[[], None] | None = None


class Sheet:
    """What is known of one item while its providers are asked."""

    def __init__(
        self,
        knowledge: Knowledge,
        *,
        item: str,
        providers: tuple[str, ...],
        prices_usd: Float64[np.ndarray, " p"],
        features: Float32[np.ndarray, "1 d"],
        size_px: tuple[float, float] | None,
    ) -> None:
        self._knowledge = knowledge
        self._features = features
        self._blank = Recording(
            task=knowledge.task,
            items=(item,),
            names=knowledge.vocabulary.names,
            providers=providers,
            prices_usd=prices_usd,
            answers=(_NOBODY,) * len(providers),
            sizes_px=None if size_px is None else np.array([size_px], np.float32),
        )
        self._answers = [_NOBODY] * len(providers)
        self.asked = 0
        self._calibrated: tuple[int, Recording] = (0, self._blank)
        self._n_known = 0

    def put(self, provider: int, answers: Answers) -> None:
        """Note what a provider answered."""
        self._answers[provider] = answers
        self._n_known += 1

    @property
    def n_answered(self) -> int:
        """Providers with an answer that can be used."""
        return sum(not answers.is_missing[0] for answers in self._answers)

    @property
    def situation(self) -> Situation:
        """As a policy sees it."""
        return Situation(
            recording=self._recording(),
            features=self._features,
            asked=np.array([self.asked], np.int64),
        )

    def decide(self, rng: np.random.Generator) -> int:
        """The providers to ask next; 0 where the answers are enough."""
        chosen = int(self._knowledge.policy.decide(self.situation, rng)[0])
        return chosen & ~self.asked & self._blank.everyone

    def fused(self) -> Answers:
        """The fused answer."""
        asked = np.array([self.asked], np.int64)
        return self._knowledge.fuser.fuse(self._recording(), asked)

    def _recording(self) -> Recording:
        known, recording = self._calibrated
        if known == self._n_known:
            return recording
        recording = replace(self._blank, answers=tuple(self._answers))
        if self._knowledge.calibration is not None:
            recording = self._knowledge.calibration.apply(recording)
        self._calibrated = (self._n_known, recording)
        return recording


async def features_of(
    knowledge: Knowledge, item: str, data: bytes
) -> Float32[np.ndarray, "1 d"]:
    """What is known of an item before anybody is asked; images are read in a thread.

    DataError where the image cannot be read.
    """
    blank = Recording(
        task=knowledge.task,
        items=(item,),
        names=knowledge.vocabulary.names,
        providers=("nobody",),
        prices_usd=np.zeros(1),
        answers=(_NOBODY,),
    )
    if not knowledge.features.is_of_images:
        return knowledge.features.extract(blank)
    return await asyncio.to_thread(knowledge.features.extract, blank, (data,))


def warm(knowledge: Knowledge, providers: tuple[str, ...]) -> None:
    """Decide and fuse once, so that compilers are done before the first request."""
    sheet = Sheet(
        knowledge,
        item="nothing",
        providers=providers,
        prices_usd=np.zeros(len(providers)),
        features=np.zeros((1, len(knowledge.features.names)), np.float32),
        size_px=(8.0, 8.0),
    )
    rng = np.random.default_rng(0)
    sheet.decide(rng)
    one = Answers.of_rows(
        np.zeros(1, np.int64),
        1,
        np.zeros(1, np.int32),
        np.ones(1, np.float32),
        np.array([[0, 0, 4, 4]], np.float32),
    )
    for number in range(len(providers)):
        sheet.put(number, one)
        sheet.asked |= 1 << number
        sheet.decide(rng)
    sheet.fused()


_NOBODY = Answers.none(1)
