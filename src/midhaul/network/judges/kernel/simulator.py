"""The kernel as a judge: its own TCP, over shaped links between network namespaces.

Every node that flows meet is a namespace, every direction of a link a tunnel device in
it. The kernel's token bucket holds the device to its rate, the kernel's FIFO is its
queue; a process of ours, the relay, is the delay. Everything runs in real time: what
takes ten seconds in the network takes ten seconds.

What the relay does wrong is measured, before the flows start, as the round trip of
small packets beside what it should be. What it adds is taken off the delays of links,
and what is left is measured again. How late it let packets go is said in the end.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.errors import PrerequisiteError, SimulationError, require
from midhaul.machine import children
from midhaul.machine.namespaces import (
    check_namespaces,
    inside,
    namespace_names,
    remove_leftovers,
    remove_namespace,
    run_iproute,
)
from midhaul.network.judges.kernel.plan import (
    KERNEL_NAMES,
    OVERHEAD_BYTES,
    kernel_plan,
)
from midhaul.network.problem import busiest_links
from midhaul.network.simulator import FlowResults, LinkResults, Timeline

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from jaxtyping import Int64

    from midhaul.network.judges.kernel.plan import Device, KernelPlan
    from midhaul.network.problem import NetworkProblem
    from midhaul.network.simulator import Arrays

_INSTEAD = "simulate it: packet has the same transports"
_KNOWN = Path("/proc/sys/net/ipv4/tcp_available_congestion_control")
_SETTINGS = {
    "ipv4/ip_forward": "1",
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
    "ipv4/tcp_no_metrics_save": "1",
    "ipv4/tcp_rmem": "4096 1048576 67108864",
    "ipv4/tcp_wmem": "4096 262144 67108864",
    "ipv6/conf/all/disable_ipv6": "1",
    "ipv6/conf/default/disable_ipv6": "1",
}
"""Of each namespace: it routes, no connection learns from another or from a small
buffer, and nobody says anything of IPv6."""

_READY_S = 20.0
_SLICE_S = 0.25
_PROBE_BYTES = 60
_MOST_PAIRS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class DelayError:
    """Round trips of small packets over an idle path.

    Attributes:
        source: name of the node at one end.
        target: name of the node at the other.
        expected_s: by rates and delays of the links.
        measured_s: median of some.
        spread_s: from the 10th to the 90th percentile of them.
    """

    source: str
    target: str
    expected_s: float
    measured_s: float
    spread_s: float

    @property
    def error_s(self) -> float:
        """By how much it took longer."""
        return self.measured_s - self.expected_s


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelSimulator:
    """The kernel's TCP between namespaces; Linux and root only.

    Attributes:
        patience_s: after so long without an end of a flow, those that are left are
            given up.
    """

    patience_s: float = 60.0

    @property
    def name(self) -> str:
        """What configs and tables call it."""
        return "kernel"

    def begin(
        self, problem: NetworkProblem, state: Arrays | None = None
    ) -> KernelSimulation:
        """Build the network; flows start with the first ``advance``.

        Args:
            problem: what flows where.
            state: None, since real connections cannot be kept.

        Returns:
            The simulation, whose network is there until it has ended or is closed.

        Raises:
            PrerequisiteError: this is not Linux, not root, or ``ip``, ``tc`` or a
                congestion control is missing.
            ConfigError: the problem has what this kernel cannot do.
            NodeError: the kernel refuses.
        """
        del state
        plan = kernel_plan(problem)
        check_namespaces("the kernel judge", _INSTEAD)
        if not Path("/dev/net/tun").exists():
            message = "the kernel judge needs /dev/net/tun, which is not there"
            raise PrerequisiteError(message, f"modprobe tun, or {_INSTEAD}")
        known = _KNOWN.read_text(encoding="ascii").split()
        for transport in problem.transports:
            wanted = KERNEL_NAMES[transport.congestion]
            if wanted not in known:
                message = f"this kernel has no {wanted}; it has {', '.join(known)}"
                raise PrerequisiteError(
                    message, f"modprobe tcp_{wanted}, or {_INSTEAD}"
                )
        require("numba", "network")
        from midhaul.network.ideal import ideal_fct_ns  # noqa: PLC0415  slow to import

        return KernelSimulation(
            problem, plan, ideal_fct_ns(problem), patience_s=self.patience_s
        )


class KernelSimulation:
    """Flows as connections, in real time.

    Args:
        problem: what flows where.
        plan: the same as namespaces.
        ideal_ns: ``(n,)`` ideal completion times.
        patience_s: how long to wait for an end.
    """

    def __init__(
        self,
        problem: NetworkProblem,
        plan: KernelPlan,
        ideal_ns: Int64[np.ndarray, " n"],
        *,
        patience_s: float,
    ) -> None:
        n = len(problem.flows)
        self._problem, self._plan, self._patience_s = problem, plan, patience_s
        self._ideal_ns = ideal_ns
        self._start_ns = np.full(n, -1, np.int64)
        self._end_ns = np.full(n, -1, np.int64)
        self._n_retransmitted = np.zeros(n, np.int64)
        self._looks: list[dict[str, Any]] = []
        self._n_events = 0
        self._has_begun = self._has_ended = n == 0
        self._begun_s = self._last_s = 0.0
        self._links = np.zeros((3, len(problem.topology.links)), np.int64)
        self.failures: dict[int, str] = {}
        self.start_lateness_s: list[float] = []
        self.delay_errors: list[DelayError] = []
        self.relay_report: dict[str, Any] = {}
        stack = contextlib.ExitStack()
        self.close = weakref.finalize(self, stack.close)
        if n:
            try:
                self._build(stack)
            except BaseException:
                self.close()
                raise

    @property
    def share_done(self) -> float:
        """Share of the flows that have ended."""
        n = len(self._problem.flows)
        return 1.0 if self._has_ended else float(np.sum(self._end_ns >= 0)) / max(n, 1)

    def advance(self, n_events: int) -> bool:
        """Wait for so many starts and ends, a quarter of a second at most.

        True when all flows have ended or failed, or the time to stop has come. A
        SimulationError is an end of the processes behind it.
        """
        if not self._has_begun:
            self._has_begun = True
            self._counts_before = self._counts()
            self._ends.order({"do": "begin"})
            self._begun_s = self._last_s = time.monotonic()
        until_s = time.monotonic() + _SLICE_S
        while not self._has_ended and n_events > 0:
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                break
            said = self._ends.said(left_s)
            if said is not None:
                self._take(said)
                n_events -= 1
            self._has_ended |= self._is_over()
        if self._has_ended and self.close.alive:
            self._finish()
        return self._has_ended

    def state(self) -> None:
        """None: real connections cannot be kept."""
        return

    def results(self) -> FlowResults:
        """What is known so far."""
        problem = self._problem
        fct_ns = np.where(self._end_ns >= 0, self._end_ns - self._start_ns, -1)
        until, end_ns = problem.until_ns, int(self._end_ns.max(initial=0))
        if until is not None:
            fct_ns[self._end_ns > until] = -1
            end_ns = until if (fct_ns < 0).any() else min(end_ns, until)
        n_bytes, n_packets, n_dropped = self._links
        n_bytes = n_bytes + OVERHEAD_BYTES * n_packets
        rate = np.array([link.rate_bps for link in problem.topology.links])
        busy_ns = np.rint(8e9 * n_bytes / rate).astype(np.int64)
        none = np.zeros(len(rate), np.int64)
        return FlowResults(
            start_ns=self._start_ns.copy(),
            fct_ns=fct_ns,
            ideal_fct_ns=self._ideal_ns,
            n_retransmitted=self._n_retransmitted.copy(),
            n_marked=np.zeros(len(fct_ns), np.int64),
            busiest_link=busiest_links(problem.routes, busy_ns),
            links=LinkResults(
                n_bytes=n_bytes,
                busy_ns=busy_ns,
                n_dropped=n_dropped.copy(),
                n_marked=none,
                paused_ns=none.copy(),
                max_queue_bytes=none.copy(),
                samples_ns=np.zeros(0, np.int64),
                samples_bytes=np.zeros((0, len(rate)), np.int64),
            ),
            timeline=self._timeline() if problem.watched else None,
            n_events=self._n_events,
            end_ns=end_ns,
            problem=problem,
        )

    def _build(self, stack: contextlib.ExitStack) -> None:
        """Namespaces, the relay with its devices, shapers, the process of the ends."""
        plan = self._plan
        remove_leftovers()
        labels = tuple(f"n{node}" for node in plan.nodes)
        self._names = dict(zip(plan.nodes, namespace_names(labels), strict=True))
        for name in self._names.values():
            stack.callback(remove_namespace, name)
            run_iproute("ip", "netns", "add", name)
        self._relay = stack.enter_context(_Helper("relay"))
        self._relay.order({"links": [self._given(x) for x in plan.devices]})
        self._relay.wait_for("ready")
        for node, name in self._names.items():
            with inside(name):
                for setting, value in _SETTINGS.items():
                    file = Path("/proc/sys/net", setting)
                    if file.exists():  # there is a kernel without IPv6
                        file.write_text(value)
            lines = plan.ip_commands(node)
            run_iproute("ip", "-n", name, "-batch", "-", said="\n".join(lines))
            shapers = [
                line
                for device in plan.devices
                if device.node == node
                for line in device.queue_commands(plan.mtu_bytes)
            ]
            if shapers:
                run_iproute("tc", "-n", name, "-batch", "-", said="\n".join(shapers))
        self._ends = stack.enter_context(_Helper("ends"))
        self._ends.order({"flows": self._flows(), "nodes": self._targets()})
        self._ends.wait_for("ready")
        self._measure_delays()

    def _given(self, device: Device) -> dict[str, Any]:
        is_shaped = device.rate_bps != float("inf")
        return {
            "namespace": self._names[device.node],
            "device": device.name,
            "peer": device.peer,
            "delay_ns": device.delay_ns,
            "ns_per_byte": device.ns_per_byte if is_shaped else 0.0,
            "overhead_bytes": OVERHEAD_BYTES,
        }

    def _flows(self) -> list[dict[str, Any]]:
        flows, found = self._problem.flows, []
        for i in range(len(flows)):
            which = int(flows.transport[i]) if len(flows.transport) else 0
            after = (
                flows.after[flows.after_offsets[i] : flows.after_offsets[i + 1]]
                if flows.waits
                else np.zeros(0, np.int64)
            )
            found.append(
                {
                    "number": i,
                    "namespace": self._names[int(flows.source[i])],
                    "address": self._plan.address(int(flows.target[i])),
                    "size_bytes": int(flows.size_bytes[i]),
                    "congestion": KERNEL_NAMES[
                        self._problem.transports[which].congestion
                    ],
                    "start_ns": int(flows.start_ns[i]),
                    "after": after.tolist(),
                    "is_watched": i in self._problem.watched,
                }
            )
        return found

    def _targets(self) -> dict[str, str]:
        """Namespaces of the nodes that receive, by their addresses."""
        targets = {int(node) for node in self._problem.flows.target}
        return {self._plan.address(node): self._names[node] for node in targets}

    def _measure_delays(self) -> None:
        """Find what the relay adds, take it off, and find what is left."""
        flows = self._problem.flows
        pairs = sorted(
            set(zip(flows.source.tolist(), flows.target.tolist(), strict=True))
        )
        pairs = pairs[:: max(1, len(pairs) // _MOST_PAIRS)][:_MOST_PAIRS]
        errors = self._probe(pairs)
        ways = [*pairs, *((b, a) for a, b in pairs)]
        late = [x for way in ways for x in self._plan.path(*way) if x.delay_ns > 0]
        added_s = sum(x.error_s for x in errors) / max(len(late), 1)
        early = [
            int(min(max(added_s, 0) * 1e9, device.delay_ns))
            for device in self._plan.devices
        ]
        self._relay.order({"early_ns": early})
        self._relay.wait_for("ready")
        self.delay_errors = self._probe(pairs)

    def _probe(self, pairs: Sequence[tuple[int, int]]) -> list[DelayError]:
        plan, names = self._plan, self._problem.topology.nodes
        asked = [
            {
                "source": self._names[a],
                "source_address": plan.address(a),
                "target": self._names[b],
                "target_address": plan.address(b),
            }
            for a, b in pairs
        ]
        self._ends.order({"do": "probe", "pairs": asked})
        trips_s = self._ends.wait_for("probed")["trips_s"]
        found: list[DelayError] = []
        for (a, b), of_pair_s in zip(pairs, trips_s, strict=True):
            if not of_pair_s:
                message = f"no packet came from {names[a]} to {names[b]} and back"
                raise SimulationError(message)
            ways = [*plan.path(a, b), *plan.path(b, a)]
            n_bytes = _PROBE_BYTES + OVERHEAD_BYTES
            took_ns = sum(x.delay_ns + n_bytes * x.ns_per_byte for x in ways)
            low_s, middle_s, high_s = np.quantile(of_pair_s, (0.1, 0.5, 0.9))
            found.append(
                DelayError(
                    source=names[a],
                    target=names[b],
                    expected_s=took_ns / 1e9,
                    measured_s=float(middle_s),
                    spread_s=float(high_s - low_s),
                )
            )
        return found

    def _take(self, said: dict[str, Any]) -> None:
        """Take in what the process of the ends has said."""
        what, flow = said["what"], said.get("flow", -1)
        if what == "start":
            self._start_ns[flow] = said["start_ns"]
            self.start_lateness_s.append(said["late_ns"] / 1e9)
        elif what == "end":
            self._end_ns[flow] = said["end_ns"]
            self._n_retransmitted[flow] = said["n_retransmitted"]
        elif what == "failed":
            self.failures[flow] = said["why"]
        elif what == "look":
            self._looks.append(said)
            return
        elif what == "done":
            self._has_ended = True
            return
        self._n_events += 1
        self._last_s = time.monotonic()

    def _is_over(self) -> bool:
        """Whether the time to stop has come, or patience is at an end."""
        now_s, until = time.monotonic(), self._problem.until_ns
        if until is not None and now_s > self._begun_s + until / 1e9:
            return True
        starts = self._problem.flows.start_ns
        planned_s = self._begun_s + float(starts.max()) / 1e9
        return now_s > max(self._last_s, planned_s) + self._patience_s

    def _finish(self) -> None:
        """Read what links have counted, hear the relay, and remove everything."""
        for before, after in zip(self._counts_before, self._counts(), strict=True):
            self._links[:, after[0]] = np.subtract(after[1:], before[1:])
        self.relay_report = self._relay.last_words()
        self.close()

    def _counts(self) -> list[tuple[int, int, int, int]]:
        """Link, bytes, packets and drops of each device so far."""
        found: list[tuple[int, int, int, int]] = []
        for node, name in self._names.items():
            shown = run_iproute("ip", "-n", name, "-j", "-s", "link", "show")
            sent = {x["ifname"]: x["stats64"]["tx"] for x in json.loads(shown)}
            shown = run_iproute("tc", "-n", name, "-j", "-s", "qdisc", "show")
            drops = {x["dev"]: x["drops"] for x in json.loads(shown) if x.get("root")}
            found += [
                (
                    device.link,
                    sent[device.name]["bytes"],
                    sent[device.name]["packets"],
                    drops.get(device.name, 0) + sent[device.name]["dropped"],
                )
                for device in self._plan.devices
                if device.node == node
            ]
        return found

    def _timeline(self) -> Timeline:
        """Windows of watched flows as they were looked at."""

        def column(name: str, kind: type) -> np.ndarray:
            return np.array([look[name] for look in self._looks], kind)

        return Timeline(
            time_ns=column("time_ns", np.int64),
            flow=column("flow", np.int64),
            window_bytes=column("window_bytes", np.float64),
            rate_bps=column("rate_bps", np.float64),
            in_flight_bytes=column("in_flight_bytes", np.int64),
            acked_bytes=column("acked_bytes", np.int64),
        )


class _Helper:
    """A process of ours that hears orders and says what it does, in lines.

    Its standard input ends with this program, and so does it.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        module = f"midhaul.network.judges.kernel.{self._name}"
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            start_new_session=True,
            env=os.environ.copy(),
        )
        thread = threading.Thread(target=self._listen, daemon=True, name=self._name)
        thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Let it end, by force where it does not."""
        process = self._process
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1.0)
        children.stop([process])
        if process.stdout is not None:
            process.stdout.close()

    def order(self, what: dict[str, Any]) -> None:
        """Say a line to it."""
        if self._process.stdin is None:
            raise AssertionError
        try:
            self._process.stdin.write(json.dumps(what) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise self._gone() from error

    def said(self, wait_s: float) -> dict[str, Any] | None:
        """The next line that it says; None where none comes in time."""
        try:
            line = self._lines.get(timeout=wait_s)
        except queue.Empty:
            return None
        if not line:
            raise self._gone()
        return json.loads(line)

    def wait_for(self, what: str) -> dict[str, Any]:
        """The line that says it is so far."""
        said = self.said(_READY_S)
        if said is None or said.get("what") != what:
            message = f"expected the {self._name} of the kernel judge to be {what}, "
            message += f"found {said}"
            raise SimulationError(message)
        return said

    def last_words(self) -> dict[str, Any]:
        """Tell it to end, and hear what it says then."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        return self.said(_READY_S) or {}

    def _listen(self) -> None:
        if self._process.stdout is not None:
            with contextlib.suppress(ValueError):  # closed meanwhile
                for line in self._process.stdout:
                    self._lines.put(line)
        self._lines.put("")

    def _gone(self) -> SimulationError:
        message = f"the {self._name} of the kernel judge has ended too early"
        return SimulationError(message, "it may have been killed; begin anew")
