"""The metrics of network.simulate, by batches of flows that began one after another.

Flows that are under way at the same time share queues, so neighbours are not
independent: an interval is over batches of many flows each, in the order of their
starts. Percentiles are as far out as the flows carry them; of flows that had not ended
it is known what their slowdown exceeds, so a percentile among these is a bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow.compute as pc

from midhaul.network.simulate.tables import (
    CONFIGURATIONS,
    FLOWS,
    LINKS,
    SIMULATIONS,
)
from midhaul.network.slowdown import (
    IN_WORDS,
    PERCENTILES,
    SIZE_CLASSES,
    JudgedFlows,
    carried,
    judged_flows,
    size_masks,
)
from midhaul.runs.metric import Metric, declare, metric_table
from midhaul.stats import (
    mean_statistic,
    ratio_statistic,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Bool, Int64

    from midhaul.model.estimate import MetricSamples
    from midhaul.runs.run import Run

N_BATCHES = 30
"""Batches of flows, at most one for each flow."""

_OVER = "batches of flows"
_OF_CLASSES = tuple(
    Metric(
        name=f"slowdown_{name}_p{q * 100:g}",
        doc=f"what {q:.0%} of the flows of {words} do not exceed",
        better="lower",
        over=_OVER,
        is_model=True,
    )
    for name, words in zip(SIZE_CLASSES, IN_WORDS, strict=True)
    for q in PERCENTILES
)

SHARED = (
    *metric_table(
        """
        slowdown_p50, "slowdown p50" as {:.3g}: median of FCT over ideal FCT, of the
            flows that are judged
        slowdown_p90, "p90" as {:.3g}: what 90 % of these slowdowns do not exceed
        slowdown_p99, "p99" as {:.3g}: what 99 % of these slowdowns do not exceed
        fct_mean_s [s], "mean FCT" as duration: mean flow completion time
        fct_p99_s [s], "FCT p99" as duration: what 99 % of the completion times do not
            exceed
        n_retransmitted, "sent again" as {:.3g}: packets sent more than once, of a flow
        unfinished_share, "unfinished" as share: flows that are judged and had not ended
        """,
        better="lower",
        over=_OVER,
        is_model=True,
    ),
    *metric_table(
        """
        goodput_bps [bit/s], higher, "goodput" as rate: payload of the flows that ended
            over the time that was simulated
        """,
        over=_OVER,
        is_model=True,
    ),
    *_OF_CLASSES,
)
"""What has an interval."""

SINGLE = (
    *metric_table(
        """
        max_utilisation, "busiest link" as share: share of the time that the busiest
            link sent
        max_queue_bytes [B], "longest queue" as size: most that waited for a link
        n_dropped, "dropped" as {:,.0f}: packets lost at queues or on links
        dropped_share, as share: those over the packets that were sent on all links
        n_marked, as {:,.0f}: packets that queues marked
        paused_s [s], as duration: time that links were paused, the most paused one
        n_flows, as {:,.0f}: flows
        """,
        is_model=True,
    ),
    *metric_table(
        """
        n_events, as {:,.0f}: what the simulator worked through, by its own count
        events_hz [1/s], higher, as {:.3g}: those over the time it took
        took_s [s], lower, "took" as duration: time the simulation took on this machine
        predicted_s [s], as duration: time it was to take, measured by a short probe
        """,
    ),
)
"""What has none: one number of one simulation."""

METRICS = declare(
    *SHARED,
    *SINGLE,
    headline="slowdown_p50 slowdown_p90 slowdown_p99 fct_mean_s goodput_bps "
    "max_utilisation n_dropped unfinished_share took_s",
)
"""All metrics of the kind, in the order of the summary."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SimulatedFlows:
    """The flows of one configuration, as arrays.

    Attributes:
        name: of the configuration.
        flow: ``(n,)`` their numbers.
        size_bytes: ``(n,)`` payload.
        label: ``(n,)`` their classes.
        fct_ns: ``(n,)`` completion times; -1 where not ended.
        n_retransmitted: ``(n,)`` packets sent more than once.
        ideal_fct_ns: ``(n,)`` what each takes alone on its path.
        judged: those that count.
        span_s: simulated time from the first start to the end.
        drawn_from: ``(n,)`` index of the flow whose slowdown, or correction, it was
            given; its own where it was simulated.
        unit: ``(n,)`` the batch of each flow.
        is_by_ends: true where batches are of ends of flows instead of starts.
        is_hybrid: true where drawn flows have the fluid's slowdown, corrected.
    """

    name: str
    flow: Int64[np.ndarray, " n"]
    size_bytes: Int64[np.ndarray, " n"]
    label: np.ndarray
    fct_ns: Int64[np.ndarray, " n"]
    n_retransmitted: Int64[np.ndarray, " n"]
    ideal_fct_ns: Int64[np.ndarray, " n"]
    judged: JudgedFlows
    span_s: float
    drawn_from: Int64[np.ndarray, " n"]
    unit: Int64[np.ndarray, " n"]
    is_by_ends: bool
    is_hybrid: bool

    @property
    def n_units(self) -> int:
        """How many batches there are."""
        return int(self.unit.max(initial=0)) + 1

    @property
    def units(self) -> tuple[str, ...]:
        """The names of the batches; those of starts and of ends are no pairs."""
        what = "batch of ends" if self.is_by_ends else "batch"
        return tuple(f"{what} {i}" for i in range(self.n_units))

    @property
    def is_drawn(self) -> Bool[np.ndarray, " n"]:
        """True where a flow was not simulated and has another's slowdown."""
        return self.drawn_from != np.arange(len(self.drawn_from))

    def n_own(self, mask: Bool[np.ndarray, " k"]) -> int:
        """How many of some judged flows were simulated themselves."""
        return int(np.sum(~self.is_drawn[self.judged.flow[mask]]))


