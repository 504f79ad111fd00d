"""From a config to problems: topology, flows, routes, transports and queues.

Flows are drawn once, on the topology of the config, so that all configurations of a
comparison have the same ones. They stand in the order of their starts; those that wait
for others stand behind, in the order in which they wait.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.errors import ConfigError
from midhaul.model import Flows, LinkQueue, Tally
from midhaul.network.problem import NetworkProblem
from midhaul.network.routing import ecmp, over_k_paths
from midhaul.network.simulate.classes import class_of_flows
from midhaul.network.simulate.from_run import topology_of_run
from midhaul.network.simulate.shapes import (
    CABLE_KEYS,
    RUN,
    RUN_CABLES,
    SHAPES,
    built,
)
from midhaul.network.simulate.varied import between_same_hosts, varied
from midhaul.network.simulators import TRANSPORTS, WITH_SAMPLES, WITHOUT_TIMELINES
from midhaul.network.topology.graphml import read_graphml
from midhaul.network.topology.json_form import read_json
from midhaul.network.topology.repetita import read_repetita
from midhaul.network.transports import RdmaTransport, TcpTransport
from midhaul.network.workload.drawn import link_loads
from midhaul.network.workload.edge import by_start, join_flows
from midhaul.runs.section import value_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from jaxtyping import Float64

    from midhaul.model import Topology
    from midhaul.network.problem import Routes
    from midhaul.network.simulate.config import (
        ScenarioConfig,
        TransportConfig,
    )
    from midhaul.network.topology.links_table import FoundTopology
    from midhaul.network.transports import Transport

_READERS: dict[str, Callable[[Path], FoundTopology]] = {
    ".json": read_json,
    ".graphml": read_graphml,
    ".graph": read_repetita,
}
"""Who reads a topology, by the ending of its file."""

_WATCHED_UNASKED = {"packet"}
"""Simulators that tell how single flows fared without another kernel for it."""

_N_SAMPLES = 500
_FEW_FLOWS = 50
"""Of so few over a link its load says nothing of queues that never end."""

Point = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NetworkCase:
    """One configuration: a problem, and what is to simulate it.

    Attributes:
        number: of the configuration.
        name: of the configuration.
        simulator: name of what simulates it.
        problem: what it is given.
        transports: names of the problem's transports.
        told: options that a simulator may have, by name.
        settings: what it has of the grid.
        offered: ``(m,)`` load of each link over its rate, while flows start; None where
            too few start to speak of one.
        tallies: what was left out, clipped or cannot be carried.
    """

    number: int
    name: str
    simulator: str
    problem: NetworkProblem
    transports: tuple[str, ...]
    told: Mapping[str, float] = field(default_factory=dict[str, float])
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    offered: Float64[np.ndarray, " m"] | None = None
    tallies: tuple[Tally, ...] = ()


Cables = list[tuple[str, dict[str, float]]]
"""Names of cables, and in what each is not as usual."""

Drawn = tuple[Flows, tuple[Tally, ...]]
"""Flows, and what was left out of them."""


def case_of(
    config: ScenarioConfig,
    name: str = "",
    number: int = 0,
    point: Point | None = None,
    drawn: Drawn | None = None,
) -> NetworkCase:
    """One configuration of an experiment; MidhaulError if it cannot be.

    It is called like its simulator by default. ``point`` is what it has of a grid, by
    key, ``drawn`` the flows where they have been drawn before.
    """
    point = point or {}
    drawn_on = topology_of(config)
    flows, tallies = drawn or flows_of(config, drawn_on)
    config = varied(config, point)
    if config.topology.kind not in SHAPES:
        tallies = (*_read(config).tallies, *tallies)
    topology = topology_of(config, point)
    flows = between_same_hosts(flows, drawn_on, topology)
    known = {one.label: transport_of(one) for one in config.transports}
    if chosen := point.get("transport"):
        known = {str(chosen): known[str(chosen)]}
        flows = replace(flows, transport=np.zeros(0, np.int64))
    transports = tuple(known.values())
    routes = routes_of(config, topology, flows)
    simulator = str(point.get("simulator", config.simulator))
    problem = NetworkProblem(
        topology=topology,
        flows=flows,
        routes=routes,
        transports=transports,
        switch_buffer_bytes=config.switch_buffer_bytes,
        seed=config.seed,
        until_ns=None if config.until_s is None else round(config.until_s * 1e9),
        watched=_watched(config, flows, simulator),
        sample_ns=_sample_ns(config, flows, simulator),
    )
    offered, full = _loads(topology, flows, routes, transports)
    return NetworkCase(
        number=number,
        name=name or simulator,
        simulator=simulator,
        problem=problem,
        transports=tuple(known),
        told={"n_paths": config.n_paths, "share": config.share},
        settings=point,
        offered=offered,
        tallies=(
            *tallies,
            *full,
            *_not_told(config, simulator),
            *_not_used(config, point, problem),
        ),
    )


def _not_told(config: ScenarioConfig, simulator: str) -> list[Tally]:
    """Flows that are to be watched by a simulator that follows none."""
    n = len(config.watched)
    if not n or simulator not in WITHOUT_TIMELINES:
        return []
    what = f"flows to be watched have no timeline, as {simulator} follows no flow"
    advice = "The simulators packet, fluid and kernel do."
    return [Tally(what=what, n=n, of=n, max_share=1.0, advice=advice)]


def _not_used(
    config: ScenarioConfig, point: Point, problem: NetworkProblem
) -> list[Tally]:
    """Queues that are asked for, in a network of RDMA, which has none of these."""
    is_asked = bool(config.queues) or any(key.startswith("queue.") for key in point)
    if not is_asked or not isinstance(problem.transports[0], RdmaTransport):
        return []
    n = len(problem.topology.links)
    what = "links have queues of RDMA, whatever queues and grid say of them"
    advice = "Switches of RDMA have switch_buffer_bytes, and mark by ecn_min_bytes."
    return [Tally(what=what, n=n, of=n, max_share=1.0, advice=advice)]


def topology_of(config: ScenarioConfig, point: Point | None = None) -> Topology:
    """The topology of an experiment, as a point of a grid has it."""
    asked = config.topology
    cables = _cables(config)
    for key, value in (point or {}).items():
        head, _, rest = key.partition(".")
        if head == "cable":
            _change_cables(asked.kind, cables, rest, value)
    if asked.kind in SHAPES:
        topology = built(asked.kind, asked.counts, cables, asked.oversubscription)
    else:
        topology = _read(config, cables).topology
    return _with_queues(config, topology, point or {})


def _cables(config: ScenarioConfig) -> Cables:
    """The cables of a config by their names, and what is said of each."""
    return [
        (cable.name, {k: v for k in CABLE_KEYS if (v := getattr(cable, k)) is not None})
        for cable in config.topology.cables
    ]


def _change_cables(shape: str, cables: Cables, rest: str, value: Any) -> None:
    """Change a key of all cables of a name, or add one."""
    name, _, key = rest.partition(".")
    known: Collection[str] = RUN_CABLES if shape == RUN else ()
    if shape in SHAPES:
        known = SHAPES[shape].cables
    if name not in known or key not in CABLE_KEYS:
        message = f"grid has cable.{rest}, which {shape} does not have"
        hint = f"cables: {', '.join(known) or 'none'}; keys: {', '.join(CABLE_KEYS)}"
        raise ConfigError(message, hint)
    mine = [of for cable, of in cables if cable == name]
    if not mine:
        cables.append((name, {key: float(value)}))
    for of in mine:
        of[key] = float(value)


def _read(config: ScenarioConfig, cables: Cables | None = None) -> FoundTopology:
    """The topology of a file or a run; a MidhaulError if it cannot be read."""
    file = config.topology.file
    if file is None:
        raise AssertionError  # the config has seen to it
    if config.topology.kind == RUN:
        return topology_of_run(file, _cables(config) if cables is None else cables)
    if file.suffix not in _READERS:
        message = f"expected a topology as {', '.join(_READERS)}, found {file.name}"
        raise ConfigError(message)
    return _READERS[file.suffix](file)


def _with_queues(config: ScenarioConfig, topology: Topology, point: Point) -> Topology:
    """The topology with the queues of the config, and what a point says of all."""
    changes = {
        key.partition(".")[2]: value
        for key, value in point.items()
        if key.startswith("queue.")
    }
    links = list(topology.links)
    for asked in config.queues:
        queue = value_of(LinkQueue, asked)
        fitting = [i for i, x in enumerate(links) if fnmatchcase(x.name, asked.links)]
        if not fitting:
            message = f"no link fits the pattern {asked.links!r} of a queue"
            raise ConfigError(message, f"links are called like {links[0].name}")
        for i in fitting:
            links[i] = replace(links[i], queue=queue)
    if changes:
        links = [replace(x, queue=replace(x.queue, **changes)) for x in links]
    return replace(topology, links=tuple(links))


def transport_of(asked: TransportConfig) -> Transport:
    """The transport of a config."""
    known = TRANSPORTS[asked.kind]
    if isinstance(known, TcpTransport):
        return value_of(TcpTransport, asked.tcp, congestion=known.congestion)
    return value_of(type(known), asked.rdma, congestion=known.congestion)


def routes_of(config: ScenarioConfig, topology: Topology, flows: Flows) -> Routes:
    """The way of each flow; ConfigError if one has none."""
    asked = config.routing
    weights = asked.weights
    if weights == "file":
        found = _read(config).weights if config.topology.file is not None else None
        if found is None:
            message = "the topology says nothing of weights"
            raise ConfigError(message, "routing.weights may be hops, delay, …")
        weights = found
    if asked.kind == "ecmp":
        return ecmp(topology, flows, weights=weights, seed=config.seed)
    return over_k_paths(topology, flows, asked.k, weights=weights, seed=config.seed)


def flows_of(config: ScenarioConfig, topology: Topology) -> Drawn:
    """All flows of an experiment, and what was left out of them."""
    labels = [one.label for one in config.transports]
    parts: list[Flows] = []
    tallies: list[Tally] = []
    for number, asked in enumerate(config.flows):
        index = labels.index(asked.transport or labels[0])
        drawn = class_of_flows(
            asked,
            topology,
            transport_of(config.transports[index]),
            [config.seed, 51, number],
            lambda flows: routes_of(config, topology, flows),
        )
        tallies += drawn.tallies
        several = len(drawn.flows.labels) > 1  # a file names classes of its own
        parts.append(
            replace(
                drawn.flows,
                transport=np.full(len(drawn.flows), index, np.int64),
                labels=drawn.flows.labels if several else (asked.name,),
            )
        )
    free = [flows for flows in parts if not flows.waits]
    bound = [flows for flows in parts if flows.waits]
    first = [by_start(join_flows(free))] if free else []
    return join_flows([*first, *bound]), tuple(tallies)


def _watched(config: ScenarioConfig, flows: Flows, simulator: str) -> tuple[int, ...]:
    """The flows that are named, and some more, from the median size to the largest.

    Where it takes another kernel, or there are no timelines, those that are named only.
    """
    n = len(flows)
    for flow in config.watched:
        if not 0 <= flow < n:
            message = f"watched names flow {flow}, and there are {n:,}"
            raise ConfigError(message, f"flows have the numbers 0 to {n - 1}")
    n_more = config.n_watched if simulator in _WATCHED_UNASKED else 0
    order = np.argsort(flows.size_bytes, kind="stable")
    shares = np.linspace(0.5, 1.0, n_more)
    more = order[np.round(shares * (n - 1)).astype(int)].tolist() if n else []
    return tuple(dict.fromkeys((*config.watched, *more)))


def _sample_ns(config: ScenarioConfig, flows: Flows, simulator: str) -> int:
    """How often queues are looked at; a judge that cannot is asked only if told."""
    if config.sample_s is not None:
        return round(config.sample_s * 1e9)
    if simulator not in WITH_SAMPLES:
        return 0
    span = int(flows.start_ns.max(initial=0))
    if config.until_s is not None:
        span = min(span, round(config.until_s * 1e9))
    return max(span // _N_SAMPLES, 10_000)


def _loads(
    topology: Topology,
    flows: Flows,
    routes: Routes,
    transports: Sequence[Transport],
) -> tuple[Float64[np.ndarray, " m"] | None, tuple[Tally, ...]]:
    """Load over rate of each link while flows start, and links that have too much."""
    span = int(flows.start_ns.max(initial=0)) - int(flows.start_ns.min(initial=0))
    if flows.waits or len(flows) < _FEW_FLOWS or not span:
        return None, ()
    found = link_loads(topology, flows, routes, transports, horizon_ns=span)
    n_flows = np.bincount(routes.links, minlength=len(topology.links))
    judged = replace(found, load=np.where(n_flows >= _FEW_FLOWS, found.load, 0.0))
    return found.load, (judged.tally,)
