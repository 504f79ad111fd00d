"""What nodes use over time: CPU, memory, bytes, and how the machine disturbed them.

One thread of the collector looks at every process once a period. It reads the kernel's
accounts and asks nothing of the nodes, so a node that is stuck or dead is seen as such.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midhaul.errors import NodeError
from midhaul.machine.processes import cpu_s, rss_bytes, tree

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from midhaul.testbed.links.links import Links
    from midhaul.testbed.nodes.launcher import RunningNode

_LOG = logging.getLogger(__name__)
_PRESSURE = Path("/proc/pressure/cpu")
_STAT = Path("/proc/stat")
_STEAL = 7
_ACCOUNTS = 8  # user nice system idle iowait irq softirq steal
_LEAST_PERIOD_NS = 1_000_000
WORKLOAD = "workload"


def _never() -> float:
    return 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A process to look at.

    Attributes:
        name: of the node, or ``workload``.
        pid: of its process.
        period_s: seconds between two looks.
        with_children: whether its children count, too.
        throttled_s: seconds for which a CPU limit held it back so far.
    """

    name: str
    pid: int
    period_s: float = 1.0
    with_children: bool = True
    throttled_s: Callable[[], float] = _never


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sight:
    """What a look at one process found."""

    time_ns: int
    cpu_s: dict[int, float]
    rss_bytes: int
    traffic: tuple[int, int] | None
    pressure_s: float | None
    steal: tuple[int, int] | None
    throttled_s: float


def watch(node: RunningNode, period_s: float) -> Watched | None:
    """How to look at a node; None for one on another machine."""
    if node.pid is None:
        return None
    return Watched(
        name=node.name, pid=node.pid, period_s=period_s, throttled_s=node.throttled_s
    )


def watch_workload(period_s: float) -> Watched:
    """How to look at this process, which generates the load; nodes are its children."""
    return Watched(
        name=WORKLOAD, pid=os.getpid(), period_s=period_s, with_children=False
    )


class Monitor:
    """Looks at processes from :meth:`start` to :meth:`stop`.

    The clock is that of the cell, in ns.
    """

    def __init__(
        self,
        watched: Sequence[Watched],
        links: Links | None = None,
        *,
        clock: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self._watched = tuple(watched)
        self._links = links
        self._clock = clock
        self._rows: list[dict[str, Any]] = []
        self._begin_ns = 0
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, begin_ns: int | None = None) -> None:
        """Begin to look, at a cell that began at ``begin_ns`` or begins now."""
        self._begin_ns = self._clock() if begin_ns is None else begin_ns
        self._rows = []
        self._end.clear()
        first = {w.name: self._look(w) for w in self._watched}
        self._thread = threading.Thread(
            target=self._watch, args=(first,), name="usage", daemon=True
        )
        self._thread.start()

    def stop(self, *, configuration: int = 0, block: int = 0) -> list[dict[str, Any]]:
        """End, after a last look: rows of the table ``usage``, one per node and period.

        CPU and memory of a node that has died are null.
        """
        self._end.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        where = {"configuration": configuration, "block": block}
        return [{**where, **row} for row in self._rows]

    def _watch(self, before: dict[str, _Sight]) -> None:
        due = {w.name: self._clock() + _ns(w.period_s) for w in self._watched}
        while self._watched:
            wait_s = (min(due.values()) - self._clock()) / 1e9
            is_over = self._end.wait(max(0.0, wait_s))
            for watched in self._watched:
                name = watched.name
                if not is_over and due[name] > self._clock():
                    continue
                now = self._look(watched)
                if now.time_ns - before[name].time_ns >= _LEAST_PERIOD_NS:
                    self._rows.append(_row(watched, before[name], now, self._begin_ns))
                    before[name] = now
                due[name] = max(due[name] + _ns(watched.period_s), self._clock())
            if is_over:
                return

    def _look(self, watched: Watched) -> _Sight:
        pids = tree(watched.pid) if watched.with_children else [watched.pid]
        used = {pid: cpu_s(pid) for pid in pids}
        return _Sight(
            time_ns=self._clock(),
            cpu_s={pid: s for pid, s in used.items() if s is not None},
            rss_bytes=rss_bytes(pids),
            traffic=self._traffic(watched.name),
            pressure_s=_pressure_s(),
            steal=_steal(),
            throttled_s=watched.throttled_s(),
        )

    def _traffic(self, name: str) -> tuple[int, int] | None:
        if self._links is None:
            return None
        try:
            return self._links.traffic().get(name)
        except NodeError as error:
            _LOG.warning("no byte counts: %s", error.message)
            return None


def _row(
    watched: Watched, before: _Sight, now: _Sight, begin_ns: int
) -> dict[str, Any]:
    """What happened between two looks."""
    period_ns = now.time_ns - before.time_ns
    row: dict[str, Any] = {
        "node": watched.name,
        "begin_ns": before.time_ns - begin_ns,
        "period_ns": period_ns,
        "throttled_s": max(0.0, now.throttled_s - before.throttled_s),
    }
    if now.cpu_s:
        row["rss_bytes"] = now.rss_bytes
        row["cpu_s"] = sum(
            s - before.cpu_s.get(pid, 0.0) for pid, s in now.cpu_s.items()
        )
    if before.traffic is not None and now.traffic is not None:
        row["sent_bytes"] = now.traffic[0] - before.traffic[0]
        row["received_bytes"] = now.traffic[1] - before.traffic[1]
    if before.pressure_s is not None and now.pressure_s is not None:
        share = (now.pressure_s - before.pressure_s) / (period_ns / 1e9)
        row["cpu_pressure"] = min(1.0, max(0.0, share))
    if before.steal is not None and now.steal is not None:
        stolen, total = (b - a for a, b in zip(before.steal, now.steal, strict=True))
        row["steal"] = stolen / total if total > 0 else 0.0
    return row


def _pressure_s() -> float | None:
    """Seconds so far in which some task waited for a CPU; None where not counted."""
    try:
        first = _PRESSURE.read_text().split("\n")[0]
    except OSError:
        return None
    return int(first.rpartition("total=")[2]) / 1e6


def _steal() -> tuple[int, int] | None:
    """Ticks that the host took, and all ticks; None where not counted."""
    try:
        first = _STAT.read_text().split("\n")[0]
    except OSError:
        return None
    ticks = [int(text) for text in first.split()[1 : 1 + _ACCOUNTS]]
    return (ticks[_STEAL], sum(ticks)) if len(ticks) == _ACCOUNTS else None


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
