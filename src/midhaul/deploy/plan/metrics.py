"""The metrics of deploy.plan and deploy.allocate: what was decided, and its bound.

For each planner, or each allocator on each uplink. What follows from QoS curves and
sizes is a model, and has no interval: it is decided, not sampled. `n` counts the
analytics. `midhaul compare` compares analytic by analytic.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.deploy.plan.tables import CONFIGURATIONS, DECISIONS
from midhaul.runs.metric import declare, metric_table
from midhaul.stats import ratio_statistic

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float64

    from midhaul.deploy.rates.base import RateAllocation
    from midhaul.model.estimate import MetricSamples
    from midhaul.runs.run import Run

_QOS, _BOUND, _BOUND_SHARE, _USED, _SERVED, _PRICE, _JAIN = metric_table(
    """
    weighted_qos, higher, headline, over "analytics, in comparisons", "weighted quality"
        as {:.4f}: mean over analytics of the quality that the granted rate buys, by
        weight; 0 for who gets none
    weighted_qos_bound, "no plan can exceed" as {:.4f}: no decision has more; missing
        where nobody gives a guarantee
    bound_share, higher, as share: value over bound
    uplink_used, "uplink used" as rounded_share: granted rates over the uplinks together
    n_served, higher, as {:.0f}: analytics that get at least the first step of their
        curve
    qos_per_mbps [s/Mbit], as {:+.4f}: what one more Mbit/s would add to `weighted_qos`,
        by the price at the margin; left out by allocators that know none
    jain_index, higher, as {:.4f}: fairness of the qualities (Jain), 1/n to 1
    """,
    is_model=True,
)
(_SOLVE,) = metric_table(
    """
    solve_s [s], lower, headline, "time to plan" as duration: time that deciding took,
        by the clock
    """
)
_COMPARED = metric_table(
    """
    mean_rate_bps [bit/s], lower: rate granted to an analytic, mean; compared only
    mean_saved_bps [bit/s], higher: upload rate that an analytic saves by where it runs,
        mean; compared only
    """,
    over="analytics, in comparisons",
    is_model=True,
)
_GAP, _ON_GATEWAYS, _SAVED, _PULLED, _LAST_PULL = metric_table(
    """
    gap, lower, headline, "gap at most" as rounded_share: how far the plan may be from
        the best one: 1 less `bound_share`
    n_on_gateways, higher, headline, "on gateways" as {:,.0f}: analytics that run on a
        gateway
    saved_bps [bit/s], higher, headline, "upload saved" as rate: upload rate that these
        no longer need
    pulled_bytes [B], lower, headline, "to pull" as size: compressed bytes that the plan
        pulls
    last_pull_s [s], lower, headline, "pulls end after" as duration: when its last pull
        ends, after the begin of the slot
    """,
    is_model=True,
)

PLAN_METRICS = declare(
    _QOS,
    replace(_BOUND, is_headline=True),
    _GAP,
    _BOUND_SHARE,
    _ON_GATEWAYS,
    _SAVED,
    _USED,
    _SERVED,
    _PRICE,
    _JAIN,
    _PULLED,
    _LAST_PULL,
    _SOLVE,
    *_COMPARED,
)
"""What deploy.plan finds, in the order of its report."""

ALLOCATE_METRICS = declare(
    _QOS,
    replace(_BOUND, heading="no allocation can exceed"),
    replace(_BOUND_SHARE, heading="share of the bound", is_headline=True),
    replace(_USED, heading="uplink granted", form="share", is_headline=True),
    replace(_SERVED, heading="analytics served", is_headline=True),
    replace(_PRICE, heading="quality of one more Mbit/s", is_headline=True),
    replace(_JAIN, heading="fairness (Jain)"),
    replace(_SOLVE, heading="time"),
    *_COMPARED,
)
"""What deploy.allocate finds, in the order of its report."""


def rate_rows(
    number: int,
    weights: Float64[np.ndarray, " n"],
    rates: RateAllocation,
    bound: float,
    uplink: float,
) -> list[dict[str, object]]:
    """Rows of ``summary`` that every division of an uplink, in bit/s, has.

    No decision is worth more than ``bound``, which is infinite where nobody knows.
    """
    total = float(weights.sum())
    share = 1 / total if total > 0 else 0.0
    granted = float(rates.rates_bps.sum())
    values = {
        "weighted_qos": rates.value * share,
        "uplink_used": granted / uplink if uplink > 0 else 0.0,
        "n_served": float((rates.steps >= 0).sum()),
        "jain_index": jain_index(rates.qualities),
        "qos_per_mbps": rates.price_per_bps * 1e6 * share,
    }
    if math.isfinite(bound):
        values["weighted_qos_bound"] = bound * share
        values["bound_share"] = rates.value / bound if bound else 1.0
    return decided_rows(number, values, len(weights))


def decided_rows(
    number: int, values: Mapping[str, float], n: int
) -> list[dict[str, object]]:
    """Rows of ``summary`` from values by metric; none of NaN."""
    return [
        PLAN_METRICS[metric].row(number, value, n)
        for metric, value in values.items()
        if math.isfinite(value)
    ]


def jain_index(qualities: Float64[np.ndarray, " n"]) -> float:
    """Fairness of qualities, 1/n to 1 (Jain, Chiu and Hawe, DEC TR-301, 1984)."""
    squares = float((qualities**2).sum())
    return float(qualities.sum()) ** 2 / (len(qualities) * squares) if squares else 1.0


def samples(run: Run) -> list[MetricSamples]:
    """Weighted quality, granted and saved rate of each configuration, by analytic."""
    decisions = run.read(DECISIONS).to_pylist()
    found: list[MetricSamples] = []
    for configuration in run.read(CONFIGURATIONS).to_pylist():
        number, name = configuration["configuration"], str(configuration["name"])
        rows = [row for row in decisions if row["configuration"] == number]
        if not rows:
            continue
        units = tuple(str(row["analytic"]) for row in rows)
        weights = np.array([row["weight"] for row in rows], np.float64)
        qualities = np.array([row["quality"] for row in rows], np.float64)
        rates = np.array([row["rate_bps"] for row in rows], np.float64)
        is_saved = np.array([row["place"] != "cloud" for row in rows])
        saved = np.array([row["saved_bps"] for row in rows], np.float64) * is_saved
        ones = np.ones(len(rows))
        found += [
            PLAN_METRICS[metric].samples(name, units, ratio_statistic(above, below))
            for metric, above, below in (
                ("weighted_qos", weights * qualities, weights),
                ("mean_rate_bps", rates, ones),
                ("mean_saved_bps", saved, ones),
            )
        ]
    return found
