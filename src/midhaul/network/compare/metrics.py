"""The metrics of network.compare: those of a simulation, and how far two lie apart.

All configurations have the same flows, so they are paired batch by batch. Where
simulators differ, the relative difference of completion times is an error; where
transports or queues do, it is how much a flow notices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.network.simulate.metrics import (
    SHARED,
    SINGLE,
    metric_samples,
    simulated_flows,
)
from midhaul.network.slowdown import size_masks
from midhaul.runs.metric import declare, metric_table
from midhaul.stats import claimed_quantile, fewest_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Float64

    from midhaul.model.estimate import MetricSamples
    from midhaul.network.simulate.metrics import SimulatedFlows
    from midhaul.runs.run import Run

_ERRORS = (0.5, 0.9, 0.99)
_WITHIN_NS = 2

METRICS = declare(
    *SHARED,
    *SINGLE,
    *metric_table(
        """
        fct_error_p50, "FCT off by" as share: median of the relative difference of
            completion times to the reference, flow by flow
        fct_error_p99, "p99 of it" as share: what 99 % of these do not exceed
        """,
        better="lower",
        over="batches of flows",
        is_model=True,
    ),
    *metric_table(
        """
        speedup, higher, "speed" as {:.3g}: time that the reference took over the time
            that this configuration took
        """,
    ),
    headline="slowdown_p50 slowdown_p99 fct_mean_s fct_p99_s max_utilisation n_dropped "
    "unfinished_share fct_error_p50 took_s",
)
"""All metrics of the kind, in the order of the summary."""


def reference_of(run: Run, found: Sequence[SimulatedFlows]) -> SimulatedFlows:
    """The configuration that others are held against."""
    name = str(run.config_values().get("reference") or found[0].name)
    return next((one for one in found if one.name == name), found[0])


def samples(run: Run) -> list[MetricSamples]:
    """All metrics of a run that have intervals; their units are batches of flows."""
    found = simulated_flows(run)
    if not found:
        return []
    reference = reference_of(run, found)
    return [
        one
        for flows in found
        for one in (*metric_samples(flows), *error_samples(flows, reference))
    ]


def errors_of(
    flows: SimulatedFlows, reference: SimulatedFlows
) -> tuple[Float64[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """``(n,)`` relative difference to the reference, and whether a flow ended in both.

    The numbers of flows are the same in both; drawn ones are none to be compared.
    """
    both = (flows.fct_ns >= 0) & (reference.fct_ns >= 0)
    both &= ~flows.is_drawn & ~reference.is_drawn
    below = np.where(both, reference.fct_ns, 1)
    return (flows.fct_ns - reference.fct_ns) / below, both


def error_samples(
    flows: SimulatedFlows, reference: SimulatedFlows
) -> list[MetricSamples]:
    """How far completion times lie from the reference; nothing for itself."""
    if flows.name == reference.name:
        return []
    errors, both = errors_of(flows, reference)
    if not both.any():
        return []
    return [
        METRICS[f"fct_error_p{q * 100:g}"].percentile(
            flows.name, flows.units, np.abs(errors[both]), flows.unit[both], q=q
        )
        for q in (0.5, 0.99)
    ]


def agreement_rows(
    configuration: int, flows: SimulatedFlows, reference: SimulatedFlows
) -> list[dict[str, object]]:
    """The rows of the table ``agreement`` of one configuration."""
    errors, both = errors_of(flows, reference)
    one_only = (flows.fct_ns >= 0) != (reference.fct_ns >= 0)
    near = np.abs(flows.fct_ns - reference.fct_ns) <= _WITHIN_NS
    rows: list[dict[str, object]] = []
    for name, mask in size_masks(flows.size_bytes).items():
        own = errors[mask & both]
        if not len(own):
            continue
        row: dict[str, object] = {
            "configuration": configuration,
            "size_class": name,
            "n": len(own),
            "n_one_only": int(np.sum(mask & one_only)),
            "n_within_2ns": int(np.sum(mask & both & near)),
            "bias": float(own.mean()),
        }
        for q in _ERRORS:
            if len(own) >= fewest_values(q):
                row[f"error_p{q * 100:g}"] = claimed_quantile(np.abs(own), q)
        rows.append(row)
    return rows
