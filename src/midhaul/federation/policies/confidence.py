"""A confidence cascade: ask in a fixed order until somebody is sure enough.

The plainest cascade there is, as in Viola and Jones (CVPR 2001) and, for priced models,
FrugalGPT (Chen, Zaharia, Zou, TMLR 2024): one order of providers and one score. A
provider whose highest score reaches it is the last one asked, whatever it said.

1. FrugalGPT learns a scorer and a threshold for each step. Here the providers' own
   scores and one threshold are used; it is a baseline. Calibrate scores first, or one
   threshold means another thing for each provider.
2. FrugalGPT gives the last answer. Here all answers that were paid for are fused.
3. Order and threshold are found by trying all orders of up to three providers, and all
   of one set beyond that by rising price, not by a solver.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from midhaul.federation.policies.base import SavedByKind, best_of, finite_multiplier
from midhaul.federation.recordings.problem import first_scores

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jaxtyping import Float64, Int64

    from midhaul.federation.policies.base import Examples, Situation

_LONGEST = 3
"""Length of orders that are all tried."""

_N_THRESHOLDS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfidenceCascade(SavedByKind):
    """Asks one provider after another until one is sure.

    Attributes:
        threshold: score from which a provider is sure.
    """

    order: tuple[int, ...]
    threshold: float

    kind: ClassVar[str] = "confidence"

    def decide(
        self, situation: Situation, rng: np.random.Generator
    ) -> Int64[np.ndarray, " n"]:
        """Ask the next one where nobody asked so far is sure."""
        del rng
        recording, asked = situation.recording, situation.asked
        scores = first_scores(recording)
        is_sure = np.zeros(len(situation), bool)
        for p, answers in enumerate(recording.answers):
            is_known = (asked >> p & 1 == 1) & ~answers.is_missing
            is_sure |= is_known & (scores[p] >= self.threshold)
        new = np.zeros(len(situation), np.int64)
        for p in reversed(self.order):
            if p < recording.n_providers:
                new = np.where(asked >> p & 1 == 0, np.int64(1 << p), new)
        return np.where(is_sure, 0, new)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ConfidenceFamily:
    """The best order and threshold for every exchange rate.

    Attributes:
        qualities: ``(c,)`` mean quality of the training items.
        costs_usd: ``(c,)`` mean price of a training item.
    """

    policies: tuple[ConfidenceCascade, ...]
    qualities: Float64[np.ndarray, " c"]
    costs_usd: Float64[np.ndarray, " c"]
    prices_usd: Float64[np.ndarray, " p"]

    @property
    def name(self) -> str:
        """Short name."""
        return ConfidenceCascade.kind

    def at(self, multiplier: float) -> ConfidenceCascade:
        """The cascade of the highest quality less multiplier times price."""
        rate = finite_multiplier(multiplier, self.prices_usd)
        return self.policies[best_of(self.qualities[None, :], self.costs_usd, rate)[0]]


def fit_confidence(examples: Examples) -> ConfidenceFamily:
    """Try orders and thresholds on training items."""
    from midhaul.federation.quality import subset_qualities  # noqa: PLC0415

    recording = examples.recording
    scores = first_scores(recording)
    thresholds = _thresholds(scores)
    is_missing = np.stack([answers.is_missing for answers in recording.answers])
    scores[is_missing] = -1.0  # who does not answer is never sure
    orders = tuple(_orders(recording.prices_usd))
    prefixes = {_mask(order[: i + 1]) for order in orders for i in range(len(order))}
    masks = np.array(sorted(prefixes), np.int64)
    columns = {mask: i for i, mask in enumerate(masks.tolist())}
    qualities = subset_qualities(recording, examples.fuser, masks)
    policies: list[ConfidenceCascade] = []
    found: list[tuple[float, float]] = []
    for order in orders:
        places = [columns[_mask(order[: i + 1])] for i in range(len(order))]
        steps = qualities[:, places]
        prices = np.cumsum(recording.prices_usd[list(order)])
        for threshold in thresholds if len(order) > 1 else thresholds[:1]:
            stops = _stops(scores[list(order)], threshold)
            policies.append(ConfidenceCascade(order=order, threshold=threshold))
            rows = np.arange(len(stops))
            found.append((float(steps[rows, stops].mean()), prices[stops].mean()))
    points = np.array(found, np.float64).reshape(-1, 2)
    return ConfidenceFamily(
        policies=tuple(policies),
        qualities=points[:, 0],
        costs_usd=points[:, 1],
        prices_usd=recording.prices_usd,
    )


def _stops(
    scores: Float64[np.ndarray, "k n"], threshold: float
) -> Int64[np.ndarray, " n"]:
    """Which of k providers in a row is the last one asked about each item."""
    is_sure = scores >= threshold
    is_sure[-1] = True
    return is_sure.argmax(axis=0)


def _thresholds(scores: Float64[np.ndarray, "p n"]) -> list[float]:
    """Quantiles of all scores, and one that nobody reaches."""
    grid = np.quantile(scores, np.linspace(0, 1, _N_THRESHOLDS)) if scores.size else []
    return [*np.unique(grid).tolist(), 2.0]


def _orders(prices_usd: Float64[np.ndarray, " p"]) -> Iterable[tuple[int, ...]]:
    """All orders of a few providers, and all providers by rising price."""
    providers = range(len(prices_usd))
    for length in range(1, min(_LONGEST, len(prices_usd)) + 1):
        yield from itertools.permutations(providers, length)
    if len(prices_usd) > _LONGEST:
        by_price = np.argsort(prices_usd, kind="stable").tolist()
        for length in range(_LONGEST + 1, len(prices_usd) + 1):
            yield tuple(by_price[:length])


def _mask(order: tuple[int, ...]) -> int:
    return sum(1 << p for p in order)
