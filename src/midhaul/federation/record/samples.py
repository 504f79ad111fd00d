"""The metrics of federation.record, batch by batch of consecutive calls.

Latencies are over all calls that were made. One without an answer took at least the
time that it was given, whatever it failed of; one that a kill cut off is not judged.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.federation.record.journal import NOT_MADE, UNFINISHED
from midhaul.federation.record.tables import CALLS, CONFIGURATIONS
from midhaul.model.samples import MetricSamples
from midhaul.stats import mean_statistic, percentile_samples

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Bool, Float64

    from midhaul.model.samples import Statistic
    from midhaul.runs.run import Run

N_BATCHES = 20
PERCENTILES = (50, 90, 95, 99)


def samples(run: Run) -> list[MetricSamples]:
    """All metrics of a run, by provider; the units are batches of calls.

    Args:
        run: finished, or killed: what it has is what there is.
    """
    return [
        replace(metric, n_stretches=len(metric.units))
        for name, (calls, timeout_s) in _by_provider(run).items()
        for metric in metric_samples(calls, name, timeout_s)
    ]


def waits_of(run: Run) -> dict[str, tuple[Float64[np.ndarray, " n"], float]]:
    """Latencies of the calls that ended, by provider, and from where they are bounds.

    Args:
        run: what it has is what there is.
    """
    found: dict[str, tuple[Float64[np.ndarray, " n"], float]] = {}
    for name, (calls, timeout_s) in _by_provider(run).items():
        ended = [c for c in calls if c["status"] not in {*NOT_MADE, UNFINISHED}]
        if ended:
            waits_s = _waits_s(ended, timeout_s)
            good = np.array([call["status"] == "ok" for call in ended])
            found[name] = (waits_s, _known_below_s(waits_s, good))
    return found


def _by_provider(run: Run) -> dict[str, tuple[list[dict[str, Any]], float]]:
    """Calls of each provider, and the time that each of them was given."""
    calls: list[dict[str, Any]] = run.read(CALLS).to_pylist()
    timeouts = {
        str(one["name"]): float(one["timeout_s"])
        for one in run.config_values()["providers"]
    }
    return {
        str(row["name"]): (
            [c for c in calls if c["configuration"] == row["configuration"]],
            timeouts[str(row["name"])],
        )
        for row in run.read(CONFIGURATIONS).to_pylist()
    }


def _known_below_s(
    waits_s: Float64[np.ndarray, " n"], good: Bool[np.ndarray, " n"]
) -> float:
    """The shortest wait that had no answer; infinite where all had one."""
    return math.inf if good.all() else float(waits_s[~good].min())


def metric_samples(
    calls: Sequence[Mapping[str, Any]], configuration: str, timeout_s: float
) -> list[MetricSamples]:
    """The metrics of one provider.

    Args:
        calls: its rows of the table ``calls``.
        configuration: its name.
        timeout_s: the time that each call was given.
    """
    made = [call for call in calls if call["status"] not in NOT_MADE]
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
    ended = np.array([call["status"] != UNFINISHED for call in made])
    if ended.any():
        waits_s = _waits_s(made, timeout_s)[ended]
        known_below_s = _known_below_s(waits_s, good[ended])
        found += [
            percentile_samples(
                waits_s,
                index[ended],
                units,
                q=percentile / 100,
                metric=f"latency_p{percentile}_s",
                configuration=configuration,
                known_below=known_below_s,
            )
            for percentile in PERCENTILES
        ]
        mean = mean_statistic(waits_s, index[ended], size)
        one = sample("latency_mean_s", mean, unit="s")
        bound = -math.inf if math.isfinite(known_below_s) else math.inf
        found.append(replace(one, known_below=bound))
    return found


def _waits_s(
    calls: Sequence[Mapping[str, Any]], timeout_s: float
) -> Float64[np.ndarray, " n"]:
    """Latency of each call; at least the time it was given where it has no answer."""
    return np.array(
        [
            call["latency_s"]
            if call["status"] == "ok"
            else max(call["latency_s"] or 0.0, timeout_s)
            for call in calls
        ],
        np.float64,
    )
