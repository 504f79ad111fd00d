"""The numbers of federation.evaluate: every contender over all splits, in pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.federation import result_rows, tables
from midhaul.federation.comparison import (
    Outcome,
    cost_to_match,
    mean_over,
    over_splits,
    quality_over,
)
from midhaul.federation.problem import sizes_of
from midhaul.runs.summary import SUMMARY
from midhaul.stats import bootstrap, paired_bootstrap

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midhaul.federation.config import EvaluateConfig
    from midhaul.federation.line_up import Contender
    from midhaul.federation.problem import Recording
    from midhaul.model import Estimate
    from midhaul.model.samples import Statistic
    from midhaul.runs.progress import Progress
    from midhaul.runs.run import Run

_ONES = 1


class Summary:
    """All outcomes, and what is computed from them.

    Attributes:
        contenders: in the order of their numbers.
        outcomes: of each contender, one per split.
    """

    def __init__(
        self,
        config: EvaluateConfig,
        recording: Recording,
        contenders: Sequence[Contender],
        outcomes: Mapping[int, Sequence[Outcome]],
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
        metrics: list[tuple[str, Estimate]] = [
            ("quality", self._estimate(quality)),
            (
                "item_quality",
                self._estimate(mean_over(outcomes, [o.item_quality for o in outcomes])),
            ),
            (
                "cost_usd",
                self._estimate(
                    mean_over(outcomes, [o.cost_usd for o in outcomes]), "USD"
                ),
            ),
            (
                "n_calls",
                self._estimate(
                    mean_over(
                        outcomes, [sizes_of(o.asked).astype(float) for o in outcomes]
                    )
                ),
            ),
            (
                "n_rounds",
                self._estimate(
                    mean_over(outcomes, [o.n_rounds.astype(float) for o in outcomes])
                ),
            ),
        ]
        metrics += self._of_boxes(outcomes)
        metrics += self._against("gain_on_best_single", quality, self.best_single())
        metrics += self._against("gain_on_all", quality, self.named("ensemble-n"))
        rows = result_rows.metric_rows(contender.number, metrics)
        if self._price_usd > 0:
            share = self.cost_usd[contender.number] / self._price_usd
            rows.append(result_rows.plain_row(contender.number, "cost_share", share))
        recovered = self._recovered(contender.number)
        if recovered is not None:
            row = result_rows.plain_row(contender.number, "gap_recovered", recovered)
            rows.append(row)
        return rows

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

    def _of_boxes(self, outcomes: Sequence[Outcome]) -> list[tuple[str, Estimate]]:
        parts = [(o.items, o.quality.ap) for o in outcomes if o.quality.ap is not None]
        return [("ap", self._estimate(over_splits(parts)))] if parts else []

    def _against(
        self, metric: str, quality: Statistic, other: int | None
    ) -> list[tuple[str, Estimate]]:
        if other is None:
            return []
        base = quality_over(self.outcomes[other])
        difference = paired_bootstrap(
            quality,
            base,
            self._n,
            np.random.default_rng([self._config.seed, 3]),
            n_resamples=self._config.n_resamples,
        )
        return [(metric, difference.estimate)]

    def _recovered(self, number: int) -> float | None:
        """The share of the way from the best single to the oracle."""
        best, oracle = self.best_single(), self.named("oracle")
        if best is None or oracle is None:
            return None
        gap = self.quality[oracle] - self.quality[best]
        return (self.quality[number] - self.quality[best]) / gap if gap > 0 else None

    def _estimate(self, statistic: Statistic, unit: str = "") -> Estimate:
        return bootstrap(
            statistic,
            self._n,
            np.random.default_rng([self._config.seed, 2]),
            n_resamples=self._config.n_resamples,
            unit=unit,
        )

    def _value(self, statistic: Statistic) -> float:
        return float(statistic(np.ones((_ONES, self._n)))[0])


def summarise(
    config: EvaluateConfig,
    run: Run,
    recording: Recording,
    contenders: Sequence[Contender],
    outcomes: Mapping[int, Sequence[Outcome]],
    progress: Progress,
) -> None:
    """Write what all splits say together.

    Args:
        config: the experiment.
        run: the run to fill.
        recording: all items.
        contenders: in the order of their numbers.
        outcomes: of each contender, one per split.
        progress: where to tell how far it is.
    """
    summary = Summary(config, recording, contenders, outcomes)
    with progress.task("intervals", total=len(contenders)) as task:
        for one in contenders:
            found = outcomes[one.number]
            run.write(SUMMARY, summary.rows(one), part=one.number)
            calls = result_rows.call_rows(one.number, recording, found)
            run.write(tables.CALLS, calls, part=one.number)
            subsets = result_rows.subset_rows(one.number, recording, found)
            run.write(tables.SUBSETS, subsets, part=one.number)
            classes = result_rows.class_rows(one.number, recording, found[0])
            run.write(tables.CLASSES, classes, part=one.number)
            task.advance()
    run.write(tables.MATCHES, summary.match_rows(), part=0)
