"""What a federation decides about: items, providers with prices, and their answers.

A subset of providers is a bit mask with bit ``p`` set for provider ``p``, so that the
decisions about n items are ``(n,)`` int64.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from midhaul.errors import DataError
from midhaul.federation.answers import Answers
from midhaul.model.display import Display, Shown, counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float32, Float64, Int64

__all__ = [
    "MAX_PROVIDERS",
    "Answers",
    "Recording",
    "Task",
    "all_masks",
    "members",
    "prices_of",
    "sizes_of",
]

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
