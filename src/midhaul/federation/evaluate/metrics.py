"""The metrics of federation.evaluate and federation.train.

Of federation.evaluate, on items that nothing was learned on; of federation.train, on
the calibration items. An item counts in every split that tests it.

Every split tests another half of the items. A metric is the mean over splits, as a
function of how often each item counts, so that its bootstrap interval is over items and
the items that two policies share cancel out of their difference.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from midhaul.federation.evaluate import tables
from midhaul.federation.evaluate.tables import CONFIGURATIONS, DECISIONS
from midhaul.federation.quality import class_qualities, item_quality, set_quality
from midhaul.federation.recordings.problem import members, sizes_of
from midhaul.runs.metric import declare, metric_table
from midhaul.runs.summary import SUMMARY
from midhaul.stats import bootstrap, known, mean_statistic, paired_bootstrap

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Float64, Int64

    from midhaul.federation.evaluate.config import EvaluateConfig
    from midhaul.federation.evaluate.split_and_fit import Contender, TestPart
    from midhaul.federation.quality import QualityOfSet
    from midhaul.federation.recordings.problem import Answers, Recording
    from midhaul.model import Estimate
    from midhaul.model.estimate import MetricSamples, Statistic
    from midhaul.runs.progress import Progress
    from midhaul.runs.run import Run

_QUALITY, _ITEM_QUALITY, _COST, _CALLS, _ROUNDS = metric_table(
    """
    quality, higher, "quality" as points: pooled AP50 (boxes), mean Jaccard index (tags)
        or accuracy (labels) of the fused answers
    item_quality, higher: mean over items of the quality of each answer alone; of
        federation.train in comparisons only
    cost_usd [USD], lower, "price of 1,000" as usd_of_1000: mean price of the calls made
        for an item
    n_calls, lower, "calls" as {:.2f}: mean number of providers asked about an item
    n_rounds, lower, as {:.2f}: mean number of rounds of calls, one after another
    """,
    over="items",
)
(_COST_SHARE,) = metric_table(
    "cost_share, lower, as {:.0%}: `cost_usd` over the price of asking everybody"
)

EVALUATE_METRICS = declare(
    _QUALITY,
    _ITEM_QUALITY,
    _COST,
    _CALLS,
    replace(_ROUNDS, heading="rounds"),
    _COST_SHARE,
    *metric_table(
        """
        gain_on_best_single, higher, over items, "over best single" as gain: `quality`
            less that of the provider that is best on the same items, paired
        gain_on_all, higher, over items, "over all" as gain: `quality` less that of
            asking everybody, paired
        gap_recovered, higher, "of the gap to the oracle" as {:.0%}: share of the way
            from the best single provider to the oracle
        ap, higher, over items, "AP" as points: AP at IoU 0.50:0.95 of the fused boxes,
            pooled
        """
    ),
    headline="quality cost_usd n_calls gain_on_best_single gain_on_all gap_recovered",
)
"""What federation.evaluate finds, in the order of its report."""

TRAIN_METRICS = declare(
    _QUALITY,
    _ITEM_QUALITY,
    _COST,
    _CALLS,
    _ROUNDS,
    replace(_COST_SHARE, heading="of the price of all"),
    *metric_table(
        """
        fit_s [s], lower, "time to learn" as duration: time to learn and calibrate, the
            whole family
        decide_s [s], lower, "to decide about an item" as duration: time to decide about
            an item, over all rounds, many items at once
        training_usd [USD], lower, "price of the calls to learn from" as usd: price of
            the calls that were learned from
        """
    ),
    headline="quality cost_usd n_calls cost_share fit_s",
)
"""What federation.train finds, in the order of its report."""

_DIGITS = 14


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PolicyOutcome:
    """What one policy at one budget did to the test items of one split.

    Attributes:
        items: ``(k,)`` numbers of the items in the whole recording.
        first: ``(k,)`` mask of those asked in the first round.
        n_rounds: ``(k,)`` rounds of calls, one after another.
        quality: of all answers together.
        item_quality: ``(k,)`` of each answer alone.
    """

    items: Int64[np.ndarray, " k"]
    asked: Int64[np.ndarray, " k"]
    first: Int64[np.ndarray, " k"]
    n_rounds: Int64[np.ndarray, " k"]
    cost_usd: Float64[np.ndarray, " k"]
    fused: Answers
    quality: QualityOfSet
    item_quality: Float64[np.ndarray, " k"]


def judge(
    part: TestPart,
    fused: Answers,
    asked: Int64[np.ndarray, " k"],
    first: Int64[np.ndarray, " k"],
    n_rounds: Int64[np.ndarray, " k"],
) -> PolicyOutcome:
    """Hold what was made of the answers against the truth.

    Scores are calibrated as the fuser expects them.
    """
    return PolicyOutcome(
        items=part.items,
        asked=asked,
        first=first,
        n_rounds=n_rounds,
        cost_usd=part.recording.prices_of(asked),
        fused=fused,
        quality=set_quality(part.recording, fused),
        item_quality=item_quality(part.recording, fused),
    )


def over_splits(
    parts: Sequence[tuple[Int64[np.ndarray, " k"], Statistic]],
) -> Statistic:
    """The mean of one statistic over splits, as a function of all items' weights."""

    def statistic(weights: Float64[np.ndarray, "b n"]) -> Float64[np.ndarray, " b"]:
        values = [part(weights[:, items]) for items, part in parts]
        # Equal prices of all items must not differ by how they are added up.
        return np.round(np.mean(values, axis=0), _DIGITS)

    return statistic


