"""Worth of retraining: is the gain above its cost, and do the data suffice for it?

A rule says that something has changed. Whether a new model would be better, and whether
what has come since is enough to train it on, is another question. It is answered by
trying: the sessions since the change are split by cluster, a part is held back, and
models are trained on the memory with a growing part of the rest. What each gains on
the held part over the present model, in nats of log score a sample, is a learning curve
(Cortes et al., "Learning curves: asymptotic values and rate of convergence", NIPS
1993).

With the cost of a training, what a nat of one sample is worth, and for how many samples
the new model will serve, the gain that pays is ``cost / (worth_per_nat * n_samples)``.
Retrain when the lower bound of the gain (by clusters of the held part) is at least
that. Wait for more when the upper bound is, or when the curve still rises by as much
from half of the data to all of it. Otherwise it is not worth it, and settled: the inner
rule is told so as if a model had been trained, so that it does not ask at each period.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import ConfigError, DataError
from midhaul.memory.samples import Samples, concatenate
from midhaul.memory.selectors.pool import check_above, check_state
from midhaul.memory.selectors.score import losses

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

    from midhaul.memory.predictors.base import Predictor
    from midhaul.memory.retraining.base import (
        Arrays,
        RetrainDecision,
        RetrainRule,
        RetrainSituation,
    )
    from midhaul.memory.samples import Bins

PARTS = (0.25, 0.5, 1.0)
"""Of the data since the change, less what is held."""
_HELD = 1 / 3
_LEAST_CLUSTERS = 4
_Z = 1.645
"""Of one-sided bounds of 95 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainingCost:
    """What a training costs, and what its gain is worth, in one currency.

    Attributes:
        cost: of a training, with what it takes to bring the model where it runs.
        worth_per_nat: what one nat of log score of one sample is worth.
        n_samples: for how many samples the new model will serve.

    Raises:
        ConfigError: a number that is not above 0; the cost may be 0.
    """

    cost: float
    worth_per_nat: float = 1.0
    n_samples: float = 1.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        check_above("worth_per_nat", self.worth_per_nat)
        check_above("n_samples", self.n_samples)
        if not self.cost >= 0:
            message = f"cost: expected 0 or more, found {self.cost}"
            raise ConfigError(message)

    @property
    def gain(self) -> float:
        """The gain that pays, in nats a sample."""
        return self.cost / (self.worth_per_nat * self.n_samples)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GainCurve:
    """What models trained on a growing part gain on a held part.

    Attributes:
        n_samples: of new data that each was trained on, beside the memory.
        gain: nats a sample over the present model.
        error: standard error of each, by clusters of the held part.
    """

    n_samples: Int64[np.ndarray, " p"]
    gain: Float64[np.ndarray, " p"]
    error: Float64[np.ndarray, " p"]


