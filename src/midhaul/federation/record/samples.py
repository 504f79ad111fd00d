"""The metrics of federation.record, batch by batch of consecutive calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.federation.record.tables import CALLS, CONFIGURATIONS
from midhaul.model.samples import MetricSamples
from midhaul.stats import mean_statistic, quantile_statistic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midhaul.model.samples import Statistic
    from midhaul.runs.run import Run

N_BATCHES = 20
PERCENTILES = (50, 90, 95, 99)


def samples(run: Run) -> list[MetricSamples]:
    """All metrics of a run, by provider; the units are batches of calls.

    Args:
        run: finished, or killed: what it has is what there is.
    """
    calls = run.read(CALLS).to_pylist()
    found: list[MetricSamples] = []
    for row in run.read(CONFIGURATIONS).to_pylist():
        mine = [c for c in calls if c["configuration"] == row["configuration"]]
        found += metric_samples(mine, str(row["name"]))
    return found


def metric_samples(
    calls: Sequence[Mapping[str, Any]], configuration: str
) -> list[MetricSamples]:
    """The metrics of one provider.

    Args:
        calls: its rows of the table ``calls``.
        configuration: its name.
    """
    made = [call for call in calls if call["status"] != "not_sent"]
    made.sort(key=lambda call: call["sent_s"])
    if not made:
        return []
    n = len(made)
    index = np.arange(n) * min(N_BATCHES, n) // n
    first = np.searchsorted(index, np.arange(index[-1] + 1))
    units = tuple(
        f"{made[int(i)]['sent_s']:.6f} {batch}" for batch, i in enumerate(first)
    )
    good = np.array([call["status"] == "ok" for call in made])
    latency_s = np.array(
        [call["latency_s"] if ok else 0.0 for call, ok in zip(made, good, strict=True)]
    )
    price_usd = np.array([call["price_usd"] for call in made], np.float64)

    def sample(name: str, statistic: Statistic, *, unit: str = "") -> MetricSamples:
        return MetricSamples(
            metric=name,
            configuration=configuration,
            units=units,
            statistic=statistic,
            better="higher" if name == "ok_share" else "lower",
            unit=unit,
        )

    size = len(units)
    ok = mean_statistic(good.astype(np.float64), index, size)
    usd = mean_statistic(price_usd, index, size)
    found = [sample("ok_share", ok), sample("usd_per_call", usd, unit="USD")]
    if good.any():
        times, of = latency_s[good], index[good]
        found += [
            sample(
                f"latency_p{percentile}_s",
                quantile_statistic(times, of, size, q=percentile / 100),
                unit="s",
            )
            for percentile in PERCENTILES
        ]
        mean = mean_statistic(times, of, size)
        found.append(sample("latency_mean_s", mean, unit="s"))
    return found
