"""The metrics of network.validate: how far a simulator lies from the judge.

Judge and simulator have the same flows, so they are resampled together: by paths where
paths were checked, as flows of a path share its queues, and by batches of flows in the
order of their starts where a window was.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.network.compare.metrics import METRICS as COMPARE_METRICS
from midhaul.network.compare.metrics import error_samples, errors_of
from midhaul.network.simulate.metrics import SINGLE, simulated_flows
from midhaul.network.slowdown import SIZE_CLASSES, size_masks
from midhaul.runs.metric import declare, metric_table
from midhaul.stats import bootstrap, mean_statistic, percentile_samples
from midhaul.stats.statistics import fewest_values

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from jaxtyping import Bool, Float64

    from midhaul.model import Estimate
    from midhaul.model.estimate import MetricSamples, Statistic
    from midhaul.network.simulate.metrics import SimulatedFlows
    from midhaul.network.validate.parts import CheckedParts
    from midhaul.runs.run import Run

CHECKED_AT = (0.5, 0.95, 0.99)
"""The percentiles of slowdown at which errors are said."""

METRICS = declare(
    *SINGLE,
    COMPARE_METRICS["fct_error_p50"],
    COMPARE_METRICS["fct_error_p99"],
    COMPARE_METRICS["speedup"],
    *metric_table(
        """
        error_p50, "p50 off by" as share: median slowdown of the flows that are judged,
            over that of the judge, less 1
        error_p95, "p95 off by" as share: the same of what 95 % of them do not exceed
        error_p99, "p99 off by" as share: the same of what 99 % of them do not exceed
        bias, "bias" as share: mean relative difference of completion times to the
            judge, flow by flow
        """,
        over="paths, or batches of flows",
        is_model=True,
    ),
    headline="error_p50 error_p95 error_p99 bias speedup took_s",
)
"""All metrics of the kind, in the order of the summary."""


def samples(run: Run) -> list[MetricSamples]:
    """What has a direction: how far completion times lie from the judge's."""
    found = simulated_flows(run)
    return [one for flows in found[1:] for one in error_samples(flows, found[0])]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundError:
    """How far a simulator lies from the judge at one percentile, or flow by flow.

    Attributes:
        what: p50, p95, p99 or bias.
        size_class: class of size, or all.
        n: flows behind it.
        judge: the judge's value.
        value: the simulator's.
        error: relative, with its interval.
    """

    what: str
    size_class: str
    n: int
    judge: float
    value: float
    error: Estimate

    @property
    def row(self) -> dict[str, object]:
        """Its row of the table ``errors``, without the configuration."""
        numbers = {
            "judge": self.judge,
            "value": self.value,
            "error": self.error.value,
            "low": self.error.low,
            "high": self.error.high,
        }
        return {
            "what": self.what,
            "size_class": self.size_class,
            "n": self.n,
            **{k: v if math.isfinite(v) else None for k, v in numbers.items()},
        }


def found_errors(
    flows: SimulatedFlows,
    judge: SimulatedFlows,
    parts: CheckedParts,
    rng: np.random.Generator,
    n_resamples: int,
) -> Iterator[FoundError]:
    """Errors of a simulator, class by class, as far as so many flows carry them."""
    counts = parts.is_judged & (flows.fct_ns >= 0) & (judge.fct_ns >= 0)
    n_parts = len(parts.names)
    relative, both = errors_of(flows, judge)

    def estimate(statistic: Statistic) -> Estimate:
        return bootstrap(statistic, n_parts, rng, n_resamples=n_resamples)

    for name, mask in size_masks(flows.size_bytes).items():
        chosen = counts & mask
        n_own = int(np.sum(chosen & ~flows.is_drawn))
        for q in CHECKED_AT:
            if n_own < fewest_values(q):
                continue
            mine = _percentile(flows, chosen, parts, q, n_own)
            true = _percentile(judge, chosen, parts, q, n_own)
            ones = np.ones((1, n_parts))
            yield FoundError(
                what=f"p{q * 100:g}",
                size_class=name,
                n=n_own,
                judge=float(true(ones)[0]),
                value=float(mine(ones)[0]),
                error=estimate(_off_by(mine, true)),
            )
        chosen &= both
        if chosen.any():
            statistic = mean_statistic(relative[chosen], parts.part[chosen], n_parts)
            yield FoundError(
                what="bias",
                size_class=name,
                n=int(chosen.sum()),
                judge=math.nan,
                value=math.nan,
                error=estimate(statistic),
            )