def simulated_flows(run: Run) -> list[SimulatedFlows]:
    """The flows of each configuration that was simulated to its end."""
    cases = {
        int(row["configuration"]): row for row in run.read(CONFIGURATIONS).to_pylist()
    }
    found: list[SimulatedFlows] = []
    for row in run.read(SIMULATIONS).to_pylist():
        case = cases[int(row["configuration"])]
        found.append(_flows_of(run, case, float(row["end_s"])))
    return found


_FLOWS = """
    SELECT COLUMNS('^(flow|source|target|size_bytes|label|start_ns|fct_ns|ideal_fct_ns|'
        || 'n_retransmitted|drawn_from)$')
    FROM flows WHERE configuration = {} ORDER BY flow
"""


def _flows_of(run: Run, case: dict[str, Any], end_s: float) -> SimulatedFlows:
    number, is_hybrid = int(case["configuration"]), case["simulator"] == "hybrid"
    if FLOWS.name in run.tables():
        table = run.sql(_FLOWS.format(number))
    else:
        table = FLOWS.schema.empty_table()
    columns = {
        column: cast("Any", table[column]).fill_null(-1).to_numpy()
        for column in ("flow", "size_bytes", "start_ns", "fct_ns", "ideal_fct_ns")
    }
    start_ns, end_ns = columns["start_ns"], round(end_s * 1e9)
    n = len(start_ns)
    drawn_from, is_by_ends = np.arange(n), False
    if "drawn_from" in table.column_names:
        found = cast("Any", table["drawn_from"]).fill_null(-1).to_numpy()
        is_by_ends = bool((found >= 0).any()) and not is_hybrid
        drawn_from = np.where(found >= 0, found, drawn_from)
    began = start_ns[start_ns >= 0]
    return SimulatedFlows(
        name=str(case["name"]),
        flow=columns["flow"],
        size_bytes=columns["size_bytes"],
        label=np.array(table["label"].to_pylist(), dtype=object),
        fct_ns=columns["fct_ns"],
        n_retransmitted=table["n_retransmitted"].to_numpy(),
        ideal_fct_ns=columns["ideal_fct_ns"],
        judged=judged_flows(
            start_ns, columns["fct_ns"], columns["ideal_fct_ns"], end_ns
        ),
        span_s=(end_ns - int(began.min(initial=end_ns))) / 1e9,
        drawn_from=drawn_from,
        unit=_batches_of_ends(table, drawn_from)
        if is_by_ends
        else _batches_of_donors(drawn_from),
        is_by_ends=is_by_ends,
        is_hybrid=is_hybrid,
    )


