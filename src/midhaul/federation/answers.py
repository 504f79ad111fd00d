"""Somebody's answers to many items, as one struct of arrays (compressed rows).

The answer to item ``i`` is ``starts[i]:starts[i + 1]``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.model.display import Display, Shown, counted

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float32, Int32, Int64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Answers(Shown):
    """Somebody's answers to n items: a provider's, the truth, or fused ones.

    Attributes:
        starts: ``(n + 1,)`` where each item's entries begin; the last is their number.
        labels: ``(m,)`` indices into the recording's names.
        scores: ``(m,)`` in [0, 1]; 1 throughout in a truth.
        boxes: ``(m, 4)`` corners x1, y1, x2, y2 in px; zeros where the task has none.
        is_missing: ``(n,)`` true where nobody answered (not asked, or failed), which
            is not the same as an empty answer.
        is_ignored: ``(m,)`` true for entries of a truth that count neither way
            (VOC's difficult boxes, COCO's crowds).

    Raises:
        ValueError: the arrays disagree in length.
    """

    starts: Int64[np.ndarray, " n_plus_1"]
    labels: Int32[np.ndarray, " m"]
    scores: Float32[np.ndarray, " m"]
    boxes: Float32[np.ndarray, "m 4"]
    is_missing: Bool[np.ndarray, " n"]
    is_ignored: Bool[np.ndarray, " m"]

    def __post_init__(self) -> None:
        """Check the shapes against each other."""
        m = len(self.labels)
        if self.scores.shape != (m,) or self.boxes.shape != (m, 4):
            message = (
                f"{m} labels, scores {self.scores.shape}, boxes {self.boxes.shape}"
            )
            raise ValueError(message)
        if len(self.starts) != len(self.is_missing) + 1 or self.starts[-1] != m:
            message = f"{len(self.is_missing)} items, starts {self.starts.shape}"
            raise ValueError(message)
        if self.is_ignored.shape != (m,):
            message = f"{m} labels but is_ignored {self.is_ignored.shape}"
            raise ValueError(message)

    def __len__(self) -> int:
        """Number of items."""
        return len(self.is_missing)

    @classmethod
    def of_rows(
        cls,
        items: Int64[np.ndarray, " m"],
        n_items: int,
        labels: Int32[np.ndarray, " m"],
        scores: Float[np.ndarray, " m"],
        boxes: Float[np.ndarray, "m 4"] | None = None,
        *,
        is_missing: Bool[np.ndarray, " n"] | None = None,
        is_ignored: Bool[np.ndarray, " m"] | None = None,
    ) -> Answers:
        """Answers from one row per entry, in any order of the items.

        Args:
            items: ``(m,)`` number of the item of each entry.
            n_items: how many items there are.
            labels: ``(m,)``.
            scores: ``(m,)``.
            boxes: ``(m, 4)``; zeros when absent.
            is_missing: ``(n,)``; nothing is missing when absent.
            is_ignored: ``(m,)``; nothing is ignored when absent.
        """
        order = np.argsort(items, kind="stable")
        starts = np.zeros(n_items + 1, np.int64)
        np.cumsum(np.bincount(items, minlength=n_items), out=starts[1:])
        m = len(labels)
        corners = np.zeros((m, 4), np.float32) if boxes is None else boxes
        ignored = np.zeros(m, bool) if is_ignored is None else is_ignored
        return cls(
            starts=starts,
            labels=labels[order].astype(np.int32, copy=False),
            scores=scores[order].astype(np.float32, copy=False),
            boxes=corners[order].astype(np.float32, copy=False),
            is_missing=np.zeros(n_items, bool) if is_missing is None else is_missing,
            is_ignored=ignored[order],
        )

    @classmethod
    def none(cls, n_items: int) -> Answers:
        """No answer to any of n items."""
        return cls(
            starts=np.zeros(n_items + 1, np.int64),
            labels=np.zeros(0, np.int32),
            scores=np.zeros(0, np.float32),
            boxes=np.zeros((0, 4), np.float32),
            is_missing=np.ones(n_items, bool),
            is_ignored=np.zeros(0, bool),
        )

    @property
    def counts(self) -> Int64[np.ndarray, " n"]:
        """``(n,)`` entries of each item."""
        return np.diff(self.starts)

    @property
    def items(self) -> Int64[np.ndarray, " m"]:
        """``(m,)`` number of the item of each entry."""
        return np.repeat(np.arange(len(self)), self.counts)

    def of(self, item: int) -> slice:
        """Where an item's entries stand."""
        return slice(int(self.starts[item]), int(self.starts[item + 1]))

    def take(self, items: Int64[np.ndarray, " k"]) -> Answers:
        """The answers to some items, in that order; an item may come twice."""
        counts = self.counts[items]
        starts = np.zeros(len(items) + 1, np.int64)
        np.cumsum(counts, out=starts[1:])
        shift = np.repeat(self.starts[items] - starts[:-1], counts)
        entries = np.arange(starts[-1]) + shift
        return replace(
            self._entries(entries), starts=starts, is_missing=self.is_missing[items]
        )

    def hidden(self, where: Bool[np.ndarray, " n"]) -> Answers:
        """The same with the answers to some items missing."""
        keep = ~where
        entries = np.flatnonzero(np.repeat(keep, self.counts))
        starts = np.zeros(len(self) + 1, np.int64)
        np.cumsum(np.where(keep, self.counts, 0), out=starts[1:])
        return replace(
            self._entries(entries), starts=starts, is_missing=self.is_missing | where
        )

    def _entries(self, entries: Int64[np.ndarray, " k"]) -> Answers:
        """Some entries as if they were all of one item; the caller sets the items."""
        return Answers(
            starts=np.array([0, len(entries)], np.int64),
            labels=self.labels[entries],
            scores=self.scores[entries],
            boxes=self.boxes[entries],
            is_missing=np.zeros(1, bool),
            is_ignored=self.is_ignored[entries],
        )

    def _display(self) -> Display:
        """How many entries for how many items."""
        text = f"{counted(len(self), 'item')}, "
        text += counted(len(self.labels), "entry", "entries")
        n_missing = int(self.is_missing.sum())
        return Display(text=f"{text}, {n_missing:,} missing" if n_missing else text)
