"""ns-3.37 as a simulator of network problems: what it is given and what it answers."""

from __future__ import annotations

import contextlib
import math
import subprocess
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import ConfigError, SimulationError
from midhaul.network.ideal import ideal_fct_ns
from midhaul.network.judges.ns3.program import program
from midhaul.network.packet.tcp.tables import (
    check_tcp,
    loss_cell,
    mtu_of,
    path_indices,
)
from midhaul.network.problem import busiest_links, link_table
from midhaul.network.simulator import FlowResults, LinkResults
from midhaul.network.transports import TcpTransport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midhaul.model import Link
    from midhaul.network.problem import NetworkProblem
    from midhaul.network.simulator import Arrays

UNBOUNDED_BPS = 10**18
LARGEST_FLOW = 1 << 30
_SLICE_S = 1.0


def check_ns3(problem: NetworkProblem) -> None:
    """Refuse, with a ConfigError, what the program for ns-3 cannot do."""
    check_tcp(problem)
    for link in problem.topology.links:
        queue = link.queue
        if queue.max_packets is not None and queue.max_bytes is not None:
            message = f"link {link.name} bounds its queue in packets and in bytes"
            raise ConfigError(message, "ns-3 has one bound: leave one of them out")
        if queue.max_bytes is not None and queue.discipline == "fq_codel":
            message = f"link {link.name} bounds FqCoDel in bytes, ns-3 does in packets"
            raise ConfigError(message, "give max_packets")
    flows = problem.flows
    if len(flows) and int(flows.size_bytes.max()) > LARGEST_FLOW:
        message = f"ns-3's sockets take flows up to {LARGEST_FLOW:,} bytes at once"
        raise ConfigError(message, "split the flow, or use the packet simulator")


def _link_words(link: Link, reverse: int) -> Iterator[object]:
    queue = link.queue
    yield UNBOUNDED_BPS if math.isinf(link.rate_bps) else round(link.rate_bps)
    yield round(link.delay_s * 1e9)
    yield queue.discipline
    yield -1 if queue.max_packets is None else queue.max_packets
    yield -1 if queue.max_bytes is None else queue.max_bytes
    yield from (repr(float(queue.mark_from)), repr(float(queue.mark_all_from)))
    yield repr(float(queue.mark_share))
    yield int(queue.has_ecn)
    yield from (round(queue.target_s * 1e9), round(queue.interval_s * 1e9))
    yield loss_cell(link.loss_share)
    yield round(link.jitter_s * 1e9)
    yield reverse
    yield len(link.rate_changes)
    for when, rate in link.rate_changes:
        yield round(when * 1e9)
        yield UNBOUNDED_BPS if math.isinf(rate) else round(rate)


def _transport_words(one: TcpTransport) -> Iterator[object]:
    yield from (one.congestion, one.segment_bytes, one.initial_window, one.acks_every)
    for seconds in (one.min_timeout_s, one.connect_timeout_s, one.ack_delay_s):
        yield round(seconds * 1e9)
    yield from (int(one.is_paced), int(one.has_hystart), round(one.linger_s * 1e9))


def _lines(problem: NetworkProblem, traced: int) -> Iterator[str]:
    """The input of the program; README.md says what it is made up of."""
    topology, flows = problem.topology, problem.flows
    until = -1 if problem.until_ns is None else problem.until_ns
    head = (until, problem.seed, traced, mtu_of(problem), len(topology.nodes))
    yield f"midhaul-ns3 1 {' '.join(map(str, head))}"
    table = link_table(topology)
    yield str(len(topology.links))
    for i, link in enumerate(topology.links):
        words = _link_words(link, int(table.reverse[i]))
        yield f"{table.source[i]} {table.target[i]} {' '.join(map(str, words))}"
    yield str(len(problem.transports))
    for transport in problem.transports:
        assert isinstance(transport, TcpTransport)  # noqa: S101 - by check_tcp
        yield " ".join(map(str, _transport_words(transport)))
    path_of, paths = path_indices(problem)
    yield str(len(paths))
    for path in paths:
        yield f"{len(path)} {' '.join(map(str, path))}"
    yield str(len(flows))
    kinds = flows.transport if len(flows.transport) else np.zeros(len(flows), np.int64)
    for i in range(len(flows)):
        waits: list[int] = []
        if flows.waits:
            first, last = flows.after_offsets[i : i + 2]
            waits = flows.after[first:last].tolist()
        words = (path_of[i], flows.size_bytes[i], flows.start_ns[i], kinds[i])
        yield " ".join(map(str, (*words, len(waits), *waits)))


