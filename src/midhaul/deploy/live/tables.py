"""The tables that deploy.live writes, and the log whose entries are their rows.

Times are seconds after the begin of a repetition, on the machine's one monotonic clock,
which all namespaces share. Rows are written as soon as they are final.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from midhaul.deploy.enforcement.lab import BURST_BYTES
from midhaul.deploy.simulate.tables import ANALYTIC, IMAGE, PERIOD, REPEAT, SLOT
from midhaul.deploy.simulate.tables import EVICTIONS as SIMULATED_EVICTIONS
from midhaul.runs.summary import CONFIGURATION, SUMMARY
from midhaul.runs.tables import BOOL, FLOAT, INT, STRING, Column, Table
from midhaul.stats import known

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from midhaul.deploy.enforcement.lab import Traffic
    from midhaul.deploy.live.situation import GatewaySituation
    from midhaul.deploy.networks import Network
    from midhaul.runs.run import Run


CONFIGURATIONS = Table(
    "configurations",
    "The way to decide that was run.",
    (
        CONFIGURATION,
        Column("name", STRING, "PLACER+ALLOCATOR+EVICTION."),
        Column("settings", STRING, "Its other settings, as JSON."),
    ),
)

CURVES = Table(
    "curves",
    "One step of a QoS curve that was measured before the first repetition.",
    (
        Column("curve", STRING, "images or sounds, and cloud or gateway."),
        Column("knob", FLOAT, "Share of the area, or of the sampling rate."),
        Column("message_bytes", FLOAT, "90th percentile of its payloads."),
        Column("rate_bps", FLOAT, "Upload rate, with what MQTT, TCP and IP add."),
        Column("quality", FLOAT, "Mean quality over messages held out."),
        Column("n", INT, "Messages behind the quality."),
        Column("is_on_frontier", BOOL, "False where a cheaper step is as good."),
    ),
)

MESSAGES = Table(
    "messages",
    "One message that was planned.",
    (
        REPEAT,
        ANALYTIC,
        Column("workload", STRING, "images or sounds."),
        Column("number", INT, "Its number among those of the analytic, from 0."),
        Column("place", STRING, "cloud or gateway: where the analytic ran."),
        Column("weight", FLOAT, "How much the analytic counts."),
        Column("knob", FLOAT, "Its setting; null where no rate was granted."),
        Column("sent_bytes", INT, "Payload that was published; null where none was."),
        Column("uplink_bytes", INT, "Payload that crossed the uplink, if it arrived."),
        Column("planned_s", FLOAT, "Planned send."),
        Column("sent_s", FLOAT, "Actual send; null where there was none."),
        Column("received_s", FLOAT, "When the cloud had it, or its result."),
        Column("scored_s", FLOAT, "When it was scored; null where it never was."),
        Column("latency_s", FLOAT, "Planned send until scored."),
        Column("planned_quality", FLOAT, "What the QoS curve says of its knob."),
        Column("quality", FLOAT, "Measured quality; null where late or missing."),
        Column(
            "status",
            STRING,
            "scored, late (after its deadline), missing (never), or not granted (no "
            "rate for it).",
        ),
    ),
)

PERIODS = Table(
    "periods",
    "One rate period.",
    (
        REPEAT,
        PERIOD,
        Column("lasts_s", FLOAT, "How long it was, by the clock."),
        Column("late_s", FLOAT, "By how much it began late."),
        Column("n_cloud", INT, "Analytics in the cloud."),
        Column("n_moving", INT, "Those of them whose image is being pulled."),
        Column("n_gateway", INT, "Analytics on the gateway."),
        Column("uplink_bps", FLOAT, "What the uplink carried, mean of the period."),
        Column("assumed_bps", FLOAT, "What was forecast that it carries."),
        Column("reserved_bps", FLOAT, "Kept free for acknowledgements of pulls."),
        Column("allocated_bps", FLOAT, "Sum of the rates granted."),
        Column("sent_bps", FLOAT, "Measured at the device: gateway to cloud."),
        Column("received_bps", FLOAT, "Measured at the device: cloud to gateway."),
        Column("n_dropped", INT, "Packets dropped before the uplink."),
        Column("n_steps_down", INT, "How often knobs went down, as messages waited."),
        Column(
            "is_overshoot",
            BOOL,
            "Allocated and reserved above it, or sent, beyond a burst and 1 %.",
        ),
        Column("stored_bytes", INT, "Layers on the disk, uncompressed."),
        Column("planned_qos", FLOAT, "Weighted mean quality that was planned."),
        Column("saved_bps", FLOAT, "Upload rate that analytics on the gateway save."),
    ),
)

RATES = Table(
    "rates",
    "What one analytic was granted in one rate period.",
    (
        REPEAT,
        PERIOD,
        ANALYTIC,
        Column("workload", STRING, "images or sounds."),
        Column("place", STRING, "cloud or gateway."),
        Column("rate_bps", FLOAT, "Upload rate granted."),
        Column("knob", FLOAT, "Setting it buys; null for none."),
        Column("quality", FLOAT, "Quality that the curve says; 0 for none."),
    ),
)

LIVE_PULLS = Table(
    "pulls",
    "One pull of an image's missing layers.",
    (
        REPEAT,
        IMAGE,
        SLOT,
        Column("planned_begins_s", FLOAT, "Begin as planned."),
        Column("planned_ends_s", FLOAT, "End as planned, unpacked and started."),
        Column("planned_bytes", INT, "Compressed bytes as planned."),
        Column("begins_s", FLOAT, "Real begin; null where nobody wanted it by then."),
        Column("ends_s", FLOAT, "Real end, unpacked; null where it did not end."),
        Column("pulled_bytes", INT, "Bytes that came over the link."),
        Column("resumed_bytes", INT, "Bytes that an unfinished pull had left."),
        Column("n_retries", INT, "Attempts after the first, over all layers."),
        Column("is_wasted", BOOL, "True where no analytic could use it."),
        Column("error", STRING, "What failed; empty where nothing did."),
    ),
)

MOVES = Table(
    "moves",
    "One analytic that a placement moves to the gateway.",
    (
        REPEAT,
        ANALYTIC,
        IMAGE,
        SLOT,
        Column("planned_starts_s", FLOAT, "When it was to start on the gateway."),
        Column("starts_s", FLOAT, "When it did; null where it never did."),
        Column("leaves_s", FLOAT, "When it leaves, or the repetition ends."),
        Column("saved_bps", FLOAT, "Upload rate that it saves on the gateway."),
        Column("planned_saved_bits", FLOAT, "Saved from planned start to its leave."),
        Column("saved_bits", FLOAT, "Saved from real start to its leave."),
        Column("is_realised", BOOL, "Whether it moved."),
    ),
)

EVICTIONS = Table("evictions", SIMULATED_EVICTIONS.doc, SIMULATED_EVICTIONS.columns[1:])

DECISIONS = Table(
    "algorithm_times",
    "One decision and how long it took.",
    (
        REPEAT,
        Column("at_s", FLOAT, "When it was taken."),
        Column("what", STRING, "placement, eviction or rates."),
        Column("took_s", FLOAT, "Time it took."),
        Column("n", INT, "Analytics that it was about."),
        Column("value", FLOAT, "Value of the decision; null for evictions."),
        Column("bound", FLOAT, "No decision has a higher value; null when unknown."),
    ),
)

REPEATS = Table(
    "repeats",
    "One repetition that came to its end, and under what conditions.",
    (
        REPEAT,
        Column("duration_s", FLOAT, "How long analytics came and sent."),
        Column("pull_bps", FLOAT, "Rate of pulls, measured before the begin."),
        Column("pull_fixed_s", FLOAT, "Time of a pull beside its bytes, measured."),
        Column("ack_share", FLOAT, "Uplink bytes per downlink byte of a pull."),
        Column("late_p99_s", FLOAT, "99th percentile of actual minus planned send."),
        Column("busy", FLOAT, "Share of the machine's CPU time in use."),
        Column("n_restarts", INT, "Faults that were made on purpose."),
    ),
)

LIVE_TABLES = (
    CONFIGURATIONS,
    CURVES,
    MESSAGES,
    PERIODS,
    RATES,
    LIVE_PULLS,
    MOVES,
    EVICTIONS,
    DECISIONS,
    REPEATS,
    SUMMARY,
)

_NS = 1e9
_PATIENCE = 3.0  # deadlines after which a message is missing and not only late


class Records:
    """The rows of one repetition, whose clock is zero at ``begin_ns`` of the machine's.

    A message that is scored more than ``deadline_s`` after its plan is late.
    """

    def __init__(self, run: Run, repeat: int, begin_ns: int, deadline_s: float) -> None:
        self._run = run
        self._repeat = repeat
        self._begin_ns = begin_ns
        self._deadline_s = deadline_s
        self._rows: dict[Table, list[dict[str, Any]]] = {}
        self._open: dict[tuple[str, int], dict[str, Any]] = {}
        self._early: dict[tuple[str, int], dict[str, Any]] = {}
        self.weights: Mapping[str, float] = {}
        self.planned_quality: dict[tuple[str, str], dict[float, float]] = {}
        self.late_s: list[float] = []

    @property
    def n_open(self) -> int:
        """Messages that may still be scored."""
        return len(self._open)

    def add(self, table: Table, **row: Any) -> None:
        """Keep a row until the next flush."""
        self._rows.setdefault(table, []).append({"repeat": self._repeat, **row})

    def take(self, line: dict[str, Any]) -> None:
        """Take a line of a worker: a message was planned, or one was scored."""
        if "planned" in line:
            self._plan(line["planned"], line["n_bytes"])
        elif "scored" in line:
            self._score(line)

    def flush(self, now_s: float) -> None:
        """Write what is final: what has been late for long and nobody scored, too."""
        gone = [
            key
            for key, row in self._open.items()
            if now_s > row["planned_s"] + _PATIENCE * self._deadline_s
        ]
        for key in gone:
            self.add(MESSAGES, **{**self._open.pop(key), "status": "missing"})
        for table, rows in self._rows.items():
            if rows:
                self._run.write(table, rows)
        self._rows.clear()

    def _plan(self, header: dict[str, Any], n_bytes: int | None) -> None:
        planned_s = self._seconds(header["planned_ns"])
        sent_s = self._seconds(header["sent_ns"])
        curve = self.planned_quality[header["workload"], header["place"]]
        knob = header["knob"]
        row = {
            "analytic": header["analytic"],
            "workload": header["workload"],
            "number": header["number"],
            "place": header["place"],
            "weight": self.weights[header["analytic"]],
            "knob": knob,
            "sent_bytes": n_bytes,
            "planned_s": planned_s,
            "sent_s": sent_s,
            "planned_quality": 0.0 if knob is None else curve.get(knob, 0.0),
        }
        if knob is None:
            self.add(MESSAGES, **row, quality=0.0, status="not granted")
            return
        self.late_s.append(sent_s - planned_s)
        key = header["analytic"], header["number"]
        self._open[key] = row
        if key in self._early:  # the cloud's line was quicker than the publisher's
            self._score(self._early.pop(key))

    def _score(self, line: dict[str, Any]) -> None:
        header = line["scored"]
        key = header["analytic"], header["number"]
        scored_s = self._seconds(line["scored_ns"])
        latency_s = scored_s - self._seconds(header["planned_ns"])
        is_late = latency_s > self._deadline_s
        if key not in self._open:
            if not is_late:
                self._early.setdefault(key, line)
            return
        row = self._open.pop(key)
        self.add(
            MESSAGES,
            **row,
            uplink_bytes=line["n_bytes"],
            received_s=self._seconds(line["received_ns"]),
            scored_s=scored_s,
            latency_s=latency_s,
            quality=None if is_late else line["quality"],
            status="late" if is_late else "scored",
        )

    def _seconds(self, ns: int | None) -> Any:
        return None if ns is None else (ns - self._begin_ns) / _NS


_READING = 0.01  # clock and counters are not read in the same moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The begin of a rate period, by how much it was late, and what was decided there.

    ``traffic`` is what the link had carried, ``facts`` are columns of ``periods``.
    """

    at_s: float
    late_s: float
    traffic: Traffic
    facts: Mapping[str, Any]


