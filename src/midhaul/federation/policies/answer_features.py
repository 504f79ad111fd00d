"""Answer features: numbers that say what is worth knowing of a provider's answer.

They are of every task. Nothing is fitted and nobody's truth is looked at: a learner
decides what the numbers mean. An answer that is missing is told apart from an empty one
by the first column.

*After first*: what one provider answers tells whom to ask besides, and is charged. A
learner that decides once turns into a cascade of two rounds this way: the first
provider is asked about every item, its answer is described, and the learner decides
about the others. Its calls are part of every reward (``Rewards(always=...)``) and of
every replay, because the policy itself asks it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from midhaul.federation.policies.base import SubsetPolicy
from midhaul.npz_state import SavedFields, from_state

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float32, Float64, Int64

    from midhaul.federation.policies.base import Examples, Situation
    from midhaul.federation.recordings.problem import Answers, Recording
    from midhaul.npz_state import State

_TINY = 1e-4
_STEPS = (0.1, 0.25, 0.5)
"""Scores above which boxes are counted."""

_SUMMARY = (
    "is_answered",
    "n_entries",
    "n_labels",
    "best_label",
    "best_score",
    "best_logit",
    "second_score",
    "margin",
    "score_sum",
    "score_mean",
    "entropy",
    "doubt",
)
_OF_BOXES = ("n_above_10", "n_above_25", "n_above_50", "largest_area", "mean_area")


def answer_features(recording: Recording) -> Float32[np.ndarray, "p n d"]:
    """Describe every provider's answer to every item by itself, without the truth.

    In the order of :func:`feature_names`; an answer that is missing is a row of zeros,
    with -1 for the best label.
    """
    described = [describe(answers, recording) for answers in recording.answers]
    return np.stack(described)


def feature_names(recording: Recording) -> tuple[str, ...]:
    """Names of the d columns: a summary, then the best score of each label."""
    of_task = _OF_BOXES if recording.task == "boxes" else ()
    best = tuple(f"best:{name}" for name in recording.names)
    total = tuple(f"sum:{name}" for name in recording.names)
    return _SUMMARY + of_task + best + (total if recording.task == "boxes" else ())


def n_summary(recording: Recording) -> int:
    """Columns of the summary, which come before those of single labels."""
    return len(_SUMMARY) + (len(_OF_BOXES) if recording.task == "boxes" else 0)


def describe(answers: Answers, recording: Recording) -> Float32[np.ndarray, "n d"]:
    """Describe one answer to every item: a provider's, or a fused one."""
    n, c = len(answers), len(recording.names)
    items, labels = answers.items, answers.labels
    scores = np.nan_to_num(answers.scores.astype(np.float64)).clip(0.0, 1.0)
    best, total = np.zeros((n, c)), np.zeros((n, c))
    np.maximum.at(best, (items, labels), scores)
    np.add.at(total, (items, labels), scores)
    columns = _summary(answers, scores, best, total)
    if recording.task == "boxes":
        columns += _of_boxes(answers, recording, scores)
    parts = [np.stack(columns, axis=1), best]
    if recording.task == "boxes":
        parts.append(total)
    return np.concatenate(parts, axis=1).astype(np.float32)


def _summary(
    answers: Answers,
    scores: Float64[np.ndarray, " m"],
    best: Float64[np.ndarray, "n c"],
    total: Float64[np.ndarray, "n c"],
) -> list[Float64[np.ndarray, " n"]]:
    """The columns of ``_SUMMARY``."""
    n, c = best.shape
    items = answers.items
    counts = answers.counts.astype(np.float64)
    order = np.sort(best, axis=1)
    first = order[:, -1] if c else np.zeros(n)
    second = order[:, -2] if c > 1 else np.zeros(n)
    has_any = counts > 0
    which = np.where(has_any, best.argmax(axis=1), -1) if c else np.full(n, -1)
    score_sum = total.sum(axis=1)
    shares = total / np.maximum(score_sum, _TINY)[:, None]
    entropy = 0.0 - (shares * np.log(np.maximum(shares, _TINY))).sum(axis=1)
    clipped = first.clip(_TINY, 1 - _TINY)
    return [
        np.where(answers.is_missing, 0.0, 1.0),
        counts,
        (total > 0).sum(axis=1).astype(np.float64),
        which.astype(np.float64),
        first,
        np.where(has_any, np.log(clipped / (1 - clipped)), 0.0),
        second,
        first - second,
        score_sum,
        score_sum / np.maximum(counts, 1.0),
        entropy,
        np.bincount(items, scores * (1 - scores), minlength=n),
    ]


def _of_boxes(
    answers: Answers, recording: Recording, scores: Float64[np.ndarray, " m"]
) -> list[Float64[np.ndarray, " n"]]:
    """The columns of ``_OF_BOXES``; areas are shares of the image, if it is known."""
    n, items = len(answers), answers.items
    counts = [
        np.bincount(items, scores >= step, minlength=n).astype(np.float64)
        for step in _STEPS
    ]
    corners = answers.boxes.astype(np.float64)
    sides = np.nan_to_num(corners[:, 2:] - corners[:, :2]).clip(0.0)
    areas = sides.prod(axis=1)
    whole = np.full(n, 1e6)
    if recording.sizes_px is not None:
        sizes = recording.sizes_px.astype(np.float64).prod(axis=1)
        whole = np.where(sizes > 0, sizes, whole)
    shares = np.minimum(areas / whole[items], 1.0)
    largest = np.zeros(n)
    np.maximum.at(largest, items, shares * (scores >= _STEPS[0]))
    weight = np.bincount(items, scores, minlength=n)
    mean = np.bincount(items, scores * shares, minlength=n) / np.maximum(weight, _TINY)
    return [*counts, largest, mean]


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstAnswer(SavedFields):
    """Describes one provider's answer."""

    is_of_images = False
    provider: str

    tag: ClassVar[str] = "kind"
    kind: ClassVar[str] = "first-answer"

    @property
    def names(self) -> tuple[str, ...]:
        """The name of the provider: how many columns depends on the label set."""
        return (self.provider,)

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
        from midhaul.federation.policies.base import policy_from_state  # noqa: PLC0415

        inner = policy_from_state(state["inner"])
        return from_state(cls, state, given={"inner": inner})
