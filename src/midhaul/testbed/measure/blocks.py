"""The latency half of an experiment: randomised complete blocks of cells.

A block visits every configuration once, in an order of its own, with the same images in
the same order and the same arrivals, so that configurations are compared in pairs and
slow drift of the machine meets all of them alike (randomised complete block design).
Blocks are added, three at least, until every median latency is known well enough, and
the percentile that is to be claimed has its requests.

A cell counts once its row in ``cells`` is written, which comes last; an experiment that
was killed measures the cell it was in again. Rows are kept as they are written: after a
block none is read back, and all that is asked is how well the medians are known by now.

The *rig* is the running nodes and the links between them; a *watch* around a cell sees
what its nodes used, and what else the machine was busy with.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.errors import NodeError
from midhaul.machine.coroutines import run_coroutine
from midhaul.machine.processes import cpu_s, tree
from midhaul.model import Tally, Verdict
from midhaul.stats import bootstrap
from midhaul.testbed.links.links import Links
from midhaul.testbed.load.generator import run_load
from midhaul.testbed.measure.from_config import (
    WORKLOAD,
    links_of,
    scenario_of,
    settings_of,
    stop_of,
    warmup_of,
)
from midhaul.testbed.measure.judging import Agreement
from midhaul.testbed.measure.request_metrics import median_latency, requests_of
from midhaul.testbed.measure.tables import CELLS, LINKS, REQUESTS, USAGE
from midhaul.testbed.measure.validity import (
    CellLimits,
    Conditions,
    cell_facts,
    judge_cell,
    judge_percentile,
)
from midhaul.testbed.nodes.launcher import LocalLauncher, launch
from midhaul.testbed.nodes.usage import Monitor, watch, watch_workload
from midhaul.wire import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Self

    from midhaul.model import Detections
    from midhaul.runs.kept import KeptTables
    from midhaul.runs.progress import Progress
    from midhaul.testbed.measure.config import NodeConfig, TestbedConfig
    from midhaul.testbed.measure.from_config import Configuration
    from midhaul.testbed.nodes.launcher import RunningNode

MEASURED = (REQUESTS, USAGE, CELLS, LINKS)
"""The tables that blocks fill."""

_FEWEST_BLOCKS = 3
"""Blocks before precision ends a run: with fewer, none can be compared with it."""

_MAX_CRASHES = 3
"""Cells in a row in which a node may end before the experiment does."""

_LOOKS = 20
_BETWEEN_LOOKS_S = 0.05
"""How often, and how far apart, a node that refuses connections is looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """All that a cell needs beside its configuration.

    Attributes:
        rig: the running nodes and links.
        measured: where rows go, and those of earlier cells.
        seed: of the experiment.
        images: encoded bytes by id.
        answers: what each configuration is known to answer, by image; empty for
            configurations whose answers are not known.
        max_detections: boxes per image and class that they keep.
    """

    rig: Rig
    measured: KeptTables
    seed: int
    images: Mapping[str, bytes]
    answers: Mapping[int, Mapping[str, Detections]]
    max_detections: int


def measure_blocks(
    config: TestbedConfig,
    configurations: Sequence[Configuration],
    bench: Bench,
    progress: Progress,
) -> None:
    """Measure blocks until every median latency is known, or all blocks are spent.

    NodeError if nodes end again and again, or do not start.
    """
    precision = float(config.precision.rstrip("%")) / 100
    total = config.n_blocks * len(configurations)
    done = bench.measured.parts(CELLS)
    widest = float("inf")
    with progress.task("measuring cells", total) as bar:
        bar.advance(len(done))
        for block in range(config.n_blocks):
            first = block * len(configurations)
            cells = range(first, first + len(configurations))
            if not done.issuperset(cells):
                _measure_block(block, configurations, bench, done, bar.advance)
            widest = widest_interval(bench.measured, configurations, config.seed)
            is_known = block + 1 >= _FEWEST_BLOCKS and widest <= precision
            if is_known and _carries_claims(bench.measured, configurations):
                bar.advance(total - first - len(configurations))
                return
    progress.note(
        f"all {config.n_blocks} blocks are spent: the least certain median latency is "
        f"known to ±{widest:.1%}, {config.precision} was asked for"
    )


def _carries_claims(
    measured: KeptTables, configurations: Sequence[Configuration]
) -> bool:
    """Whether each configuration has the requests for the percentile it is to claim."""
    cells = measured.read(CELLS)
    owners, n_judged = cells["configuration"].to_numpy(), cells["n_requests"].to_numpy()
    return all(
        _claim(c, int(n_judged[owners == c.index].sum())).is_valid
        for c in configurations
    )


def _claim(configuration: Configuration, n: int) -> Verdict:
    """Whether a number of judged requests carries the percentile to be claimed."""
    load = configuration.load
    if not scenario_of(load).is_latency_meaningful:
        return Verdict()
    return judge_percentile(n, load.percentile / 100)


def widest_interval(
    measured: KeptTables, configurations: Sequence[Configuration], seed: int
) -> float:
    """The largest relative half-width of all median latencies; infinite without any."""
    n = len(configurations)
    last = max(measured.parts(REQUESTS), default=-1)
    widths = [0.0]
    for configuration in configurations:
        index, timeout_s = configuration.index, configuration.load.timeout_s
        cells = range(index, last + 1, n)
        table = measured.read(REQUESTS, cells)
        requests = requests_of(table, index, timeout_s)
        if not requests.is_ok.any():
            continue
        estimate = bootstrap(
            median_latency(requests),
            len(requests.batches),
            np.random.default_rng([seed, 7, configuration.index]),
        )
        widths.append(estimate.relative_half_width)
    return float(np.nanmax(widths)) if len(widths) > 1 else float("inf")


