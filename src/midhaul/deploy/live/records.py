"""What a repetition has seen, as rows of tables, written as soon as they are final."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from midhaul.deploy.live.tables import MESSAGES

if TYPE_CHECKING:
    from collections.abc import Mapping

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
