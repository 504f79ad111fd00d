"""The metrics of network.train: errors of the p99 over scenarios of the test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.network.train.tables import CONFIGURATIONS, SCENARIOS
from midhaul.runs.metric import declare, metric_table
from midhaul.stats import mean_statistic

if TYPE_CHECKING:
    from midhaul.model.estimate import MetricSamples
    from midhaul.runs.run import Run

METRICS = declare(
    *metric_table(
        """
        p99_error, lower, "p99 off by" as share: mean of the absolute error of the p99
            slowdown, as a share of the truth
        p50_error, lower, "p50 off by" as share: the same of the median slowdown
        p95_error, lower, "p95 off by" as share: the same of the p95
        p99_error_p90, lower, "9 of 10 within" as share: what 90 % of the absolute
            errors of the p99 do not exceed
        distance, lower, "distance" as {:.3f}: Wasserstein distance of the distributions
            of slowdowns over the mean of the true one
        """,
        over="scenarios",
        is_model=True,
    ),
    *metric_table(
        """
        p99_bias, "bias" as share: mean of the error of the p99 with its sign
        coverage, "in the interval" as share: scenarios whose true p99 lies in the 90 %
            interval that was told
        pairs_in_order, higher, "pairs in order" as share: of pairs of scenarios of one
            transport whose true p99 differs by more than 5 %, those told in the right
            order
        n_scenarios, as {:,.0f}: scenarios that were learnt from
        n_tests, as {:,.0f}: scenarios of the test
        file_bytes [B], "file" as size: size of the corrector's file
        """,
        is_model=True,
    ),
    headline="p99_error p99_error_p90 p99_bias coverage distance",
)
"""All metrics of the kind, in the order of the summary."""

_ROWS = """
    SELECT scenario, transport, true_p50, true_p95, true_p99, p50, p95, p99, p99_low,
    p99_high, distance FROM scenarios WHERE configuration = {} ORDER BY scenario
"""


def samples(run: Run) -> list[MetricSamples]:
    """All metrics of a run that have intervals; their units are scenarios."""
    found: list[MetricSamples] = []
    if SCENARIOS.name not in run.tables():
        return found
    for row in run.read(CONFIGURATIONS).to_pylist():
        columns = columns_of(run, int(row["configuration"]))
        found += _samples(str(row["name"]), columns)
    return found


def columns_of(run: Run, configuration: int) -> dict[str, np.ndarray]:
    """The columns of the table ``scenarios`` of a configuration; NaN for null."""
    table = run.sql(_ROWS.format(configuration))
    return {
        name: np.array(
            [np.nan if value is None else value for value in table[name].to_pylist()]
        )
        for name in table.column_names
    }


def _samples(name: str, columns: dict[str, np.ndarray]) -> list[MetricSamples]:
    numbers = columns["scenario"]
    units = tuple(f"scenario {int(number)}" for number in numbers)
    values = {
        f"{q}_error": np.abs(columns[q] / columns[f"true_{q}"] - 1)
        for q in ("p50", "p95", "p99")
    }
    values["distance"] = columns["distance"]
    found: list[MetricSamples] = []
    for metric, one in values.items():
        there = ~np.isnan(one)
        if there.any():
            kept = tuple(
                unit for unit, is_there in zip(units, there, strict=True) if is_there
            )
            statistic = mean_statistic(one[there], np.arange(len(kept)), len(kept))
            found.append(METRICS[metric].samples(name, kept, statistic))
    one = values["p99_error"]
    there = ~np.isnan(one)
    if there.any():
        kept = tuple(
            unit for unit, is_there in zip(units, there, strict=True) if is_there
        )
        index = np.arange(len(kept))
        found.append(
            METRICS["p99_error_p90"].percentile(name, kept, one[there], index, q=0.9)
        )
    return found


def single_rows(
    configuration: int, columns: dict[str, np.ndarray]
) -> list[dict[str, Any]]:
    """The rows of the summary that have no interval."""
    error = columns["p99"] / columns["true_p99"] - 1
    there = ~np.isnan(error)
    n = int(there.sum())
    if not n:
        return []
    rows = [METRICS["p99_bias"].row(configuration, float(error[there].mean()), n)]
    low, high = columns["p99_low"], columns["p99_high"]
    if not np.isnan(low).all():
        slack = 1e-4
        truth = columns["true_p99"]
        inside = (truth >= low * (1 - slack)) & (truth <= high * (1 + slack))
        rows.append(METRICS["coverage"].row(configuration, float(inside.mean()), n))
    if (share := pairs_in_order(columns)) is not None:
        rows.append(METRICS["pairs_in_order"].row(configuration, share, n))
    rows.append(METRICS["n_tests"].row(configuration, n, n))
    return rows


_CLOSE = 0.05


def pairs_in_order(columns: dict[str, np.ndarray]) -> float | None:
    """Share of pairs of one transport, truly apart, that are told in order."""
    right, total = 0, 0
    for name in np.unique(columns["transport"]):
        mine = (columns["transport"] == name) & ~np.isnan(columns["p99"])
        truth, told = columns["true_p99"][mine], columns["p99"][mine]
        apart = truth[:, None] > truth[None, :] * (1 + _CLOSE)
        right += int(np.sum(apart & (told[:, None] > told[None, :])))
        total += int(apart.sum())
    return right / total if total else None
