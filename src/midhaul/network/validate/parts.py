"""The parts of a network that are checked, as one problem.

Paths stand beside each other and run one after the other: flows of one begin when those
of the path before it have had time to end, so that a judge in real time has one of them
at a time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import ConfigError
from midhaul.model import Flows, Topology
from midhaul.network.decomposition.hybrid import time_window
from midhaul.network.decomposition.part import require_separable
from midhaul.network.decomposition.paths import PathCuts, sample_paths
from midhaul.network.problem import Routes
from midhaul.network.simulators import simulator_named
from midhaul.network.slowdown import PATIENCE
from midhaul.network.work import work_off

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Int64

    from midhaul.network.problem import NetworkProblem

_USUAL_SHARE = 0.1
_N_BATCHES = 30


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CheckedParts:
    """What is simulated, and which of its flows are judged.

    Attributes:
        problem: all parts.
        part: ``(n,)`` the part of each flow.
        is_judged: ``(n,)`` whether it counts.
        names: of the parts.
    """

    problem: NetworkProblem
    part: Int64[np.ndarray, " n"]
    is_judged: Bool[np.ndarray, " n"]
    names: tuple[str, ...]


def checked_paths(whole: NetworkProblem, n: int, seed: int) -> CheckedParts:
    """Paths drawn by the flows on them; ConfigError if parts cannot be simulated."""
    require_separable(whole, "paths are simulated apart")
    if not len(whole.flows):
        message = "there is no flow, so there is no path to check"
        raise ConfigError(message, "give flows")
    rng = np.random.default_rng([seed, 73])
    # Drawn until so many differ, or nearly all are there.
    drawn = sample_paths(whole.routes, 20 * n, rng)[0][:n]
    cuts = PathCuts(whole)
    found = [cuts.of(path) for path in drawn]
    links = whole.topology.links
    names = [f"{links[way[0]].source} to {links[way[-1]].target}" for way in drawn]
    problem = _side_by_side(whole, [one.problem for one in found])
    return CheckedParts(
        problem=problem,
        part=np.repeat(np.arange(len(found)), [len(one.flow) for one in found]),
        is_judged=np.concatenate([one.is_foreground for one in found]),
        names=tuple(f"{i}: {name}" for i, name in enumerate(names)),
    )


def _side_by_side(
    whole: NetworkProblem, parts: Sequence[NetworkProblem]
) -> NetworkProblem:
    """Networks that have nothing to do with each other, as one, in turns."""
    from midhaul.network.ideal import ideal_fct_ns  # noqa: PLC0415  slow to import

    nodes: list[str] = []
    hosts: list[str] = []
    links: list[object] = []
    source, target, start, routed, counts = [], [], [], [], [np.zeros(1, np.int64)]
    begin_ns = 0
    for number, part in enumerate(parts):
        flows, topology = part.flows, part.topology
        source.append(flows.source + len(nodes))
        target.append(flows.target + len(nodes))
        first_ns = int(flows.start_ns.min(initial=1 << 62))
        start.append(flows.start_ns - first_ns + begin_ns)
        routed.append(part.routes.links + len(links))
        counts.append(np.diff(part.routes.offsets))
        longest_ns = int(PATIENCE * ideal_fct_ns(part).max(initial=0))
        begin_ns = int(start[-1].max(initial=begin_ns)) + longest_ns
        named = {name: f"{number}.{name}" for name in topology.nodes}
        nodes += named.values()
        hosts += [named[name] for name in topology.hosts or topology.nodes]
        links += [
            replace(x, source=named[x.source], target=named[x.target])
            for x in topology.links
        ]
    several = len(whole.flows.transport), len(whole.flows.label)
    flows = Flows(
        source=np.concatenate(source).astype(np.int32),
        target=np.concatenate(target).astype(np.int32),
        size_bytes=np.concatenate([part.flows.size_bytes for part in parts]),
        start_ns=np.concatenate(start),
        transport=np.concatenate([part.flows.transport for part in parts])
        if several[0]
        else np.zeros(0, np.int64),
        label=np.concatenate([part.flows.label for part in parts])
        if several[1]
        else np.zeros(0, np.int64),
        labels=whole.flows.labels,
    )
    return replace(
        whole,
        topology=Topology(nodes=tuple(nodes), links=tuple(links), hosts=tuple(hosts)),  # type: ignore[arg-type]
        flows=flows,
        routes=Routes(
            offsets=np.cumsum(np.concatenate(counts)).astype(np.int64),
            links=np.concatenate(routed).astype(np.int32),
        ),
        watched=(),
        sample_ns=0,
    )


def checked_window(
    whole: NetworkProblem, begins_s: float, lasts_s: float | None
) -> CheckedParts:
    """The flows of a time in the whole network, with what the fluid has under way then.

    ConfigError if there are none.
    """
    if whole.flows.waits:
        message = "flows wait for others, so no window of them can be cut out"
        raise ConfigError(message, "check paths of flows that do not wait")
    start_ns = whole.flows.start_ns
    span_s = float(start_ns.max(initial=0)) / 1e9
    length_ns = round((lasts_s or max(_USUAL_SHARE * span_s, 1e-9)) * 1e9)
    begin_ns = round(begins_s * 1e9)
    end_ns = begin_ns + length_ns
    if not ((start_ns >= begin_ns) & (start_ns < end_ns)).any():
        message = f"no flow starts from {begins_s:g} s to {end_ns} ns"
        hint = f"flows start up to {span_s:g} s: set begins_s or lasts_s"
        raise ConfigError(message, hint)
    fluid = simulator_named("fluid").begin(whole)
    work_off(fluid)
    window = time_window(whole, fluid.results(), begin_ns, end_ns - 1)
    start_ns = start_ns[window.flow]
    judged = (start_ns >= begin_ns) & (start_ns < end_ns)
    n_batches = min(_N_BATCHES, int(judged.sum()))
    rank = np.maximum(np.cumsum(judged) - 1, 0)
    return CheckedParts(
        problem=window.problem,
        part=rank * n_batches // int(judged.sum()),
        is_judged=judged,
        names=tuple(f"batch {i}" for i in range(n_batches)),
    )
