"""Rig: the running nodes, the links between them, and who watches them.

A *watch* around a cell sees what its nodes used, and what else the machine was busy
with.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midhaul.machine.coroutines import run_coroutine
from midhaul.machine.processes import cpu_s, tree
from midhaul.testbed.links.links import Links
from midhaul.testbed.measure.from_config import WORKLOAD, links_of, settings_of
from midhaul.testbed.nodes.launcher import LocalLauncher, launch
from midhaul.testbed.nodes.usage import Monitor, watch, watch_workload
from midhaul.wire import Client

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

    from midhaul.testbed.measure.config import NodeConfig, TestbedConfig
    from midhaul.testbed.nodes.launcher import RunningNode

_STAT = Path("/proc/stat")
_IDLE = (3, 4)  # idle, iowait
_STEAL = 7
_GUEST = 8  # guest times are in user time already


@dataclass(frozen=True, slots=True, kw_only=True)
class _Account:
    """CPU time so far, in ticks of the kernel but for our own."""

    total: int
    busy: int
    stolen: int
    own_s: float


@dataclass(slots=True, kw_only=True)
class CellWatch:
    """A context manager around a cell; its findings are there when it is over.

    Attributes:
        nodes: the running nodes by name.
        periods_s: monitor period of each.
        links: whose bytes count.
        rows: rows of the table ``usage``, without configuration and block.
        throttled: share of the time in which a CPU limit held a node back, by node.
        steal: share of the machine's CPU time that its host took.
        foreign_cpu: share of the machine's CPU time that other programs used.
    """

    nodes: Mapping[str, RunningNode]
    periods_s: Mapping[str, float]
    links: Links
    rows: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    throttled: dict[str, float] = field(default_factory=dict[str, float])
    steal: float = 0.0
    foreign_cpu: float = 0.0
    _monitor: Monitor | None = None
    _before: _Account | None = None

    def __enter__(self) -> Self:
        """Begin to watch."""
        watched = [
            watch(node, self.periods_s[name]) for name, node in self.nodes.items()
        ]
        workload = watch_workload(min(self.periods_s.values()))
        self._monitor = Monitor([workload, *(w for w in watched if w)], self.links)
        self._before = _account()
        self._monitor.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop watching and add up."""
        if self._monitor is None:
            return
        after = _account()
        rows = self._monitor.stop()
        self.rows = [_without(row, ("configuration", "block")) for row in rows]
        for name in self.nodes:
            mine = [row for row in rows if row["node"] == name]
            seconds = sum(row["period_ns"] for row in mine) / 1e9
            held = sum(row["throttled_s"] for row in mine)
            self.throttled[name] = held / seconds if seconds else 0.0
        if self._before is not None and after is not None:
            self.steal, self.foreign_cpu = _shares(self._before, after)


def _shares(before: _Account, after: _Account) -> tuple[float, float]:
    """Shares of the CPU time: taken by the host, and used by others."""
    total = after.total - before.total
    if total <= 0:
        return 0.0, 0.0
    own = (after.own_s - before.own_s) * os.sysconf("SC_CLK_TCK")
    foreign = after.busy - before.busy - own
    return (after.stolen - before.stolen) / total, max(0.0, foreign / total)


def _account() -> _Account | None:
    """The CPU time of the machine and of this process with its children."""
    try:
        first = _STAT.read_text().split("\n")[0]
    except OSError:
        return None
    ticks = [int(text) for text in first.split()[1 : 1 + _GUEST]]
    own = (cpu_s(pid) for pid in tree(os.getpid()))
    idle = sum(ticks[place] for place in _IDLE)
    return _Account(
        total=sum(ticks),
        busy=sum(ticks) - idle - ticks[_STEAL],
        stolen=ticks[_STEAL],
        own_s=sum(seconds for seconds in own if seconds is not None),
    )


def _without(row: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


_CONFIGURE_S = 120.0


class Rig:
    """Starts the nodes and links of an experiment and holds them; a context manager.

    The folder is for logs of the nodes. NodeError if a node does not start.
    """

    def __init__(self, config: TestbedConfig, folder: Path) -> None:
        self.folder = folder
        self._config = config
        self._stack = ExitStack()
        self._links = Links(())
        self._nodes: dict[str, RunningNode] = {}
        self._applied: dict[str, dict[str, Any]] = {}
        self.urls: dict[str, str] = {}

    def __enter__(self) -> Self:
        """Start everything."""
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything."""
        self._stack.close()

    def restart(self) -> None:
        """Stop what is left and start everything again."""
        self._stack.close()
        self._start()

    def configure(self, nodes: Sequence[NodeConfig]) -> None:
        """Give running nodes the settings of a configuration, where they differ.

        NodeError if a node refuses them.
        """
        changed: dict[str, dict[str, Any]] = {}
        for node in nodes:
            wanted = settings_of(node, self._config.seed).variable()
            if self._applied.get(node.name) != wanted:
                changed[node.name] = wanted
        if changed:
            run_coroutine(self._configure(changed))
            self._applied |= changed

    def measure_links(self, block: int) -> list[dict[str, Any]]:
        """Rows of the table ``links``: each measured by itself just now."""
        return [{"block": block, **found.row()} for found in self._links.measure()]

    def watch(self) -> CellWatch:
        """Watch what the nodes use; for a ``with`` block around a cell."""
        periods = {node.name: node.monitor_period_s for node in self._config.nodes}
        return CellWatch(nodes=self._nodes, periods_s=periods, links=self._links)

    def dead(self) -> dict[str, str]:
        """How nodes ended, by name, of those that did: the last line of their log."""
        ended: dict[str, str] = {}
        for name, node in self._nodes.items():
            if not node.is_alive():
                lines = node.log().strip().splitlines()
                ended[name] = lines[-1] if lines else "it left no word in its log"
        return ended

    def _start(self) -> None:
        config = self._config
        settings = [settings_of(node, config.seed) for node in config.nodes]
        self._links = self._stack.enter_context(Links(links_of(config.links)))
        launcher = self._stack.enter_context(LocalLauncher(self.folder))
        self._nodes = launch(launcher, settings, self._links.connect)
        self._applied = {node.name: node.variable() for node in settings}
        self.urls = {
            node.name: self._links.connect(
                WORKLOAD, node.name, self._nodes[node.name].url
            )
            for node in settings
            if node.role == "edge"
        }

    async def _configure(self, changed: dict[str, dict[str, Any]]) -> None:
        async with Client() as client:
            for name, settings in changed.items():
                await client.configure(
                    self._nodes[name].url, settings, timeout_s=_CONFIGURE_S
                )