class Ns3Simulation:
    """A run of ns-3 under way, in a process of its own.

    It looks at no queues and watches no flows: results have no samples and no timeline.
    ``traced`` is a flow whose packets and windows are written to ``trace``, or -1.
    ``close`` kills the program and deletes its files, which happens by itself when
    nobody holds the simulation any more.
    """

    def __init__(self, problem: NetworkProblem, traced: int = -1) -> None:
        check_ns3(problem)
        self._problem = problem
        self._program = program()
        self._traced = traced
        self._process: subprocess.Popen[bytes] | None = None
        self._stack = contextlib.ExitStack()
        folder = tempfile.TemporaryDirectory(prefix="midhaul-ns3-")
        self._root = Path(self._stack.enter_context(folder))
        self.close = weakref.finalize(self, self._stack.close)
        self._found: FlowResults | None = None
        self.trace: list[str] = []

    @property
    def share_done(self) -> float:
        """Share of the flows that have ended."""
        if self._found is not None:
            return 1.0
        n = len(self._problem.flows)
        over = 0
        with contextlib.suppress(OSError, ValueError):
            said = (self._root / "errors").read_text().rpartition("over ")[2]
            over = int(said.split()[0]) if said.strip() else 0
        return over / n if n else 0.0

    def advance(self, n_events: int) -> bool:
        """Wait for a second at most; True when it has ended."""
        del n_events
        if self._found is not None:
            return True
        if self._process is None:
            self._start()
        assert self._process is not None  # noqa: S101
        try:
            status = self._process.wait(_SLICE_S)
        except subprocess.TimeoutExpired:
            return False
        self._found = self._read(status)
        self.close()
        return True

    def _start(self) -> None:
        """Write the input and start the program."""
        source = self._root / "input"
        try:
            source.write_text("\n".join(_lines(self._problem, self._traced)) + "\n")
        except OSError as error:
            message = f"what ns-3 is given cannot be written: {error}"
            hint = "make room among temporary files, or choose a folder by TMPDIR"
            raise SimulationError(message, hint) from error
        with (
            (self._root / "output").open("wb") as output,
            (self._root / "errors").open("wb") as errors,
        ):
            self._process = subprocess.Popen(  # noqa: S603 - the compiled program
                [str(self._program), str(source)], stdout=output, stderr=errors
            )
            self._stack.callback(_end, self._process)

    def _read(self, status: int) -> FlowResults:
        """What the program has written; SimulationError if it was killed or failed."""
        said = (self._root / "errors").read_text(errors="replace")
        if status != 0:
            how = (
                f"was killed by signal {-status}"
                if status < 0
                else f"ended with {status}"
            )
            last = " ".join(said.split()[-40:])
            message = (
                f"ns-3 {how} before it was done; it said last: {last or 'nothing'}"
            )
            raise SimulationError(message, "try again, with more memory or fewer flows")
        if self._traced >= 0:
            self.trace = [x for x in said.splitlines() if not x.startswith("over ")]
        lines = (self._root / "output").read_text().splitlines()
        n, n_links = len(self._problem.flows), len(self._problem.topology.links)
        if len(lines) != 2 + n + n_links or lines[-1] != "end":
            message = f"expected {2 + n + n_links} lines of ns-3, found {len(lines)}"
            raise SimulationError(message, "try again")
        _, _, n_events, now = lines[0].split()
        times = np.array([x.split() for x in lines[1 : 1 + n]], np.int64).reshape(n, 2)
        rows = np.array([x.split() for x in lines[1 + n : -1]], np.int64)
        return self._results(times, rows.reshape(n_links, 3), int(n_events), int(now))

    def _results(
        self, times: np.ndarray, rows: np.ndarray, n_events: int, now: int
    ) -> FlowResults:
        """The answer; what ns-3 is not asked for is 0."""
        problem = self._problem
        n, m = len(times), len(rows)
        table = link_table(problem.topology)
        rates = np.where(np.isinf(table.rate_bps), UNBOUNDED_BPS, table.rate_bps)
        busy = np.rint(rows[:, 0] * 8e9 / rates).astype(np.int64)
        none = np.zeros(m, np.int64)
        links = LinkResults(
            n_bytes=rows[:, 0].copy(),
            busy_ns=busy,
            n_dropped=rows[:, 1].copy(),
            n_marked=rows[:, 2].copy(),
            paused_ns=none,
            max_queue_bytes=none,
            samples_ns=np.zeros(0, np.int64),
            samples_bytes=np.zeros((0, m), np.int64),
        )
        return FlowResults(
            start_ns=times[:, 0].copy(),
            fct_ns=times[:, 1].copy(),
            ideal_fct_ns=ideal_fct_ns(problem),
            n_retransmitted=np.zeros(n, np.int64),
            n_marked=np.zeros(n, np.int64),
            busiest_link=busiest_links(problem.routes, busy),
            links=links,
            timeline=None,
            n_events=n_events,
            end_ns=now,
            problem=problem,
        )

    def state(self) -> Arrays | None:
        """None: ns-3 cannot be stopped and gone on with."""
        return None

    def results(self) -> FlowResults:
        """What is known: all of it at the end, nothing before."""
        if self._found is not None:
            return self._found
        n, m = len(self._problem.flows), len(self._problem.topology.links)
        return self._results(np.full((n, 2), -1), np.zeros((m, 3), np.int64), 0, 0)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the program, if it runs."""
    process.kill()
    process.wait()


class Ns3Simulator:
    """ns-3.37 as a judge."""

    name = "ns3"

    def begin(
        self, problem: NetworkProblem, state: Arrays | None = None
    ) -> Ns3Simulation:
        """Begin; a state is of no use to it.

        Raises:
            PrerequisiteError: there is no ns-3 3.37 or no compiler.
            ConfigError: the problem has what the program cannot do.
        """
        del state
        return Ns3Simulation(problem)