class Notes:
    """Writes rows of a repetition, on the experiment's clock."""

    def __init__(
        self,
        records: Records,
        situation: GatewaySituation,
        network: Network,
        clock: Callable[[], float],
    ) -> None:
        self._records = records
        self._who = situation
        self._network = network
        self._clock = clock

    def facts(
        self,
        now_s: float,
        stored_bytes: int,
        *,
        assumed_bps: float,
        reserved_bps: float,
    ) -> dict[str, Any]:
        """What a rate period begins with, and a row for each grant."""
        who = self._who
        for name, grant in who.grants.items():
            self._records.add(
                RATES,
                begins_s=now_s,
                analytic=name,
                workload=who.workloads[name],
                place=grant.place,
                rate_bps=grant.rate_bps,
                knob=grant.knob,
                quality=grant.quality,
            )
        weights = {analytic.name: analytic.weight for analytic in who.everybody}
        total = sum(weights.values())
        quality = sum(weights[n] * grant.quality for n, grant in who.grants.items())
        return {
            "n_cloud": len(who.in_cloud) + len(who.moving),
            "n_moving": len(who.moving),
            "n_gateway": len(who.on_gateway),
            "assumed_bps": assumed_bps,
            "reserved_bps": reserved_bps,
            "allocated_bps": sum(grant.rate_bps for grant in who.grants.values()),
            "stored_bytes": stored_bytes,
            "planned_qos": quality / total if total else None,
            "saved_bps": sum(a.saved_bps for a in who.on_gateway.values()),
        }

    def close(
        self, mark: Mark, now_s: float, traffic: Traffic, n_steps_down: int
    ) -> None:
        """Note a rate period that is over."""
        lasts_s = now_s - mark.at_s
        before = mark.traffic
        uplink_bps = self._network.mean_uplink_bps(mark.at_s, now_s)
        sent_bps = 8 * (traffic.up_bytes - before.up_bytes) / lasts_s
        n_bursts = 1
        if self._network.trace is not None:  # its rate changes each second
            n_bursts += math.floor(now_s) - math.floor(mark.at_s)
        most_bps = uplink_bps * (1 + _READING) + 8 * BURST_BYTES * n_bursts / lasts_s
        planned_bps = mark.facts["allocated_bps"] + mark.facts["reserved_bps"]
        self._records.add(
            PERIODS,
            begins_s=mark.at_s,
            lasts_s=lasts_s,
            late_s=mark.late_s,
            uplink_bps=uplink_bps,
            sent_bps=sent_bps,
            received_bps=8 * (traffic.down_bytes - before.down_bytes) / lasts_s,
            n_dropped=traffic.up_dropped - before.up_dropped,
            n_steps_down=n_steps_down,
            is_overshoot=planned_bps > uplink_bps or sent_bps > most_bps,
            **mark.facts,
        )

    def decided(
        self, what: str, took_s: float, n: int, value: float | None, bound: float | None
    ) -> None:
        """Note a decision and how long it took."""
        self._records.add(
            DECISIONS,
            at_s=self._clock(),
            what=what,
            took_s=took_s,
            n=n,
            value=value,
            bound=known(bound),
        )

    def moves(self, end_s: float) -> None:
        """Note what became of all moves that could be seen before the end."""
        for move in self._who.moves.values():
            if move.planned_starts_s < end_s:
                self._records.add(MOVES, **move.row(end_s))
