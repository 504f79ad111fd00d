"""Takeover guard: a new model replaces the present one if its mean is no worse.

A model that learns more of what is rare may lose on what is usual. With a guard, a
fifth of the groups in memory is held back. The new model is taken over if its mean log
loss there, weighed as the stream is, is above that of the present model by no more than
a share. If it is not, one that weighs samples in training as the stream does is tried;
if that is not either, the present model stays.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from midhaul.memory.predictors.restored import restored
from midhaul.memory.scores import log_scores

if TYPE_CHECKING:
    from jaxtyping import Float64

    from midhaul.memory.cells import Cells
    from midhaul.memory.predictors.base import Correction, Predictor
    from midhaul.memory.samples import Samples

Way = Literal["restore", "weigh", "none", "present"]
"""How a model came about; ``present`` for one that stayed."""

_HELD_SHARE = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Takeover:
    """Which model is used from now on.

    Attributes:
        predictor: the model.
        way: how it came about.
        loss_ratio: its mean log loss on the held part over that of the model before;
            NaN where nothing was held back.
    """

    predictor: Predictor
    way: Way
    loss_ratio: float = float("nan")


def train_on(
    present: Predictor,
    kept: Samples,
    weight: Float64[np.ndarray, " n"] | None,
    cells: Cells,
    correction: Correction,
    rng: np.random.Generator,
) -> Takeover:
    """A new model of samples in memory.

    Args:
        present: the model before.
        kept: what is in memory.
        weight: how many of the stream each stands for; None where nobody knows.
        cells: what predictions are alike.
        correction: what is done about a memory of known chances.
        rng: all chance of it.
    """
    if weight is None or correction == "none":
        return Takeover(predictor=present.trained(kept, rng), way="none")
    if correction == "weigh":
        weighed = replace(kept, weight=weight)
        return Takeover(predictor=present.trained(weighed, rng), way="weigh")
    found = present.trained(kept, rng)
    return Takeover(predictor=restored(found, cells, kept, weight), way="restore")


def guarded(
    present: Predictor,
    kept: Samples,
    weight: Float64[np.ndarray, " n"] | None,
    cells: Cells,
    correction: Correction,
    rng: np.random.Generator,
    *,
    most_worse: float,
) -> Takeover:
    """The same, held to a mean that is worse by no more than a share.

    Without two groups nothing can be held back, and the new model is taken.
    """
    groups = rng.permutation(np.unique(kept.group))
    held = np.isin(kept.group, groups[: round(_HELD_SHARE * len(groups))])
    if not held.any() or held.all():
        return train_on(present, kept, weight, cells, correction, rng)
    rest, test = kept.take(~held), kept.take(held)
    of = np.ones(len(kept)) if weight is None else weight
    rest_weight = None if weight is None else weight[~held]
    before = _loss(present, test, of[held], cells)
    ways: tuple[Correction, ...] = (correction,)
    if weight is not None and correction != "weigh":
        ways += ("weigh",)
    for way in ways:
        found = train_on(present, rest, rest_weight, cells, way, rng)
        ratio = _loss(found.predictor, test, of[held], cells) / before
        if ratio <= 1 + most_worse:
            return replace(found, loss_ratio=ratio)
    return Takeover(predictor=present, way="present", loss_ratio=1.0)


def _loss(model: Predictor, test: Samples, weight: np.ndarray, cells: Cells) -> float:
    """The mean log loss, weighed as the stream is."""
    scores = log_scores(model.predict(test.x), cells.bins.of(test.y))
    return -float(np.average(scores, weights=weight))