class WorthIt:
    """A rule that is followed when a new model is worth its training.

    Args:
        rule: says that something has changed.
        predictor: a model of the kind that would be trained.
        cost: of a training.
        patience: periods that a change may wait for data before it is settled.

    Raises:
        ConfigError: less patience than a period.
    """

    def __init__(
        self,
        rule: RetrainRule,
        predictor: Predictor,
        cost: RetrainingCost,
        *,
        patience: int = 5,
    ) -> None:
        if patience < 1:
            message = f"patience: expected 1 period or more, found {patience}"
            raise ConfigError(message)
        self.rule = rule
        self.predictor = predictor
        self.cost = cost
        self.patience = patience
        self._since: list[Samples] = []

    @property
    def name(self) -> str:
        """That of the inner rule, with what is asked of it."""
        return f"{self.rule.name}-if-worth-it"

    def decide(self, now: RetrainSituation) -> RetrainDecision:
        """Ask the inner rule; if something has changed, try what a training gains."""
        found = self.rule.decide(now)
        if now.trained is None or not (found.retrain or self._since):
            return found
        if len(now.new):
            self._since.append(now.new)
        data = concatenate(self._since) if self._since else now.new
        n_clusters = len(np.unique(data.cluster))
        is_last = len(self._since) >= self.patience
        if n_clusters < _LEAST_CLUSTERS:
            if is_last:
                self._settle()
            why = f"{n_clusters} clusters since the change cannot be split"
            return replace(found, retrain=False, why=f"{found.why}; {why}")
        curve = gain_curve(data, now, self.predictor)
        return self._weighed(found, curve, is_last=is_last)

    def retrained(self) -> None:
        """What has changed is known."""
        self._settle()

    def state(self) -> Arrays:
        """That of the inner rule, and the data since the change."""
        inner = {f"inner/{name}": one for name, one in self.rule.state().items()}
        found: dict[str, np.ndarray] = {
            "lengths": np.array([len(one) for one in self._since], np.int64)
        }
        if self._since:
            whole = concatenate(self._since)
            for field in fields(whole):
                found[f"since/{field.name}"] = getattr(whole, field.name)
        return {**inner, **found}

    def restore(self, state: Arrays) -> None:
        """Go on from a state."""
        head = {
            k: v for k, v in state.items() if not k.startswith(("inner/", "since/"))
        }
        check_state(head, self.name, ("lengths",))
        inner = {k[6:]: v for k, v in state.items() if k.startswith("inner/")}
        self.rule.restore(inner)
        self._since = []
        if len(state["lengths"]):
            try:
                whole = Samples(
                    **{f.name: state[f"since/{f.name}"] for f in fields(Samples)}
                )
            except KeyError as error:
                message = f"the state of {self.name} has no {error}, it was cut short"
                raise DataError(message, "restore a state that is whole") from None
            ends = np.cumsum(state["lengths"])
            begins = ends - state["lengths"]
            self._since = [
                whole.take(slice(a, b)) for a, b in zip(begins, ends, strict=True)
            ]

    def _settle(self) -> None:
        self._since = []
        self.rule.retrained()

    def _weighed(
        self, found: RetrainDecision, curve: GainCurve, *, is_last: bool
    ) -> RetrainDecision:
        pays = self.cost.gain
        gain, error = float(curve.gain[-1]), float(curve.error[-1])
        least, most = gain - _Z * error, gain + _Z * error
        rises = gain - float(curve.gain[-2])
        retrain = least >= pays
        if retrain:
            verdict = "it is worth it"
        elif not is_last and (most >= pays or rises >= max(pays, _Z * error)):
            verdict = "the data do not suffice yet"
        else:
            verdict = "it is not worth it"
            self._settle()
        why = (
            f"{found.why}; a model trained with {int(curve.n_samples[-1]):,} samples "
            f"since gains {gain:+.4f} nats a sample (95 % bounds {least:+.4f} and "
            f"{most:+.4f}), {rises:+.4f} of it by the second half of them, "
            f"{pays:.4f} pays: {verdict}"
        )
        return replace(found, retrain=retrain, why=why, value=least, threshold=pays)


def gain_curve(data: Samples, now: RetrainSituation, predictor: Predictor) -> GainCurve:
    """Train on the memory and on growing parts of new data, score on what is held.

    Clusters are held back whole, and what the memory has of them is left out.

    Args:
        data: what came since the change, with what the present model says of it.
        now: whose memory is trained on as well, and whose chance is used.
        predictor: of the kind to train.

    Raises:
        DataError: outputs or predictions of the data are not known.
    """
    clusters = now.rng.permutation(np.unique(data.cluster))
    n_held = max(1, round(_HELD * len(clusters)))
    held_clusters, others = clusters[:n_held], clusters[n_held:]
    held = data.take(np.isin(data.cluster, held_clusters))
    before = -losses(held, now.bins, "the gain of retraining")
    memory = now.memory.take(~np.isin(now.memory.cluster, held_clusters))
    number = np.unique(held.cluster, return_inverse=True)[1]
    found = []
    for part in PARTS:
        some = others[: max(1, round(part * len(others)))]
        extra = data.take(np.isin(data.cluster, some))
        model = predictor.trained(_together(memory, extra), now.rng)
        after = _scores(model, held, now.bins)
        gain, error = _mean_by_cluster(after - before, number)
        found.append((len(extra), gain, error))
    n, gain, error = (np.array(column) for column in zip(*found, strict=True))
    return GainCurve(n_samples=n, gain=gain, error=error)


def _together(memory: Samples, extra: Samples) -> Samples:
    """Both, without predictions: the memory's may be of another model."""
    parts = [part for part in (memory, extra) if len(part)]
    return concatenate(
        [
            Samples.of(
                part.x,
                part.y,
                weight=part.weight,
                time_s=part.time_s,
                group=part.group,
                cluster=part.cluster,
            )
            for part in parts
        ]
    )


def _scores(model: Predictor, held: Samples, bins: Bins) -> np.ndarray:
    told = held.predicted(model.predict(held.x), -1)
    return -losses(told, bins, "the gain of retraining")


def _mean_by_cluster(
    gains: Float64[np.ndarray, " n"], number: Int64[np.ndarray, " n"]
) -> tuple[float, float]:
    """The mean over samples, with its standard error as a ratio of sums of clusters."""
    mean = float(gains.mean())
    excess = np.bincount(number, gains - mean)
    k = len(excess)
    if k == 1:
        return mean, float("inf")
    return mean, float(np.sqrt((excess**2).sum() * k / (k - 1)) / len(gains))