def quality_over(outcomes: Sequence[PolicyOutcome]) -> Statistic:
    """The headline quality of a policy, over all splits."""
    return over_splits([(one.items, one.quality.statistic) for one in outcomes])


def mean_over(
    outcomes: Sequence[PolicyOutcome], values: Sequence[Float64[np.ndarray, " k"]]
) -> Statistic:
    """The mean of numbers of the items, given by split, over all splits."""
    pairs = zip(outcomes, values, strict=True)
    return over_splits([(one.items, mean_statistic(v)) for one, v in pairs])


def cost_to_match(
    points: Sequence[tuple[float, float]], quality: float
) -> float | None:
    """The lowest price at which a policy's curve reaches a quality.

    None where none does. Between two neighbours by price lies a mixture: every item is
    drawn to one or the other. A quality that is NaN is no point, and nothing reaches
    it.
    """
    ordered = sorted(point for point in points if not math.isnan(point[1]))
    for number, (cost, reached) in enumerate(ordered):
        if not reached >= quality:
            continue
        if number == 0:
            return cost
        below_cost, below = ordered[number - 1]
        share = (quality - below) / (reached - below)
        return below_cost + share * (cost - below_cost)
    return None


_MOST_SUBSETS = 16


def decision_table(
    configuration: int, split: int, items: Sequence[str], outcome: PolicyOutcome
) -> pa.Table:
    """What a policy did to each test item of a split, these being their ids."""
    n = len(outcome.items)
    columns: dict[str, Any] = {
        "configuration": np.full(n, configuration, np.int32),
        "split": np.full(n, split, np.int32),
        "item": list(items),
        "asked": outcome.asked,
        "first": outcome.first,
        "n_rounds": outcome.n_rounds.astype(np.int32),
        "cost_usd": outcome.cost_usd,
        "quality": outcome.item_quality,
    }
    return pa.table(columns, schema=tables.DECISIONS.schema)


def call_rows(
    configuration: int, recording: Recording, outcomes: Sequence[PolicyOutcome]
) -> list[dict[str, object]]:
    """How often each provider was asked."""
    asked = np.concatenate([one.asked for one in outcomes])
    first = np.concatenate([one.first for one in outcomes])
    rows: list[dict[str, object]] = []
    for p, provider in enumerate(recording.providers):
        n_calls = int((asked >> p & 1).sum())
        rows.append(
            {
                "configuration": configuration,
                "provider": provider,
                "n_calls": n_calls,
                "n_first": int((first >> p & 1).sum()),
                "share": n_calls / len(asked),
            }
        )
    return rows