def _batches_of_donors(drawn_from: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """Batches of simulated flows that began one after another, with what they gave."""
    donors, of_flow = np.unique(drawn_from, return_inverse=True)
    n = len(donors)
    return of_flow * min(N_BATCHES, n) // max(n, 1)


def _batches_of_ends(
    table: Any, drawn_from: Int64[np.ndarray, " n"]
) -> Int64[np.ndarray, " n"]:
    """Batches of flows between the same ends, with all that were drawn from them.

    What was drawn tells nothing new, so it goes where its donor goes.
    """
    ends = [pc.rank(table[name], tiebreaker="dense") for name in ("source", "target")]
    source, target = (column.to_numpy().astype(np.int64) for column in ends)
    pair = source * (int(target.max(initial=0)) + 1) + target
    known, of_flow = np.unique(pair[drawn_from], return_inverse=True)
    n_batches = min(N_BATCHES, len(known))
    mixed = np.random.default_rng(len(known)).permutation(len(known)) % n_batches
    return mixed[of_flow]


def samples(run: Run) -> list[MetricSamples]:
    """All metrics of a run that have intervals; their units are batches of flows."""
    return [one for flows in simulated_flows(run) for one in metric_samples(flows)]


def metric_samples(flows: SimulatedFlows) -> list[MetricSamples]:
    """The metrics of one configuration that have intervals."""
    judged, units = flows.judged, flows.units
    unit = flows.unit[judged.flow]
    found = [_percentile(flows, f"slowdown_p{q * 100:g}", q, None) for q in PERCENTILES]
    found += _times(flows, unit)
    for name, mask in size_masks(flows.size_bytes[judged.flow]).items():
        if name != "all" and mask.any():
            found += [
                _percentile(flows, f"slowdown_{name}_p{q * 100:g}", q, mask)
                for q in PERCENTILES
            ]
    sent_again = flows.n_retransmitted[judged.flow].astype(np.float64)
    open_ = (~judged.is_finished).astype(np.float64)
    for name, values in (("n_retransmitted", sent_again), ("unfinished_share", open_)):
        statistic = mean_statistic(values, unit, flows.n_units)
        found.append(METRICS[name].samples(flows.name, units, statistic))
    bits = np.where(flows.fct_ns >= 0, 8.0 * flows.size_bytes, 0.0)
    carried = np.bincount(flows.unit, bits, flows.n_units)
    span = np.full(flows.n_units, flows.span_s / flows.n_units)
    statistic = ratio_statistic(carried, span)
    found.append(METRICS["goodput_bps"].samples(flows.name, units, statistic))
    return found


def _percentile(
    flows: SimulatedFlows, name: str, q: float, mask: Bool[np.ndarray, " n"] | None
) -> MetricSamples:
    judged = flows.judged
    chosen = np.ones(len(judged.flow), np.bool_) if mask is None else mask
    return METRICS[name].percentile(
        flows.name,
        flows.units,
        judged.slowdown[chosen],
        flows.unit[judged.flow][chosen],
        q=q,
        known_below=judged.known_below(mask),
        n_own=flows.n_own(chosen),
    )


def _times(flows: SimulatedFlows, unit: Int64[np.ndarray, " n"]) -> list[MetricSamples]:
    """Completion times: their mean is a bound where a flow had not ended."""
    judged = flows.judged
    least = 0.0 if judged.n_unfinished else float("inf")
    mean = METRICS["fct_mean_s"].samples(
        flows.name,
        flows.units,
        mean_statistic(judged.fct_s, unit, flows.n_units),
        known_below=least,
    )
    p99 = METRICS["fct_p99_s"].percentile(
        flows.name,
        flows.units,
        judged.fct_s,
        unit,
        q=0.99,
        known_below=judged.fct_known_below_s(),
        n_own=flows.n_own(np.ones(len(judged.flow), np.bool_)),
    )
    return [mean, p99]


def single_rows(run: Run, configuration: int) -> list[dict[str, object]]:
    """The rows of the summary that have no interval, of one configuration."""
    where = f"WHERE configuration = {configuration}"
    links = run.sql(f"SELECT * FROM {LINKS.name} {where}")  # noqa: S608  our own words
    (work,) = run.sql(f"SELECT * FROM {SIMULATIONS.name} {where}").to_pylist()  # noqa: S608
    n_dropped = int(np.nansum(links["n_dropped"].to_numpy()))
    n_sent = max(int(work["n_packet_hops"]), n_dropped, 1)
    values: dict[str, float | None] = {
        "max_utilisation": _most(links, "utilisation"),
        "max_queue_bytes": _most(links, "max_queue_bytes"),
        "n_dropped": n_dropped,
        "dropped_share": n_dropped / n_sent,
        "n_marked": int(np.nansum(links["n_marked"].to_numpy())),
        "paused_s": _most(links, "paused_s"),
        "n_flows": work["n_flows"],
        "n_events": work["n_events"],
        "events_hz": work["n_events"] / max(work["took_s"], 1e-9),
        "took_s": work["took_s"],
        "predicted_s": work["predicted_s"],
    }
    return [
        METRICS[name].row(configuration, value, int(work["n_flows"]))
        for name, value in values.items()
        if value is not None
    ]


def _most(table: Any, column: str) -> float:
    return float(np.fmax.reduce(table[column].to_numpy(), initial=0.0))


def class_table_rows(
    configuration: int, flows: SimulatedFlows
) -> list[Mapping[str, object]]:
    """The rows of the table ``classes``: by class of flows, by size, and by both."""
    judged = flows.judged
    labels = flows.label[judged.flow]
    by_size = size_masks(flows.size_bytes[judged.flow])
    by_label = {"all": by_size["all"]}
    if len(set(labels.tolist())) > 1:
        by_label |= {str(label): labels == label for label in sorted(set(labels))}
    return [
        {"configuration": configuration, "label": label, "size_class": name}
        | _class_row(flows, one & other)
        for label, one in by_label.items()
        for name, other in by_size.items()
        if (one & other).any()
    ]


def _class_row(
    flows: SimulatedFlows, mask: Bool[np.ndarray, " n"]
) -> dict[str, object]:
    judged, n_own = flows.judged, flows.n_own(mask)
    ended = judged.fct_s[mask & judged.is_finished]
    row: dict[str, object] = {
        "n": int(mask.sum()),
        "n_unfinished": int(np.sum(mask & ~judged.is_finished)),
        "fct_mean_s": float(ended.mean()) if len(ended) else None,
    }
    for q in PERCENTILES:
        limit = judged.known_below(mask)
        row[f"slowdown_p{q * 100:g}"] = carried(judged.slowdown[mask], q, limit, n_own)
    for q in (0.5, 0.99):
        limit = judged.fct_known_below_s(mask)
        row[f"fct_p{q * 100:g}_s"] = carried(judged.fct_s[mask], q, limit, n_own)
    return row