def _percentile(
    flows: SimulatedFlows,
    chosen: Bool[np.ndarray, " n"],
    parts: CheckedParts,
    q: float,
    n_own: int,
) -> Statistic:
    slowdown = flows.fct_ns[chosen] / np.maximum(flows.ideal_fct_ns[chosen], 1)
    found = percentile_samples(
        slowdown,
        parts.part[chosen],
        parts.names,
        q=q,
        metric="slowdown",
        configuration=flows.name,
        n_own=n_own,
    )
    return found.statistic


def _off_by(mine: Statistic, true: Statistic) -> Statistic:
    def statistic(weights: Float64[np.ndarray, "b n"]) -> Float64[np.ndarray, " b"]:
        with np.errstate(divide="ignore", invalid="ignore"):
            return mine(weights) / true(weights) - 1

    return statistic


def part_rows(
    flows: SimulatedFlows, judge: SimulatedFlows, parts: CheckedParts
) -> list[dict[str, object]]:
    """The rows of the table ``part_errors``, without the configuration."""
    relative, both = errors_of(flows, judge)
    chosen = both & parts.is_judged
    rows: list[dict[str, object]] = []
    for part in range(len(parts.names)):
        own = chosen & (parts.part == part)
        if not own.any():
            continue
        ideal = np.maximum(judge.ideal_fct_ns[own], 1)
        rows.append(
            {
                "part": part,
                "n": int(own.sum()),
                "judge": float((judge.fct_ns[own] / ideal).mean()),
                "value": float((flows.fct_ns[own] / ideal).mean()),
                "bias": float(relative[own].mean()),
            }
        )
    return rows


_ORDER = ("p99", "p95", "p50")


def where_checked(check: str, n_parts: int) -> str:
    """What was checked, for people."""
    return f"{n_parts} of its paths" if check == "paths" else "the window"


def verdict_sentence(
    name: str, rows: Sequence[Mapping[str, Any]], max_error: float, where: str
) -> str:
    """Whether a simulator can be trusted, for people.

    The rows are those of the table ``errors`` of one simulator; it is judged by p99 of
    all flows, or by the farthest percentile that so few carry.
    """
    of_all = {row["what"]: row for row in rows if row["size_class"] == "all"}
    what = next((one for one in _ORDER if one in of_all), None)
    if what is None or of_all[what]["error"] is None:
        return f"{name}: too few flows to say anything of it on {where}."
    row = of_all[what]
    low, high, bound = row["low"], row["high"], f"{max_error:.0%}"
    has_ends = low is not None and high is not None
    ends = f" ({low:+.1%} to {high:+.1%})" if has_ends else ""
    found = f"{name}: {what} of the slowdown is off by {row['error']:+.1%}{ends} on "
    found += f"{where}, {row['n']:,} flows"
    if low is None or high is None:
        found += "; these are too few parts for an interval"
    elif -max_error <= low and high <= max_error:
        found += f"; that holds the bound of {bound}"
    elif low > max_error or high < -max_error:
        found += f"; that does not hold the bound of {bound}"
    else:
        found += f"; whether it holds the bound of {bound} cannot be told"
    worst = max(
        (
            one
            for one in rows
            if one["what"] == what
            and one["size_class"] in SIZE_CLASSES
            and one["error"] is not None
        ),
        key=lambda one: abs(one["error"]),
        default=None,
    )
    if worst is not None:
        found += f"; {worst['size_class']} flows are off most ({worst['error']:+.1%})"
    if "bias" in of_all:
        found += f"; completion times are off by {of_all['bias']['error']:+.1%} on "
        found += "average"
    return f"{found}."
