"""Tables of network.simulate, and what simulations answer as their rows.

Times are seconds of simulated time, those of flows whole nanoseconds. Only what
predicts and measures the work itself is time of this machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from midhaul.network.simulator import UNFINISHED
from midhaul.network.slowdown import SIZE_CLASSES, size_class
from midhaul.runs.summary import CONFIGURATION, SUMMARY
from midhaul.runs.tables import BOOL, FLOAT, INT, INT32, STRING, Column, Table
from midhaul.stats import quantile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float64, Int64

    from midhaul.network.problem import NetworkProblem
    from midhaul.network.simulator import FlowResults

LINK = Column("link", INT32, "Number of the link, of the table topology.")

CONFIGURATIONS = Table(
    "configurations",
    "One way to simulate, or to send, the same flows.",
    (
        CONFIGURATION,
        Column("name", STRING, "Its short name, unique in the run."),
        Column("simulator", STRING, "What simulates it."),
        Column("transports", STRING, "How senders decide, with commas between."),
        Column("settings", STRING, "What it has of the grid, as JSON."),
    ),
)

TOPOLOGY = Table(
    "topology",
    "One directed link.",
    (
        CONFIGURATION,
        LINK,
        Column("name", STRING, "Its ends: SOURCE->TARGET."),
        Column("source", STRING, "The node that sends."),
        Column("target", STRING, "The node that receives."),
        Column("source_is_host", BOOL, "True where the source forwards nothing."),
        Column("target_is_host", BOOL, "True where the target forwards nothing."),
        Column("rate_bps", FLOAT, "Bits it carries in a second."),
        Column("delay_s", FLOAT, "Propagation delay."),
        Column("discipline", STRING, "fifo, red, codel or fq_codel."),
        Column("max_packets", INT, "Packets that may wait; null: as many as come."),
        Column("max_bytes", INT, "Bytes that may wait; null: as many as come."),
        Column("loss_share", FLOAT, "Share of packets lost on it by chance."),
        Column("offered_share", FLOAT, "Offered load over rate; null where unknown."),
    ),
)

FLOWS = Table(
    "flows",
    "One flow; while the run is under way, each that has ended.",
    (
        CONFIGURATION,
        Column("flow", INT, "Its number, in the order of planned starts."),
        Column("source", STRING, "The node that sends."),
        Column("target", STRING, "The node that receives."),
        Column("label", STRING, "Its class."),
        Column("transport", STRING, "How its sender decides."),
        Column("size_bytes", INT, "Payload."),
        Column("size_class", STRING, "tiny, small, medium, large or huge."),
        Column("start_ns", INT, "When it started; null where it never could."),
        Column("fct_ns", INT, "Completion time; null where it had not ended."),
        Column("ideal_fct_ns", INT, "The same alone on its path."),
        Column("slowdown", FLOAT, "The first over the second; null where not ended."),
        Column("n_retransmitted", INT, "Packets sent more than once."),
        Column("n_marked", INT, "Packets that a queue marked."),
        Column("busiest_link", INT32, "Of its links, the one that was busiest."),
        Column(
            "drawn_from",
            INT,
            "The flow whose slowdown, or ratio of packets to fluid, it was given; null "
            "where it was simulated.",
            is_newer=True,
        ),
    ),
)

CLASSES = Table(
    "classes",
    "Flows of one class, of one size, or of both; of those that are judged.",
    (
        CONFIGURATION,
        Column("label", STRING, "Class of the flows, or all."),
        Column("size_class", STRING, "Class of size, or all."),
        Column("n", INT, "Flows."),
        Column("n_unfinished", INT, "Those of them that had not ended."),
        Column("fct_mean_s", FLOAT, "Mean completion time of those that ended."),
        Column("slowdown_p50", FLOAT, "Median slowdown; null for too few flows."),
        Column("slowdown_p90", FLOAT, "What 90 % of the flows do not exceed."),
        Column("slowdown_p99", FLOAT, "What 99 % of the flows do not exceed."),
        Column("fct_p50_s", FLOAT, "Median completion time."),
        Column("fct_p99_s", FLOAT, "What 99 % of the completion times do not exceed."),
    ),
)

LINKS = Table(
    "links",
    "What one directed link did.",
    (
        CONFIGURATION,
        LINK,
        Column("n_bytes", INT, "Bytes sent, with headers."),
        Column("busy_s", FLOAT, "Time that it sent."),
        Column("utilisation", FLOAT, "That over the time that was simulated."),
        Column(
            "n_dropped",
            INT,
            "Packets lost at its queue or on it; null, as what follows, where the link "
            "was not simulated and just its load is known.",
        ),
        Column("n_marked", INT, "Packets that its queue marked."),
        Column("paused_s", FLOAT, "Time that it was paused."),
        Column("max_queue_bytes", INT, "Most that waited."),
        Column("queue_p50_bytes", FLOAT, "Median of what waited; null if not sampled."),
        Column("queue_p90_bytes", FLOAT, "What 90 % of the samples do not exceed."),
        Column("queue_p99_bytes", FLOAT, "What 99 % of the samples do not exceed."),
    ),
)

LINK_QUEUES = Table(
    "link_queues",
    "What waited for one link at one time; of the 20 links at which most waited, at "
    "most 5,000 times. Of the simulator packet only.",
    (
        CONFIGURATION,
        LINK,
        Column("time_s", FLOAT, "When it was looked at."),
        Column("queue_bytes", INT, "What waited."),
    ),
)

TIMELINE = Table(
    "timeline",
    "How a watched flow fared, a row each time something of it changed; none of the "
    "simulators links and ns3, which follow no flow over time.",
    (
        CONFIGURATION,
        Column("flow", INT, "Which flow."),
        Column("time_s", FLOAT, "When."),
        Column("window_bytes", FLOAT, "What might be under way."),
        Column("rate_bps", FLOAT, "Pacing rate; null where it is not paced."),
        Column("in_flight_bytes", INT, "What was under way."),
        Column("acked_bytes", INT, "What had been acknowledged."),
    ),
)

SIMULATIONS = Table(
    "simulations",
    "One simulation: its work, predicted and done; written when it has ended.",
    (
        CONFIGURATION,
        Column("n_flows", INT, "Flows."),
        Column("n_unfinished", INT, "Those of them that had not ended."),
        Column("n_late", INT, "Those that began too late to be judged."),
        Column("n_packet_hops", INT, "Packets times the links on their way, at least."),
        Column("n_events", INT, "What was worked through, by the simulator's count."),
        Column("end_s", FLOAT, "Simulated time at which it stopped."),
        Column("predicted_s", FLOAT, "Time it was to take; null where not predicted."),
        Column("took_s", FLOAT, "Time it took on this machine."),
    ),
)

RUNGS = Table(
    "rungs",
    "A simulator that was looked at to find the most exact one that fits a time.",
    (
        Column("simulator", STRING, "Its name."),
        Column("stated_error", FLOAT, "Its mean error of p99, as a share."),
        Column("budget_s", FLOAT, "Time that one simulation has."),
        Column("predicted_s", FLOAT, "What it would take; null where it cannot."),
        Column("refusal", STRING, "Why it cannot; null where it can."),
        Column("is_taken", BOOL, "True of the one that simulated."),
    ),
)

SIMULATE_TABLES = (
    CONFIGURATIONS,
    RUNGS,
    TOPOLOGY,
    FLOWS,
    CLASSES,
    LINKS,
    LINK_QUEUES,
    TIMELINE,
    SIMULATIONS,
    SUMMARY,
)

MOST_CONFIGURATIONS = 1000
"""Of one run."""

_MOST_LINKS = 20
"""Links whose queues are kept over time."""

_MOST_TIMES = 5000
"""Times of which they are kept."""


def topology_rows(
    configuration: int,
    problem: NetworkProblem,
    offered: Float64[np.ndarray, " m"] | None,
) -> list[Mapping[str, object]]:
    """The rows of the table ``topology``; ``offered`` is load over rate by link."""
    hosts = set(problem.topology.hosts or problem.topology.nodes)
    return [
        {
            "configuration": configuration,
            "link": number,
            "name": link.name,
            "source": link.source,
            "target": link.target,
            "source_is_host": link.source in hosts,
            "target_is_host": link.target in hosts,
            "rate_bps": link.rate_bps,
            "delay_s": link.delay_s,
            "discipline": link.queue.discipline,
            "max_packets": link.queue.max_packets,
            "max_bytes": link.queue.max_bytes,
            "loss_share": link.loss_share,
            "offered_share": None if offered is None else float(offered[number]),
        }
        for number, link in enumerate(problem.topology.links)
    ]


def flow_rows(
    configuration: int,
    problem: NetworkProblem,
    names: tuple[str, ...],
    found: FlowResults,
    which: Int64[np.ndarray, " k"],
) -> pa.Table:
    """The rows of the table ``flows`` of some flows; ``names`` are of the transports.

    They are columns from the start, as there may be millions.
    """
    flows = problem.flows
    ended = found.fct_ns[which] != UNFINISHED
    started = found.start_ns[which] >= 0
    n = len(which)
    transport = flows.transport[which] if len(flows.transport) else np.zeros(n, int)
    label = flows.label[which] if len(flows.label) else np.zeros(n, int)
    columns: Any = {
        "configuration": pa.array(np.full(n, configuration, np.int32)),
        "flow": pa.array(which),
        "source": _named(problem.topology.nodes, flows.source[which]),
        "target": _named(problem.topology.nodes, flows.target[which]),
        "label": _named(flows.labels, label),
        "transport": _named(names, transport),
        "size_bytes": pa.array(flows.size_bytes[which]),
        "size_class": _named(SIZE_CLASSES, size_class(flows.size_bytes[which])),
        "start_ns": pa.array(found.start_ns[which], mask=~started),
        "fct_ns": pa.array(found.fct_ns[which], mask=~ended),
        "ideal_fct_ns": pa.array(found.ideal_fct_ns[which]),
        "slowdown": pa.array(found.slowdown[which], mask=~ended),
        "n_retransmitted": pa.array(found.n_retransmitted[which]),
        "n_marked": pa.array(found.n_marked[which]),
        "busiest_link": pa.array(found.busiest_link[which]),
        "drawn_from": _drawn_from(found, which),
    }
    return pa.table(columns).cast(FLOWS.schema)


def _drawn_from(found: FlowResults, which: Int64[np.ndarray, " k"]) -> Any:
    if found.drawn_from is None:
        return pa.nulls(len(which), pa.int64())
    return pa.array(found.drawn_from[which], mask=~found.is_drawn[which])


def _named(names: tuple[str, ...], index: np.ndarray) -> Any:
    dictionary = pa.array(list(names), pa.string())
    codes: Any = pa.array(index.astype(np.int32))
    return pa.DictionaryArray.from_arrays(codes, dictionary).dictionary_decode()


_QUEUE_COLUMNS = ("n_dropped", "n_marked", "paused_s", "max_queue_bytes")
"""What only a simulation of a link tells."""


def link_rows(configuration: int, found: FlowResults) -> list[Mapping[str, object]]:
    """The rows of the table ``links``."""
    links, span_ns = found.links, max(found.end_ns, 1)
    samples = links.samples_bytes.astype(np.float64)
    rows: list[Mapping[str, object]] = []
    for i in range(len(links.n_bytes)):
        row: dict[str, object] = {
            "configuration": configuration,
            "link": i,
            "n_bytes": int(links.n_bytes[i]),
            "busy_s": float(links.busy_ns[i]) / 1e9,
            "utilisation": float(links.busy_ns[i]) / span_ns,
            "n_dropped": int(links.n_dropped[i]),
            "n_marked": int(links.n_marked[i]),
            "paused_s": float(links.paused_ns[i]) / 1e9,
            "max_queue_bytes": int(links.max_queue_bytes[i]),
        }
        if links.is_simulated is not None and not links.is_simulated[i]:
            row |= dict.fromkeys(_QUEUE_COLUMNS)
        if len(samples):
            row |= {
                f"queue_p{q}_bytes": quantile(samples[:, i], q / 100)
                for q in (50, 90, 99)
            }
        rows.append(row)
    return rows


def queue_rows(configuration: int, found: FlowResults) -> pa.Table:
    """The rows of the table ``link_queues``: of the links at which most waited."""
    samples, times = found.links.samples_bytes, found.links.samples_ns
    if not len(times):
        return LINK_QUEUES.schema.empty_table()
    # A simulation may last far longer than flows start; its links know all samples.
    step = -(-len(times) // _MOST_TIMES)
    samples, times = samples[::step], times[::step]
    order = np.argsort(-samples.max(axis=0), kind="stable")[:_MOST_LINKS]
    chosen = np.sort(order[samples[:, order].max(axis=0) > 0])
    n = len(times) * len(chosen)
    columns: Any = {
        "configuration": np.full(n, configuration, np.int32),
        "link": np.repeat(chosen, len(times)).astype(np.int32),
        "time_s": np.tile(times / 1e9, len(chosen)),
        "queue_bytes": samples[:, chosen].T.ravel().astype(np.int64),
    }
    return pa.table(columns).cast(LINK_QUEUES.schema)


def timeline_rows(configuration: int, found: FlowResults) -> pa.Table:
    """The rows of the table ``timeline``."""
    if found.timeline is None:
        return TIMELINE.schema.empty_table()
    line = found.timeline
    columns: Any = {
        "configuration": pa.array(np.full(len(line.flow), configuration, np.int32)),
        "flow": pa.array(line.flow),
        "time_s": pa.array(line.time_ns / 1e9),
        "window_bytes": pa.array(
            line.window_bytes, mask=~np.isfinite(line.window_bytes)
        ),
        "rate_bps": pa.array(line.rate_bps, mask=~np.isfinite(line.rate_bps)),
        "in_flight_bytes": pa.array(line.in_flight_bytes),
        "acked_bytes": pa.array(line.acked_bytes),
    }
    return pa.table(columns).cast(TIMELINE.schema)
