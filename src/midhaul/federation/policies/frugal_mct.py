"""FrugalMCT: predict what each add-on would bring after a base's answer, and buy it.

Chen, Zaharia and Zou, "Efficient online ML API selection for multi-label classification
tasks", ICML 2022. A base is asked about every item; an accuracy predictor says how good
the combined answer with each add-on k would be, and an online selector takes

    argmax over k of  predicted quality(base, k) - p * price(k)

where p is the dual price of the budget, found on other items. Here p is the multiplier.

1. Their predictors are random forests on the base's answer. Here they are ridge
   regressions on its label, its scores and the product of both, which are solved at
   once and saved as a table of numbers. They see the item's features as well.
2. Their base is given. Here it is the one of the highest worth on the training items,
   unless it is given.
3. Label combination is the fuser's business.
4. It works for labels, tags and boxes alike; quality is what the task has.
5. A base that fails is followed by what is predicted for a missing answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Float64

from midhaul.federation.policies.base import (
    SavedByKind,
    best_of,
    finite_multiplier,
    part_of,
)
from midhaul.federation.policies.linucb import Context, context_of
from midhaul.federation.recordings.problem import first_label

if TYPE_CHECKING:
    from jaxtyping import Float32, Int64

    from midhaul.federation.policies.base import Examples, Situation
    from midhaul.federation.recordings.problem import Recording


@dataclass(frozen=True, slots=True, kw_only=True)
class FrugalMctSettings:
    """What is learned.

    Attributes:
        base: name of the base; the best one when empty.
        ridge: by how many items' worth predictions are drawn to their mean.
    """

    base: str = ""
    ridge: float = 3.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrugalMctPolicy(SavedByKind):
    """A base, and a prediction for each add-on.

    Attributes:
        weights: ``(M, f)`` from these to the quality with each add-on; the base's own
            row is for asking nobody else.
        multiplier: quality that one USD has to buy.
    """

    context: Context
    weights: Float64[np.ndarray, "p f"]
    multiplier: float

    kind: ClassVar[str] = "frugal-mct"

    def decide(
        self, situation: Situation, rng: np.random.Generator
    ) -> Int64[np.ndarray, " n"]:
        """Ask the base, then whoever is predicted to be worth it."""
        del rng
        base = self.context.base
        new = np.where(situation.asked == 0, np.int64(1) << base, 0)
        rows = np.flatnonzero(situation.asked == 1 << base)
        if len(rows):
            part = part_of(situation, rows)
            inputs = _inputs(self.context, part.recording, part.features)
            prices = part.recording.prices_usd
            new[rows] = self.choose(inputs, prices)
        return new

    def choose(
        self, inputs: Float64[np.ndarray, "n f"], prices_usd: Float64[np.ndarray, " p"]
    ) -> Int64[np.ndarray, " n"]:
        """``(n,)`` mask of the add-on; 0 for nobody else."""
        base = self.context.base
        fees = prices_usd[: len(self.weights)].copy()
        fees[base] = 0.0
        rate = finite_multiplier(self.multiplier, prices_usd)
        # Row by row: sums must not depend on how many items are asked about at once.
        predicted = np.einsum("nf,pf->np", inputs, self.weights)
        chosen = best_of(predicted.clip(0.0, 1.0), fees, rate)
        return np.where(chosen == base, 0, np.int64(1) << chosen)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Learned:
    """What was learned for one base.

    Attributes:
        qualities: ``(n, M)`` true quality with each add-on.
    """

    context: Context
    inputs: Float64[np.ndarray, "n f"]
    weights: Float64[np.ndarray, "p f"]
    qualities: Float64[np.ndarray, "n p"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrugalMctFamily:
    """Base and predictions, for every exchange rate."""

    learned: tuple[_Learned, ...]
    prices_usd: Float64[np.ndarray, " p"]

    @property
    def name(self) -> str:
        """Short name."""
        return FrugalMctPolicy.kind

    def at(self, multiplier: float) -> FrugalMctPolicy:
        """The base of the highest training worth at this multiplier."""
        rate = finite_multiplier(multiplier, self.prices_usd)
        worths: list[float] = []
        policies: list[FrugalMctPolicy] = []
        for one in self.learned:
            base = one.context.base
            policy = FrugalMctPolicy(
                context=one.context, weights=one.weights, multiplier=multiplier
            )
            masks = policy.choose(one.inputs, self.prices_usd)
            columns = np.where(masks == 0, base, np.log2(np.maximum(masks, 1)))
            which = columns.astype(np.int64)
            fees = self.prices_usd[base] + np.where(
                which == base, 0.0, self.prices_usd[which]
            )
            quality = one.qualities[np.arange(len(which)), which]
            worths.append(float((quality - rate * fees).mean()))
            policies.append(policy)
        return policies[int(np.argmax(worths))]


def fit_frugal_mct(
    examples: Examples, settings: FrugalMctSettings | None = None
) -> FrugalMctFamily:
    """Learn the predictions for every base.

    DataError where there is no provider of the name of the base.
    """
    from midhaul.federation.quality import subset_qualities  # noqa: PLC0415

    settings = FrugalMctSettings() if settings is None else settings
    recording = examples.recording
    m = recording.n_providers
    bases = list(range(m))
    if settings.base:
        recording.only([settings.base])
        bases = [recording.providers.index(settings.base)]
    learned: list[_Learned] = []
    for base in bases:
        masks = np.array([1 << base | 1 << p for p in range(m)], np.int64)
        qualities = subset_qualities(recording, examples.fuser, masks)
        context = context_of(recording, examples.features, base)
        inputs = _inputs(context, recording, examples.features)
        weights = _ridge(inputs, qualities, settings.ridge)
        learned.append(
            _Learned(
                context=context, inputs=inputs, weights=weights, qualities=qualities
            )
        )
    return FrugalMctFamily(learned=tuple(learned), prices_usd=recording.prices_usd)


def _inputs(
    context: Context, recording: Recording, features: Float32[np.ndarray, "n d"]
) -> Float64[np.ndarray, "n f"]:
    """A constant, the context, the base's label, and the label times its score."""
    n_names = len(recording.names)
    labels, scores = first_label(recording.answers[context.base], n_names)
    one_hot = (labels[:, None] == np.arange(n_names + 2)).astype(np.float64)
    known = context.of(recording, features)
    return np.concatenate([known, one_hot, one_hot * scores[:, None]], axis=1)


def _ridge(
    inputs: Float64[np.ndarray, "n f"], values: Float64[np.ndarray, "n p"], ridge: float
) -> Float64[np.ndarray, "p f"]:
    """Least squares with all but the constant drawn to 0."""
    penalty = np.full(inputs.shape[1], ridge)
    penalty[0] = 1e-6
    gram = inputs.T @ inputs + np.diag(penalty)
    return np.linalg.solve(gram, inputs.T @ values).T
