"""Fusing boxes without learning: suppression, weighted means, and votes.

- ``nms``: of boxes that overlap the best stays (greedy non-maximum suppression).
- ``soft_nms``: the others' scores are lowered instead (Bodla et al. 2017); Gaussian, or
  linear as ``soft_nms_linear``.
- ``wbf``: weighted boxes fusion (Solovyev, Wang and Gabruseva 2021).
- ``nmw``: non-maximum weighted (Zhou et al. 2017).

A vote comes first where a name has one (Casado-García and Heras 2020): boxes of one
label that overlap are one object, and it stays where any provider found it
(``affirmative``), more than half of them (``consensus``), or all (``unanimous``).

1. WBF divides by the number of providers that were asked about the item and answered,
   not by a fixed number of models.
2. Its score cannot exceed 1, whatever rule gives it.
3. Votes are by providers, not boxes: a provider that names one object twice votes once.
4. Boxes without area are nobody's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from midhaul.errors import ConfigError
from midhaul.federation.problem import Answers

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Int32, Int64

    from midhaul.federation.problem import Recording
    from midhaul.federation.saving import State

Method = Literal["nms", "soft_nms", "soft_nms_linear", "wbf", "nmw"]
Vote = Literal["affirmative", "consensus", "unanimous"]
Scoring = Literal["avg", "max", "box_and_model_avg", "absent_model_aware_avg"]

METHODS: tuple[Method, ...] = ("nms", "soft_nms", "soft_nms_linear", "wbf", "nmw")
VOTES: tuple[Vote, ...] = ("affirmative", "consensus", "unanimous")
SCORINGS: tuple[Scoring, ...] = (
    "avg",
    "max",
    "box_and_model_avg",
    "absent_model_aware_avg",
)
_FLOOR = 0.001


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pool:
    """The boxes of everybody who was asked, sorted by item, label and falling score.

    Attributes:
        items: ``(m,)`` item of each box.
        labels: ``(m,)``.
        scores: ``(m,)``.
        boxes: ``(m, 4)``.
        providers: ``(m,)`` number of the provider.
        n_answered: ``(n,)`` providers that were asked about each item and answered.
        groups: ``(g + 1,)`` where each group of one item and label begins.
    """

    items: Int64[np.ndarray, " m"]
    labels: Int32[np.ndarray, " m"]
    scores: Float32[np.ndarray, " m"]
    boxes: Float32[np.ndarray, "m 4"]
    providers: Int64[np.ndarray, " m"]
    n_answered: Int64[np.ndarray, " n"]
    groups: Int64[np.ndarray, " g_plus_1"]

    def take(self, keep: Bool[np.ndarray, " m"]) -> Pool:
        """The boxes that a mask picks."""
        return Pool(
            items=self.items[keep],
            labels=self.labels[keep],
            scores=self.scores[keep],
            boxes=self.boxes[keep],
            providers=self.providers[keep],
            n_answered=self.n_answered,
            groups=_groups(self.items[keep], self.labels[keep]),
        )


def pool(recording: Recording, asked: Int64[np.ndarray, " n"]) -> Pool:
    """Gather the boxes of the providers that were asked about each item."""
    from midhaul.federation.fusion.gathering import gather  # noqa: PLC0415  numba

    given = recording.answers
    sizes = np.array([len(answers.labels) for answers in given], np.int64)
    labels = np.concatenate([answers.labels for answers in given])
    scores = np.concatenate([answers.scores for answers in given])
    boxes = np.concatenate([answers.boxes for answers in given])
    entries, providers, starts, n_answered = gather(
        np.asarray(asked, np.int64),
        np.stack([answers.is_missing for answers in given]),
        np.stack([answers.starts for answers in given]),
        np.cumsum(sizes) - sizes,
        labels,
        scores,
        boxes,
    )
    items = np.repeat(np.arange(len(recording)), np.diff(starts))
    labels = labels[entries]
    return Pool(
        items=items,
        labels=labels,
        scores=scores[entries],
        boxes=boxes[entries],
        providers=providers,
        n_answered=n_answered,
        groups=_groups(items, labels),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxFuser:
    """One way to fuse boxes.

    Attributes:
        method: what becomes of boxes that overlap.
        vote: which objects stay.
        iou: overlap of boxes that mean the same object.
        scoring: the score of a mean box (wbf), in the words of ensemble-boxes.
        sigma: width of the Gaussian (soft_nms).
    """

    method: Method = "wbf"
    vote: Vote = "affirmative"
    iou: float = 0.55
    scoring: Scoring = "avg"
    sigma: float = 0.5

    kind: ClassVar[str] = "boxes"

    def __post_init__(self) -> None:
        """Check the names.

        Raises:
            ConfigError: there is no such method, vote or scoring.
        """
        for found, known in (
            (self.method, METHODS),
            (self.vote, VOTES),
            (self.scoring, SCORINGS),
        ):
            if found not in known:
                message = f"there is no fusion {found!r}, only {', '.join(known)}"
                raise ConfigError(message)

    @property
    def name(self) -> str:
        """Method, and the vote where it is not affirmative."""
        return self.method if self.vote == "affirmative" else self._long

    @property
    def _long(self) -> str:
        return f"{self.method}/{self.vote}"

    def fuse(self, recording: Recording, asked: Int64[np.ndarray, " n"]) -> Answers:
        """Fuse, for each item, the boxes of the providers that were asked."""
        from midhaul.federation.fusion import box_kernels as kernels  # noqa: PLC0415

        found = pool(recording, asked)
        if self.vote != "affirmative" and len(found.items):
            found = found.take(self._elected(found))
        groups, scores, boxes = found.groups, found.scores, found.boxes
        if self.method in ("nms", "soft_nms", "soft_nms_linear"):
            if self.method == "nms":
                keep = kernels.suppress(groups, boxes, self.iou)
            else:
                sigma = self.sigma if self.method == "soft_nms" else 0.0
                lowered = kernels.soften(groups, scores, boxes, self.iou, sigma)
                keep, scores = lowered > _FLOOR, lowered.astype(np.float32)
            return _answers(
                found,
                found.items[keep],
                found.labels[keep],
                scores[keep],
                boxes[keep],
            )
        moves = self.method == "wbf"
        of, n = kernels.cluster(groups, scores, boxes, self.iou, moves)
        first = np.unique(of, return_index=True)[1]
        if moves:
            fused = kernels.fuse_weighted(
                of,
                n,
                scores,
                boxes,
                found.providers,
                found.n_answered[found.items],
                SCORINGS.index(self.scoring),
            )
        else:
            fused = kernels.fuse_maximal(of, n, scores, boxes)
        return _answers(found, found.items[first], found.labels[first], *fused)

    def _elected(self, found: Pool) -> Bool[np.ndarray, " m"]:
        """The boxes of objects that enough providers found."""
        from midhaul.federation.fusion import box_kernels as kernels  # noqa: PLC0415

        of, n = kernels.cluster(
            found.groups, found.scores, found.boxes, self.iou, moves=False
        )
        voters = np.zeros(n, np.int64)
        np.bitwise_or.at(voters, of, np.int64(1) << found.providers)
        n_voters = np.bitwise_count(voters)[of]
        n_answered = found.n_answered[found.items]
        if self.vote == "unanimous":
            return n_voters >= n_answered
        return 2 * n_voters > n_answered

    def state(self) -> State:
        """Everything, for :meth:`from_state`."""
        return {
            "fuser": self.kind,
            "method": self.method,
            "vote": self.vote,
            "iou": self.iou,
            "scoring": self.scoring,
            "sigma": self.sigma,
        }

    @classmethod
    def from_state(cls, state: State) -> BoxFuser:
        """What :meth:`state` gave."""
        return cls(**{key: state[key] for key in state if key != "fuser"})


def _groups(
    items: Int64[np.ndarray, " m"], labels: Int32[np.ndarray, " m"]
) -> Int64[np.ndarray, " g_plus_1"]:
    if not len(items):
        return np.zeros(1, np.int64)
    is_new = (np.diff(items) != 0) | (np.diff(labels) != 0)
    return np.concatenate([[0], np.flatnonzero(is_new) + 1, [len(items)]])


def _answers(
    found: Pool,
    items: np.ndarray,
    labels: np.ndarray,
    scores: np.ndarray,
    boxes: np.ndarray,
) -> Answers:
    """Fused boxes as answers, those of an item by falling score; items must rise."""
    from midhaul.federation.fusion.gathering import falling  # noqa: PLC0415  numba

    scores = np.clip(scores, 0, 1).astype(np.float32)
    n = len(found.n_answered)
    starts = np.zeros(n + 1, np.int64)
    np.cumsum(np.bincount(items, minlength=n), out=starts[1:])
    order = falling(starts, scores)
    return Answers(
        starts=starts,
        labels=labels[order],
        scores=scores[order],
        boxes=boxes[order].astype(np.float32),
        is_missing=found.n_answered == 0,
        is_ignored=np.zeros(len(order), bool),
    )
