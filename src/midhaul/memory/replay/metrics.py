"""The metrics of replays: log scores, raw and smoothed, and the slow event."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.memory.replay import tables
from midhaul.runs.metric import declare, metric_table
from midhaul.stats.statistics import mean_statistic, quantile_statistic, ratio_statistic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Bool, Float64, Int64

    from midhaul.model.estimate import MetricSamples, Statistic
    from midhaul.runs.run import Run

METRICS = declare(
    *metric_table(
        """
        smoothed_mean, higher, "mean" as {:.3f}: mean log score of smoothed predictions
        smoothed_median, higher, "median" as {:.3f}: median of it
        smoothed_p1, higher, "P1" as {:.2f}: 1st percentile of it
        smoothed_p01, higher, "P0.1" as {:.2f}: 0.1th percentile of it
        slow_loss, lower, "slow event" as {:.3f}: log loss of whether a slow event comes
            over the number of such events, recalibrated across clusters
        mean, higher, "raw mean" as {:.3f}: mean log score of predictions as they are
        median, higher, "raw median" as {:.3f}: median of it
        p1, higher, "raw P1" as {:.2f}: 1st percentile of it
        p01, higher, "raw P0.1" as {:.2f}: 0.1th percentile of it
        slow_mean, higher, "raw slow" as {:.2f}: mean log score of slow events
        """,
        over="clusters",
    ),
    *metric_table(
        """
        n_retrained, lower, "trainings" as {:.1f}: mean number of trainings of a
            repetition
        took_s [s], "processor time" as duration: of everything, mean of a repetition
        """
    ),
    headline="smoothed_mean smoothed_p1 slow_loss n_retrained",
)
"""All metrics of the kinds, in the order of the summary."""

_QUANTILES = {"median": 0.5, "p1": 0.01, "p01": 0.001}


JUDGED = {"smoothed_mean": "the mean", "smoothed_p1": "P1"} | {
    "slow_loss": "the slow event"
}
"""What memories are told apart by, in words."""


def verdict_sentence(first: str, results: Mapping[str, Mapping[str, str]]) -> str:
    """Who is better or worse than the first, and in what, for people.

    ``results`` has better, worse or equal of each metric, by configuration.
    """
    said: list[str] = []
    for name, of_metric in results.items():
        words = {
            result: [JUDGED[metric] for metric, r in of_metric.items() if r == result]
            for result in ("better", "worse")
        }
        parts = [f"{r} in {_and(what)}" for r, what in words.items() if what]
        said.append(f"{name} is {', '.join(parts) or 'equal'}")
    return f"Against {first}: {'; '.join(said)}."


def _and(words: Sequence[str]) -> str:
    *rest, last = words
    return f"{', '.join(rest)} and {last}" if rest else last


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TestedScores:
    """What was tested of one configuration, cluster by cluster.

    Attributes:
        name: of the configuration.
        clusters: numbers of the ``c`` clusters.
        raw: ``(n,)`` log scores, and ``raw_of`` the index of their clusters.
        raw_of: see ``raw``.
        is_slow: ``(n,)`` whether a slow event came.
        smoothed: ``(m,)`` log scores, and ``smoothed_of`` the index of their clusters.
        smoothed_of: see ``smoothed``.
        loss: ``(c,)`` sum of recalibrated losses of a cluster.
        n_slow: ``(c,)`` slow events of a cluster.
    """

    name: str
    clusters: Int64[np.ndarray, " c"]
    raw: Float64[np.ndarray, " n"]
    raw_of: Int64[np.ndarray, " n"]
    is_slow: Bool[np.ndarray, " n"]
    smoothed: Float64[np.ndarray, " m"]
    smoothed_of: Int64[np.ndarray, " m"]
    loss: Float64[np.ndarray, " c"]
    n_slow: Float64[np.ndarray, " c"]

    def statistics(self) -> dict[str, Statistic]:
        """Each metric with an interval, as a function of the clusters' weights."""
        c = len(self.clusters)
        found: dict[str, Statistic] = {
            "smoothed_mean": mean_statistic(self.smoothed, self.smoothed_of, c)
        }
        for name, q in _QUANTILES.items():
            found[f"smoothed_{name}"] = quantile_statistic(
                self.smoothed, self.smoothed_of, c, q=q
            )
        if self.n_slow.any():
            found["slow_loss"] = ratio_statistic(self.loss, self.n_slow)
        found["mean"] = mean_statistic(self.raw, self.raw_of, c)
        for name, q in _QUANTILES.items():
            found[name] = quantile_statistic(self.raw, self.raw_of, c, q=q)
        if self.n_slow.any():
            found["slow_mean"] = mean_statistic(
                self.raw[self.is_slow], self.raw_of[self.is_slow], c
            )
        return found

    def samples(self) -> list[MetricSamples]:
        """Its metrics by cluster, to sum up and to compare."""
        units = tuple(f"cluster {number}" for number in self.clusters)
        return [
            METRICS[name].samples(self.name, units, statistic)
            for name, statistic in self.statistics().items()
        ]


def samples(run: Run) -> list[MetricSamples]:
    """All metrics of a run that have intervals; their units are clusters."""
    return [one for found in tested_of(run) for one in found.samples()]


def tested_of(run: Run) -> list[TestedScores]:
    """What was tested of each configuration that is done."""
    there = set(run.tables())
    if tables.SCORES.name not in there or tables.SLOW.name not in there:
        return []
    named = {
        int(row["configuration"]): str(row["name"])
        for row in run.read(tables.CONFIGURATIONS).to_pylist()
    }
    done = run.sql("SELECT DISTINCT configuration FROM slow")["configuration"]
    there = set(done.to_pylist())
    return [
        _tested(run, number, name)
        for number, name in sorted(named.items())
        if number in there
    ]


_SCORES = """
    SELECT cluster, score, is_smoothed, is_slow, sum(n)::BIGINT AS n FROM scores
    WHERE configuration = {} GROUP BY ALL ORDER BY ALL
"""
_SLOW = """
    SELECT cluster, sum(n_slow)::DOUBLE AS n_slow, sum(loss) AS loss FROM slow
    WHERE configuration = {} GROUP BY ALL ORDER BY cluster
"""


def _tested(run: Run, number: int, name: str) -> TestedScores:
    """The scores of one configuration, one value for each sample again."""
    rows = run.sql(_SCORES.format(number))
    slow = run.sql(_SLOW.format(number))
    clusters = np.asarray(slow["cluster"])
    of = np.searchsorted(clusters, np.asarray(rows["cluster"]))
    times = np.asarray(rows["n"])
    score, is_slow = np.asarray(rows["score"]), np.asarray(rows["is_slow"])
    smoothed = np.asarray(rows["is_smoothed"])
    raw = ~smoothed
    return TestedScores(
        name=name,
        clusters=clusters,
        raw=np.repeat(score[raw], times[raw]),
        raw_of=np.repeat(of[raw], times[raw]),
        is_slow=np.repeat(is_slow[raw], times[raw]),
        smoothed=np.repeat(score[smoothed], times[smoothed]),
        smoothed_of=np.repeat(of[smoothed], times[smoothed]),
        loss=np.asarray(slow["loss"]),
        n_slow=np.asarray(slow["n_slow"]),
    )