def subset_rows(
    configuration: int, recording: Recording, outcomes: Sequence[PolicyOutcome]
) -> list[dict[str, object]]:
    """The subsets that were asked most."""
    asked = np.concatenate([one.asked for one in outcomes])
    quality = np.concatenate([one.item_quality for one in outcomes])
    masks, which, counts = np.unique(asked, return_inverse=True, return_counts=True)
    means = np.bincount(which, quality) / counts
    sizes = sizes_of(masks)
    rows: list[dict[str, object]] = []
    for i in np.argsort(-counts, kind="stable")[:_MOST_SUBSETS].tolist():
        names = [recording.providers[p] for p in members(int(masks[i]))]
        rows.append(
            {
                "configuration": configuration,
                "subset": "+".join(names) or "nobody",
                "n_asked": int(sizes[i]),
                "share": float(counts[i] / len(asked)),
                "quality": float(means[i]),
            }
        )
    return rows


def class_rows(
    configuration: int, recording: Recording, outcome: PolicyOutcome
) -> list[dict[str, object]]:
    """Quality by label, over the test items of one split."""
    part = recording.take(outcome.items)
    values, support = class_qualities(part, outcome.fused)
    return [
        {
            "configuration": configuration,
            "label": recording.names[i],
            "support": int(support[i]),
            "quality": known(float(values[i])),
        }
        for i in np.flatnonzero(support).tolist()
    ]


_ONES = 1


class PolicySummary:
    """All outcomes, and what is computed from them."""

    def __init__(
        self,
        config: EvaluateConfig,
        recording: Recording,
        contenders: Sequence[Contender],
        outcomes: Mapping[int, Sequence[PolicyOutcome]],
    ) -> None:
        """Compute the point values; intervals come later."""
        self.contenders = contenders
        self.outcomes = outcomes
        self._config = config
        self._n = len(recording)
        self._price_usd = float(recording.prices_usd.sum())
        self.quality = {n: self._value(quality_over(o)) for n, o in outcomes.items()}
        self.cost_usd = {
            n: self._value(mean_over(o, [one.cost_usd for one in o]))
            for n, o in outcomes.items()
        }

    def best_single(self) -> int | None:
        """The provider that is best on the test items: the hardest to beat."""
        singles = [c.number for c in self.contenders if c.provider >= 0]
        return max(singles, key=self.quality.__getitem__, default=None)

    def named(self, policy: str) -> int | None:
        """The number of the first contender of a policy."""
        found = [c.number for c in self.contenders if c.policy == policy]
        return found[0] if found else None

    def rows(self, contender: Contender) -> list[dict[str, object]]:
        """All metrics of one contender."""
        outcomes = self.outcomes[contender.number]
        quality = quality_over(outcomes)
        statistics = {
            "quality": quality,
            "item_quality": mean_over(outcomes, [o.item_quality for o in outcomes]),
            "cost_usd": mean_over(outcomes, [o.cost_usd for o in outcomes]),
            "n_calls": mean_over(
                outcomes, [sizes_of(o.asked).astype(float) for o in outcomes]
            ),
            "n_rounds": mean_over(
                outcomes, [o.n_rounds.astype(float) for o in outcomes]
            ),
        }
        boxes = [(o.items, o.quality.ap) for o in outcomes if o.quality.ap is not None]
        if boxes:
            statistics["ap"] = over_splits(boxes)
        metrics = {name: self._estimate(one) for name, one in statistics.items()}
        for metric, other in (
            ("gain_on_best_single", self.best_single()),
            ("gain_on_all", self.named("ensemble-n")),
        ):
            if other is not None:
                metrics[metric] = self._gain(quality, other)
        rows = [
            EVALUATE_METRICS[metric].estimate_row(contender.number, found)
            for metric, found in metrics.items()
        ]
        points: dict[str, float | None] = {
            "cost_share": self.cost_usd[contender.number] / self._price_usd
            if self._price_usd > 0
            else None,
            "gap_recovered": self._recovered(contender.number),
        }
        return rows + [
            EVALUATE_METRICS[metric].row(contender.number, value)
            for metric, value in points.items()
            if value is not None
        ]

    def match_rows(self) -> list[dict[str, object]]:
        """What each family has to spend to match what is simpler."""
        targets = {"best single": self.best_single(), "all": self.named("ensemble-n")}
        families: dict[str, list[int]] = {}
        for one in self.contenders:
            if one.share is not None:
                families.setdefault(one.family, []).append(one.number)
        rows: list[dict[str, object]] = []
        for family, numbers in families.items():
            points = [(self.cost_usd[n], self.quality[n]) for n in numbers]
            for target, number in targets.items():
                if number is None:
                    continue
                cost = cost_to_match(points, self.quality[number])
                price = self.cost_usd[number]
                rows.append(
                    {
                        "policy": family,
                        "target": target,
                        "target_quality": self.quality[number],
                        "target_cost_usd": price,
                        "cost_usd": cost,
                        "saving": None
                        if cost is None or price == 0
                        else 1 - cost / price,
                    }
                )
        return rows

    def _gain(self, quality: Statistic, other: int) -> Estimate:
        """How much more quality there is than another contender's."""
        return paired_bootstrap(
            quality,
            quality_over(self.outcomes[other]),
            self._n,
            np.random.default_rng([self._config.seed, 3]),
            n_resamples=self._config.n_resamples,
        ).estimate

    def _recovered(self, number: int) -> float | None:
        """The share of the way from the best single to the oracle."""
        best, oracle = self.best_single(), self.named("oracle")
        if best is None or oracle is None:
            return None
        gap = self.quality[oracle] - self.quality[best]
        return (self.quality[number] - self.quality[best]) / gap if gap > 0 else None

    def _estimate(self, statistic: Statistic) -> Estimate:
        return bootstrap(
            statistic,
            self._n,
            np.random.default_rng([self._config.seed, 2]),
            n_resamples=self._config.n_resamples,
        )

    def _value(self, statistic: Statistic) -> float:
        return float(statistic(np.ones((_ONES, self._n)))[0])


