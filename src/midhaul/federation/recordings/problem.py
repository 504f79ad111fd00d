"""Recording: items, providers with prices, their answers, and what is true.

A subset of providers is a bit mask with bit ``p`` set for provider ``p``, so that the
decisions about n items are ``(n,)`` int64.

*Answers* are somebody's to many items, as one struct of arrays (compressed rows).

The answer to item ``i`` is ``starts[i]:starts[i + 1]``.

Its *top label* is what a provider seems to say, and its score how sure it seems.

FrugalML reads both off the answer of a classifier. Where an answer holds several labels
or boxes, the label is that of the highest score and the score is that one's; of equal
scores the first counts. An empty answer has a label of its own and score 0, and so has
an answer that is missing.

Items are *split* by the hash of their ids, so that a split outlives their order.
"""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from midhaul.errors import DataError
from midhaul.model.display import Display, Shown, counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Float, Float32, Float64, Int32, Int64


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


Task = Literal["boxes", "tags", "labels"]
"""What an answer is: boxes with labels, several labels, or exactly one label."""

MAX_PROVIDERS = 62
"""Providers that a bit mask holds."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Recording(Shown):
    """Items with what every provider answers to them.

    Attributes:
        task: what an answer is.
        items: ids of the n items, unique.
        names: the label set that all answers and the truth use.
        providers: names of the M providers, unique.
        prices_usd: ``(M,)`` price of one call.
        answers: of each provider, to all items.
        truth: what people said; None where nobody did.
        sizes_px: ``(n, 2)`` width and height of each image; None where not known.
        latencies_s: ``(M, n)`` recorded latencies; NaN where not known, None where
            none is.

    Raises:
        DataError: the parts disagree.
    """

    task: Task
    items: tuple[str, ...]
    names: tuple[str, ...]
    providers: tuple[str, ...]
    prices_usd: Float64[np.ndarray, " p"]
    answers: tuple[Answers, ...]
    truth: Answers | None = None
    sizes_px: Float32[np.ndarray, "n 2"] | None = None
    latencies_s: Float64[np.ndarray, "p n"] | None = None

    def __post_init__(self) -> None:
        """Check that all parts speak of the same items and providers."""
        p, n = len(self.providers), len(self.items)
        if not 0 < p <= MAX_PROVIDERS:
            message = f"a recording has 1 to {MAX_PROVIDERS} providers, found {p}"
            raise DataError(message)
        if len(set(self.providers)) != p or len(set(self.items)) != n:
            message = "providers and items must be unique"
            raise DataError(message, "ask the reader for one answer per item")
        if len(self.answers) != p or self.prices_usd.shape != (p,):
            message = f"{p} providers, {len(self.answers)} answers"
            raise DataError(message)
        for name, answers in zip(self.providers, self.answers, strict=True):
            if len(answers) != n:
                message = f"{name} has answers to {len(answers)} of {n} items"
                raise DataError(message)
        if self.truth is not None and len(self.truth) != n:
            message = f"{n} items, but a truth of {len(self.truth)}"
            raise DataError(message)

    def __len__(self) -> int:
        """Number of items."""
        return len(self.items)

    @property
    def n_providers(self) -> int:
        """Number of providers."""
        return len(self.providers)

    @property
    def everyone(self) -> int:
        """The mask of all providers."""
        return (1 << len(self.providers)) - 1

    def take(self, items: Int64[np.ndarray, " k"]) -> Recording:
        """Some items, in that order; none may come twice."""
        return replace(
            self,
            items=tuple(self.items[i] for i in items.tolist()),
            answers=tuple(answers.take(items) for answers in self.answers),
            truth=None if self.truth is None else self.truth.take(items),
            sizes_px=None if self.sizes_px is None else self.sizes_px[items],
            latencies_s=(
                None if self.latencies_s is None else self.latencies_s[:, items]
            ),
        )

    def only(self, providers: Sequence[str]) -> Recording:
        """The same with some providers, in that order.

        Raises:
            DataError: there is no such provider.
        """
        unknown = [name for name in providers if name not in self.providers]
        if unknown:
            message = f"no provider {unknown[0]}; there are {', '.join(self.providers)}"
            raise DataError(message)
        which = [self.providers.index(name) for name in providers]
        latencies = self.latencies_s
        return replace(
            self,
            providers=tuple(providers),
            prices_usd=self.prices_usd[which],
            answers=tuple(self.answers[p] for p in which),
            latencies_s=None if latencies is None else latencies[which],
        )

    def shown(self, asked: Int64[np.ndarray, " n"]) -> Recording:
        """What somebody knows who asked these subsets: no truth, no other answer.

        Args:
            asked: ``(n,)`` mask of the providers asked about each item.
        """
        return replace(
            self,
            answers=tuple(
                answers.hidden((asked >> p) & 1 == 0)
                for p, answers in enumerate(self.answers)
            ),
            truth=None,
            latencies_s=None,
        )

    def prices_of(self, asked: Int64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
        """The price of asking these subsets, in USD."""
        return prices_of(asked, self.prices_usd)

    def _display(self) -> Display:
        """The task, how much of it, and who answered at which price."""
        text = f"{self.task}, {counted(len(self), 'item')}, "
        text += f"{counted(self.n_providers, 'provider')}, "
        text += counted(len(self.names), "label")
        return Display(
            text=text if self.truth is not None else f"{text}, no truth",
            columns=("provider", "usd_per_call", "answered", "entries"),
            rows=[
                (name, price, len(self) - int(said.is_missing.sum()), len(said.labels))
                for name, price, said in zip(
                    self.providers, self.prices_usd, self.answers, strict=True
                )
            ],
        )


def prices_of(
    masks: Int64[np.ndarray, " n"], prices_usd: Float64[np.ndarray, " p"]
) -> Float64[np.ndarray, " n"]:
    """The price of each subset, in USD."""
    total = np.zeros(len(masks))
    for p, price in enumerate(prices_usd.tolist()):
        total += np.where((masks >> p) & 1 == 1, price, 0.0)
    return total


def sizes_of(masks: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """The number of providers in each subset."""
    return np.bitwise_count(masks).astype(np.int64)


def members(mask: int) -> tuple[int, ...]:
    """The providers of one subset, by number."""
    return tuple(p for p in range(mask.bit_length()) if mask >> p & 1)


def all_masks(n_providers: int) -> Int64[np.ndarray, " s"]:
    """All subsets but the empty one, by rising mask."""
    return np.arange(1, 1 << n_providers, dtype=np.int64)


def first_label(
    answers: Answers, n_names: int
) -> tuple[Int64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    """The label of the highest score in each answer, and that score.

    The label is ``n_names`` where the answer is empty and ``n_names + 1`` where it is
    missing.
    """
    labels = np.where(answers.is_missing, n_names + 1, n_names).astype(np.int64)
    scores = np.zeros(len(answers))
    known = np.nan_to_num(answers.scores.astype(np.float64), nan=0.0).clip(0.0, 1.0)
    order = np.lexsort((np.arange(len(known)), -known, answers.items))
    counts = answers.counts
    has_any = counts > 0
    tops = order[answers.starts[:-1][has_any]]
    labels[has_any] = answers.labels[tops]
    scores[has_any] = known[tops]
    return labels, scores


def first_scores(recording: Recording) -> Float64[np.ndarray, "p n"]:
    """``(M, n)`` highest score in each provider's answer to each item."""
    n_names = len(recording.names)
    return np.stack([first_label(answers, n_names)[1] for answers in recording.answers])


SHARES = (0.4, 0.1, 0.5)
"""Of the items for training, for calibration and for the test."""


def split_items(
    items: Sequence[str], seed: int, shares: Sequence[float] = SHARES
) -> tuple[Int64[np.ndarray, " k"], ...]:
    """Numbers of the items of each part.

    An item's place is a hash of its id and the seed, not its rank, so that it stays in
    its part when others come or go; the sizes of the parts are therefore random.

    Args:
        items: ids.
        seed: another one gives another split.
        shares: of each part, adding up to 1.

    Returns:
        One array of rising numbers for each share.
    """
    places = np.array([_place(f"{seed}:{item}") for item in items], np.float64)
    edges = np.concatenate([[0.0], np.cumsum(shares)])
    edges[-1] = np.inf
    return tuple(
        np.flatnonzero((places >= low) & (places < high))
        for low, high in itertools.pairwise(edges)
    )


def _place(text: str) -> float:
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
