"""Decision log of a live loop: rate periods, grants, decisions, moves and messages.

What a repetition has seen becomes rows of tables, written as soon as they are final.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from midhaul.deploy.live.tables import DECISIONS, MESSAGES, MOVES, PERIODS, RATES
from midhaul.stats import known

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from midhaul.deploy.enforcement.lab import Traffic
    from midhaul.deploy.live.situation import GatewaySituation
    from midhaul.deploy.networks import Network
    from midhaul.runs.run import Run
    from midhaul.runs.tables import Table

_NS = 1e9
_PATIENCE = 3.0  # deadlines after which a message is missing and not only late


class Records:
    """The rows of one repetition.

    Args:
        run: where they go.
        repeat: number of the repetition.
        begin_ns: when the experiment's clock is zero, on the machine's.
        deadline_s: a message that is scored later after its plan is late.
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


_BURST_BYTES = 5000  # what the link's bucket lets pass at once
_READING = 0.01  # clock and counters are not read in the same moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The begin of a rate period, and what was decided there.

    Attributes:
        at_s: when it began.
        late_s: by how much that was late.
        traffic: what the link had carried.
        facts: columns of the table ``periods``.
    """

    at_s: float
    late_s: float
    traffic: Traffic
    facts: Mapping[str, Any]


class Notes:
    """Writes rows of a repetition.

    Args:
        records: where they go.
        situation: who is there.
        network: the link.
        clock: seconds on the experiment's clock.
    """

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
        most_bps = uplink_bps * (1 + _READING) + 8 * _BURST_BYTES / lasts_s
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
        self,
        what: str,
        took_s: float,
        n: int,
        value: float | None,
        bound: float | None,
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