def summarise(
    config: EvaluateConfig,
    run: Run,
    recording: Recording,
    contenders: Sequence[Contender],
    outcomes: Mapping[int, Sequence[PolicyOutcome]],
    progress: Progress,
) -> None:
    """Write what all splits say together."""
    summary = PolicySummary(config, recording, contenders, outcomes)
    with progress.task("intervals", total=len(contenders)) as task:
        for one in contenders:
            found = outcomes[one.number]
            run.write(SUMMARY, summary.rows(one), part=one.number)
            calls = call_rows(one.number, recording, found)
            run.write(tables.CALLS, calls, part=one.number)
            subsets = subset_rows(one.number, recording, found)
            run.write(tables.SUBSETS, subsets, part=one.number)
            classes = class_rows(one.number, recording, found[0])
            run.write(tables.CLASSES, classes, part=one.number)
            task.advance()
    run.write(tables.MATCHES, summary.match_rows(), part=0)


_COMPARED = {"item_quality": "quality", "cost_usd": "cost_usd", "n_rounds": "n_rounds"}
"""Metrics that are means over the items of ``decisions``, and their columns."""


def samples(run: Run) -> list[MetricSamples]:
    """Quality, price and rounds of each configuration, by item of the first split.

    Pooled average precision is no mean of items, so what is compared for boxes is the
    quality of each image alone.
    """
    if DECISIONS.name not in run.tables():
        return []
    query = "SELECT * FROM decisions WHERE split = 0 ORDER BY configuration, item"
    rows = run.sql(query)
    of = np.asarray(rows["configuration"].to_numpy())
    items = np.array(rows["item"].to_pylist(), object)
    found: list[MetricSamples] = []
    for row in run.read(CONFIGURATIONS).to_pylist():
        mine = of == row["configuration"]
        if not mine.any():
            continue
        units = tuple(str(item) for item in items[mine])
        for metric, column in _COMPARED.items():
            values = np.asarray(rows[column].to_numpy(), np.float64)[mine]
            statistic = mean_statistic(values)
            found.append(
                EVALUATE_METRICS[metric].samples(str(row["name"]), units, statistic)
            )
    return found
