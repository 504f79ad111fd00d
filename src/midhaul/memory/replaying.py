"""Replay of a stream: a model learns from a memory, period by period.

The model is tested on a period before anything of it is kept, so that no test sample
was ever seen. Then the period is offered to the memory, the rule looks at it, and where
it says so a new model is trained. Smoothing is fitted on predictions of past periods
only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.memory.cells import Cells
from midhaul.memory.predictors.takeover import Takeover, guarded, train_on
from midhaul.memory.sample_memory import SampleMemory
from midhaul.memory.scores import log_odds, log_scores
from midhaul.memory.selectors.committee import Committee
from midhaul.memory.smoothing import Smoothing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jaxtyping import Bool, Float32, Float64, Int64

    from midhaul.memory.predictors.base import Correction, Predictor
    from midhaul.memory.retraining.base import RetrainDecision, RetrainRule
    from midhaul.memory.samples import Bins, Samples
    from midhaul.memory.selectors.base import Selector


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Learner:
    """How models are trained and what is done with their predictions.

    Attributes:
        predictor: the model before the first training.
        correction: for what was kept by known chances.
        least_uniform: the uniform share that smoothing gives at least.
        n_smoothing: past periods that smoothing is fitted on.
        slow_from: the output from which an event is slow.
        most_worse: share by which the mean log loss of a new model may be above that
            of the present one; None to take every new one.
    """

    predictor: Predictor
    correction: Correction = "restore"
    least_uniform: float = 0.02
    n_smoothing: int = 3
    slow_from: float = 2.25
    most_worse: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PeriodResult:
    """What was seen of one period of ``n`` samples.

    Attributes:
        period: its number.
        test: the samples, with what the model said before it saw them.
        raw: ``(n,)`` log scores; none before the first training.
        smoothed: ``(n,)`` of smoothed predictions.
        odds: ``(n,)`` log odds of a slow event.
        is_slow: ``(n,)`` whether it came.
        decision: what the rule said after it.
        kept: what is in memory after it; a view, valid until the next period.
        kept_of: ``(p,)`` how many of these came in each period so far.
        n_dropped: samples without an output, which nothing was done with.
        taken: the model after it, and how it came about.
    """

    period: int
    test: Samples
    raw: Float64[np.ndarray, " n"]
    smoothed: Float64[np.ndarray, " n"]
    odds: Float64[np.ndarray, " n"]
    is_slow: Bool[np.ndarray, " n"]
    decision: RetrainDecision
    kept: Samples
    kept_of: Int64[np.ndarray, " p"]
    n_dropped: int
    taken: Takeover


def replay(
    periods: Sequence[Samples],
    bins: Bins,
    selector: Selector,
    rule: RetrainRule,
    learner: Learner,
    *,
    seed: int,
    capacity_bytes: int | None = None,
) -> Iterator[PeriodResult]:
    """Go through a stream, and say what was seen of each period.

    DataError if the selector, the rule or the model needs what the samples lack.
    """
    memory = SampleMemory(
        selector, bins, rule, seed=seed, capacity_bytes=capacity_bytes
    )
    rng = np.random.default_rng([seed, 1])
    model, trained, version = learner.predictor, None, 0
    taken = Takeover(predictor=model, way="present")
    past: list[tuple[Float32[np.ndarray, "n k"], Int64[np.ndarray, " n"]]] = []
    ends_s: list[float] = []
    for number, period in enumerate(periods):
        known = period.take(np.isfinite(period.y))
        new = known.predicted(model.predict(known.x), version)
        tested = _tested(new, bins, learner, past if trained is not None else None)
        memory.offer(new)
        ends_s.append(float(new.time_s.max(initial=-np.inf)))
        decision = memory.decide(new, trained, number)
        if decision.retrain:
            version += 1
            taken = _trained(model, memory, learner, rng)
            model = taken.predictor
            memory.predict_again(model, version)
            # A copy: the memory's own rows change with the next offer.
            trained = memory.get().take(np.arange(len(memory)))
            rule.retrained()
        yield PeriodResult(
            period=number,
            test=new,
            decision=decision,
            kept=memory.get(),
            kept_of=_kept_of(memory.get(), ends_s),
            n_dropped=len(period) - len(known),
            taken=taken if decision.retrain else replace(taken, way="present"),
            **tested,
        )


def _tested(
    new: Samples,
    bins: Bins,
    learner: Learner,
    past: list[tuple[np.ndarray, np.ndarray]] | None,
) -> dict[str, np.ndarray]:
    """Scores of a period; none where no model was trained yet."""
    if past is None:
        nothing = np.zeros(0)
        names = ("raw", "smoothed", "odds")
        return dict.fromkeys(names, nothing) | {"is_slow": np.zeros(0, np.bool_)}
    bin_of = bins.of(new.y)
    first = int(bins.of(np.array([learner.slow_from]))[0])
    smoothing = Smoothing.none(bins.n, learner.least_uniform)
    if past:
        last = past[-learner.n_smoothing :]
        smoothing = Smoothing.fitted(
            np.concatenate([prediction for prediction, _ in last]),
            np.concatenate([bins_of for _, bins_of in last]),
            least=learner.least_uniform,
        )
    past.append((new.prediction, bin_of))
    return {
        "raw": log_scores(new.prediction, bin_of),
        "smoothed": log_scores(smoothing.smoothed(new.prediction), bin_of),
        "odds": log_odds(new.prediction, first),
        "is_slow": bin_of >= first,
    }


def _trained(
    model: Predictor, memory: SampleMemory, learner: Learner, rng: np.random.Generator
) -> Takeover:
    """A model of what is in memory, corrected where its chances are known."""
    kept = memory.get()
    weighted = memory.weighted()
    weight = None if weighted is None else weighted.weight
    if isinstance(memory.selector, Committee):
        members = memory.selector.predictors
        memory.selector.predictors = tuple(m.trained(kept, rng) for m in members)
    correction = "weigh" if memory.selector.weighs_training else learner.correction
    cells = Cells(bins=memory.bins)
    is_first = bool((kept.model_version == 0).all())
    if learner.most_worse is None or is_first:
        return train_on(model, kept, weight, cells, correction, rng)
    return guarded(
        model, kept, weight, cells, correction, rng, most_worse=learner.most_worse
    )


def _kept_of(kept: Samples, ends_s: list[float]) -> np.ndarray:
    """How many of those in memory came in each period so far."""
    of = np.searchsorted(np.array(ends_s), kept.time_s, side="left")
    return np.bincount(of, minlength=len(ends_s))