def _measure_block(
    block: int,
    configurations: Sequence[Configuration],
    bench: Bench,
    done: set[int],
    advance: Callable[[float], None],
) -> None:
    order = np.random.default_rng([bench.seed, 4, block]).permutation(
        len(configurations)
    )
    link_errors = _measure_links(block, bench)
    n_crashes = 0
    for position, index in enumerate(order.tolist()):
        cell = block * len(configurations) + index
        if cell in done:
            continue
        dead = _measure_cell(
            configurations[index], block, position, cell, link_errors, bench
        )
        advance(1)
        n_crashes = n_crashes + 1 if dead else 0
        if n_crashes == _MAX_CRASHES:
            name, end = next(iter(dead.items()))
            message = f"node {name} ended in {n_crashes} cells in a row: {end}"
            raise NodeError(message, f"its log is in {bench.rig.folder}")
        if dead:
            bench.rig.restart()


def _measure_links(block: int, bench: Bench) -> dict[str, float]:
    """Let the links measure themselves; their errors by name."""
    rows = bench.rig.measure_links(block)
    if rows:
        bench.measured.write(LINKS, rows, part=block)
    return {str(row["link"]): _number(row["error"]) for row in rows}


def _measure_cell(
    configuration: Configuration,
    block: int,
    position: int,
    cell: int,
    link_errors: Mapping[str, float],
    bench: Bench,
) -> dict[str, str]:
    """Measure one configuration once and write its rows; how nodes ended, by name."""
    load = configuration.load
    scenario = scenario_of(load)
    images = list(bench.images)
    np.random.default_rng([bench.seed, 5, block]).shuffle(images)
    known = bench.answers.get(configuration.index, {})
    agreement = Agreement(known, bench.max_detections)
    ended = _configure(configuration, bench)
    watch = bench.rig.watch()
    with watch:
        found = run_load(
            scenario,
            bench.rig.urls,
            bench.images,
            images,
            stop=stop_of(load),
            rng=np.random.default_rng([bench.seed, 6, block]),
            timeout_s=load.timeout_s,
            warmup=warmup_of(load),
            on_done=agreement.add,
        )
    conditions = Conditions(
        link_errors=link_errors,
        throttled=watch.throttled,
        steal=watch.steal,
        foreign_cpu=watch.foreign_cpu,
        dead_nodes=ended | bench.rig.dead(),
    )
    limits = CellLimits(percentile=None, max_error_rate=load.max_error_rate)
    verdict = judge_cell(found, scenario, limits=limits, conditions=conditions)
    verdict += agreement.verdict()
    marks = {"configuration": configuration.index, "block": block}
    requests = [record.row(**marks) for record in found.records]
    bench.measured.write(REQUESTS, requests, part=cell)
    bench.measured.write(USAGE, [marks | row for row in watch.rows], part=cell)
    facts = cell_facts(found, scenario)
    row = facts.row(verdict, position=position, **marks)
    bench.measured.write(CELLS, [row], part=cell)
    return bench.rig.dead()


def _configure(configuration: Configuration, bench: Bench) -> dict[str, str]:
    """Give the nodes their settings; those that ended since the last cell live again.

    It returns how nodes had ended, by name; the cell that follows is not valid.
    NodeError if a node that lives refuses them.
    """
    try:
        bench.rig.configure(configuration.nodes)
    except NodeError:
        ended = _ended(bench.rig)
        if not ended:
            raise
        bench.rig.restart()
        bench.rig.configure(configuration.nodes)
        return ended
    return {}


def _ended(rig: Rig) -> dict[str, str]:
    """How nodes ended; one that refuses connections may still be on its way out."""
    for _ in range(_LOOKS):
        ended = rig.dead()
        if ended:
            return ended
        time.sleep(_BETWEEN_LOOKS_S)
    return {}


def overall_verdict(
    measured: KeptTables, configurations: Sequence[Configuration], names: Sequence[str]
) -> Verdict:
    """Whether a run may be believed: its cells' reasons, each kind of them said once.

    Percentiles are claimed for a configuration over all of its blocks.
    """
    cells: list[dict[str, Any]] = measured.read(CELLS).to_pylist()
    if not cells:
        reason = "At least one cell was to be measured, found none."
        return Verdict(reasons=(reason,), advice=("Look at the run's log.",))
    found: dict[str, list[str]] = {}
    for cell in cells:
        place = f"{names[cell['configuration']]}, block {cell['block']}"
        for reason, advice in zip(cell["reasons"], cell["advice"], strict=True):
            found.setdefault(advice, []).append(f"{place}: {reason}")
    verdict = Verdict(
        reasons=tuple(_once(said, len(cells)) for said in found.values()),
        advice=tuple(found),
    )
    for configuration in configurations:
        n = sum(
            cell["n_requests"]
            for cell in cells
            if cell["configuration"] == configuration.index
        )
        verdict += _claim(configuration, n)
    return verdict + Verdict.of(_unanswered(cells))


def _unanswered(cells: Sequence[Mapping[str, Any]]) -> Tally:
    """How many judged requests are known from below only."""
    return Tally(
        what="judged requests were not answered: each counts as at least the time that "
        "it was given, in every latency",
        n=sum(cell["n_errors"] for cell in cells),
        of=sum(cell["n_requests"] for cell in cells),
        # How many are borne is load.max_error_rate, which every cell is held to.
        max_share=1.0,
        advice="Look at the column error of the table requests.",
    )


def _once(said: Sequence[str], n_cells: int) -> str:
    """A reason that several cells give, by its first occurrence."""
    if n_cells == 1:
        return said[0].partition(": ")[2]
    return f"{len(said)} of {n_cells} cells ({said[0].rstrip('.')})."


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else float("nan")


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
