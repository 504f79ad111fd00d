"""A federation run's metrics item by item, so that two runs can be compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.federation.tables import CONFIGURATIONS, DECISIONS
from midhaul.model.samples import MetricSamples
from midhaul.stats import mean_statistic

if TYPE_CHECKING:
    from typing import Literal

    from midhaul.runs.run import Run

_METRICS: tuple[tuple[str, str, Literal["higher", "lower"], str], ...] = (
    ("item_quality", "quality", "higher", ""),
    ("cost_usd", "cost_usd", "lower", "USD"),
    ("n_rounds", "n_rounds", "lower", ""),
)


def samples(run: Run) -> list[MetricSamples]:
    """Quality, price and rounds of each configuration, by item of the first split.

    Pooled average precision is no mean of items, so what is compared for boxes is the
    quality of each image alone.

    Args:
        run: of federation.evaluate or federation.train; what it has is what there is.
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
        for metric, column, better, unit in _METRICS:
            values = np.asarray(rows[column].to_numpy(), np.float64)[mine]
            found.append(
                MetricSamples(
                    metric=metric,
                    configuration=str(row["name"]),
                    units=units,
                    statistic=mean_statistic(values),
                    better=better,
                    unit=unit,
                )
            )
    return found
