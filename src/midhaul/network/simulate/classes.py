"""Flows of one class, as a config asks for them."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from midhaul.errors import ConfigError
from midhaul.model import Flows, Tally
from midhaul.network.problem import MOST_S
from midhaul.network.simulate.from_run import flows_of_run
from midhaul.network.topology.wiring import racks
from midhaul.network.workload import arrivals as laws
from midhaul.network.workload import sizes
from midhaul.network.workload.collectives import all_to_all, incast, ring_all_reduce
from midhaul.network.workload.drawn import link_loads
from midhaul.network.workload.edge import (
    CameraUpload,
    ImagePull,
    camera_uploads,
    image_pulls,
)
from midhaul.network.workload.files import (
    FoundFlows,
    read_flows,
    read_matrix,
    read_sizes,
    read_starts,
)
from midhaul.network.workload.matrices import (
    TrafficMatrix,
    by_groups,
    gravity,
    uniform,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jaxtyping import Int32

    from midhaul.model import Topology
    from midhaul.network.problem import Routes
    from midhaul.network.simulate.config import (
        FlowArrivalsConfig,
        FlowsConfig,
        SizesConfig,
    )
    from midhaul.network.transports import Transport

    Route = Callable[[Flows], Routes]

_USUAL_BYTES = 100_000.0
_USUAL_LOAD = 0.5
_USUAL_FLOWS = 2000
_USUAL_S = 10.0
_N_PILOT = 2000
_MOST_FLOWS = 50_000_000
_PER_MILLE = 1000


def class_of_flows(
    asked: FlowsConfig,
    topology: Topology,
    transport: Transport,
    seed: Sequence[int],
    route: Route,
) -> FoundFlows:
    """The flows of one class, and what was left out; headers of its transport count.

    MidhaulError if a pattern fits no host, a law cannot be, or a file cannot be read.
    """
    if asked.kind == "drawn":
        return _drawn(asked, topology, transport, seed, route)
    if asked.kind in {"file", "run"}:
        if asked.file is None:
            raise AssertionError  # the config has seen to it
        if asked.kind == "file":
            return read_flows(asked.file, topology)
        return flows_of_run(
            asked.file,
            topology,
            configuration=asked.configuration,
            name=asked.name,
            rate_hz=asked.rate_hz,
            duration_s=asked.duration_s,
            n_parallel=asked.n_parallel,
            seed=_one_seed(seed),
        )
    if asked.kind == "cameras":
        return FoundFlows(flows=_cameras(asked, topology, seed))
    if asked.kind == "pulls":
        return FoundFlows(flows=_pulls(asked, topology, seed))
    return FoundFlows(flows=_collective(asked, topology))


def hosts_like(topology: Topology, pattern: str) -> Int32[np.ndarray, " n"]:
    """The hosts whose names fit a pattern; ConfigError if there is none."""
    hosts = topology.hosts or topology.nodes
    index = {name: i for i, name in enumerate(topology.nodes)}
    found = [index[name] for name in hosts if fnmatchcase(name, pattern)]
    if not found:
        message = f"no host fits the pattern {pattern!r}"
        raise ConfigError(message, f"hosts are called like {', '.join(hosts[:3])}")
    return np.array(found, np.int32)


def _one_host(topology: Topology, pattern: str, what: str) -> int:
    found = hosts_like(topology, pattern)
    if len(found) > 1:
        message = f"{what} must be one host, found {len(found)} that fit {pattern!r}"
        raise ConfigError(message, "give its name")
    return int(found[0])


def _matrix(
    asked: FlowsConfig, topology: Topology
) -> tuple[TrafficMatrix, tuple[Tally, ...]]:
    """Who sends to whom: each source to each target, nobody to itself."""
    if asked.matrix is not None:
        matrix, left_out = by_groups(racks(topology), read_matrix(asked.matrix))
        tally = Tally(
            what="thousandths of the weight of the matrix are of a rack of one host to "
            "itself and left out",
            n=min(_PER_MILLE, round(_PER_MILLE * left_out)),
            of=_PER_MILLE,
            max_share=1.0,
            advice="Give each rack two hosts.",
        )
        return matrix, (tally,)
    sources = hosts_like(topology, asked.sources)
    targets = hosts_like(topology, asked.targets)
    if np.array_equal(sources, targets):
        return uniform(sources), ()
    if not len(np.intersect1d(sources, targets)):
        weights = np.array([[0.0, 1.0], [0.0, 0.0]])
        return TrafficMatrix(groups=(sources, targets), weights=weights), ()
    both = np.union1d(sources, targets).astype(np.int32)
    sends = np.isin(both, sources).astype(np.float64)
    return gravity(both, sends, np.isin(both, targets).astype(np.float64)), ()


def _drawn(
    asked: FlowsConfig,
    topology: Topology,
    transport: Transport,
    seed: Sequence[int],
    route: Route,
) -> FoundFlows:
    matrix, tallies = _matrix(asked, topology)
    law, arrivals = size_law(asked.sizes), arrival_law(asked.arrivals)

    def drawn(n: int) -> Flows:
        source, target = matrix.draw(np.random.default_rng([*seed, 0]), n)
        size = law.draw(np.random.default_rng([*seed, 1]), n)
        start = np.zeros(n, np.int64)
        return Flows(source=source, target=target, size_bytes=size, start_ns=start)

    def horizon_s(flows: Flows, load: float) -> float:
        loads = link_loads(
            topology, flows, route(flows), [transport], horizon_ns=1_000_000_000
        )
        return float(loads.load.max(initial=0.0)) / load

    n = asked.n_flows
    if n is None and isinstance(arrivals, laws.TraceArrivals):
        n = len(arrivals.start_ns)
    if asked.rate_hz is not None:
        n = n or round(asked.rate_hz * (asked.duration_s or _USUAL_S))
        flows = drawn(_bounded(n, asked))
        span_s = asked.duration_s or n / asked.rate_hz
    else:
        load = asked.load or _USUAL_LOAD
        if asked.duration_s is not None and n is None:
            pilot_s = horizon_s(drawn(_N_PILOT), load)
            n = round(_N_PILOT * asked.duration_s / max(pilot_s, 1e-12))
        flows = drawn(_bounded(n or _USUAL_FLOWS, asked))
        span_s = asked.duration_s or horizon_s(flows, load)
    if not span_s <= MOST_S:
        message = (
            f"flows {asked.name!r} would start over {span_s:.3g} s, expected "
            f"{MOST_S:,} s at most"
        )
        hint = "fewer or smaller flows, faster links, or a higher load or rate_hz"
        raise ConfigError(message, hint)
    starts = arrivals.draw(
        np.random.default_rng([*seed, 2]), len(flows), max(1, round(span_s * 1e9))
    )
    begin_ns = round(asked.begins_s * 1e9)
    return FoundFlows(flows=replace(flows, start_ns=begin_ns + starts), tallies=tallies)


def _bounded(n: int, asked: FlowsConfig) -> int:
    if 1 <= n <= _MOST_FLOWS:
        return n
    message = f"flows {asked.name!r} are to be {n:,}, expected 1 to {_MOST_FLOWS:,}"
    raise ConfigError(message, "another n_flows, duration_s, load or rate_hz")


def _cameras(asked: FlowsConfig, topology: Topology, seed: Sequence[int]) -> Flows:
    """Frames of cameras at every source, to one target."""
    target = topology.nodes[_one_host(topology, asked.targets, "targets of cameras")]
    cameras = [
        CameraUpload(
            source=topology.nodes[source],
            target=target,
            frame_hz=asked.rate_hz or 1.0,
            sizes=size_law(asked.sizes),
            n_cameras=asked.n_cameras,
            jitter_s=asked.jitter_s,
            label=asked.name,
        )
        for source in hosts_like(topology, asked.sources).tolist()
    ]
    flows = camera_uploads(
        topology,
        cameras,
        horizon_s=asked.duration_s or _USUAL_S,
        seed=_one_seed(seed),
    )
    return replace(flows, start_ns=flows.start_ns + round(asked.begins_s * 1e9))


def _one_seed(seed: Sequence[int]) -> int:
    return int(np.random.default_rng(list(seed)).integers(1 << 31))


def _pulls(asked: FlowsConfig, topology: Topology, seed: Sequence[int]) -> Flows:
    """A container image for every target, each at a time of its own."""
    source = topology.nodes[_one_host(topology, asked.sources, "sources of pulls")]
    targets = hosts_like(topology, asked.targets)
    rng = np.random.default_rng(list(seed))
    starts = asked.begins_s + rng.random(len(targets)) * (asked.duration_s or 0.0)
    pulls = [
        ImagePull(
            source=source,
            target=topology.nodes[target],
            start_s=start,
            layers_bytes=asked.layers_bytes,
            n_parallel=asked.n_parallel,
            label=asked.name,
        )
        for target, start in zip(targets.tolist(), starts.tolist(), strict=True)
    ]
    return image_pulls(topology, pulls)


def _collective(asked: FlowsConfig, topology: Topology) -> Flows:
    """Rounds of a collective among the sources, or to one target."""
    senders = hosts_like(topology, asked.sources)
    start_ns, gap_ns = round(asked.begins_s * 1e9), round(asked.gap_s * 1e9)
    n_rounds = asked.n_flows or 1
    if asked.kind == "all-to-all":
        return all_to_all(senders, asked.size_bytes, start_ns=start_ns)
    if asked.kind == "all-reduce":
        return ring_all_reduce(
            senders,
            asked.size_bytes,
            n_rounds=n_rounds,
            gap_ns=gap_ns,
            start_ns=start_ns,
        )
    receiver = _one_host(topology, asked.targets, "targets of an incast")
    others = senders[senders != receiver]
    return incast(
        others,
        receiver,
        asked.size_bytes,
        n_rounds=n_rounds,
        gap_ns=gap_ns,
        start_ns=start_ns,
    )


def size_law(asked: SizesConfig) -> sizes.SizeLaw:
    """The law of sizes of a config."""
    mean = asked.mean_bytes or _USUAL_BYTES
    drawn: dict[str, Callable[[], sizes.SizeLaw]] = {
        "fixed": lambda: sizes.FixedSize(mean_bytes=mean),
        "exponential": lambda: sizes.ExponentialSize(mean_bytes=mean),
        "lognormal": lambda: sizes.LognormalSize(mean_bytes=mean, sigma=asked.sigma),
        "pareto": lambda: sizes.ParetoSize(mean_bytes=mean, shape=asked.shape),
        "gaussian": lambda: sizes.GaussianSize(
            mean_bytes=mean, deviation_bytes=asked.deviation_bytes
        ),
    }
    if asked.kind in drawn:
        return drawn[asked.kind]()
    if asked.kind == "file":
        if asked.file is None:
            raise AssertionError  # the config has seen to it
        found = read_sizes(asked.file)
    else:
        found = sizes.published_sizes(cast("Any", asked.kind))
    if asked.mean_bytes is None:
        return found
    factor = asked.mean_bytes / found.mean_bytes
    return sizes.EmpiricalSize(size_bytes=found.size_bytes * factor, share=found.share)


def arrival_law(asked: FlowArrivalsConfig) -> laws.FlowArrivals:
    """The law of arrivals of a config."""
    if asked.kind == "lognormal":
        return laws.LognormalArrivals(sigma=asked.sigma)
    if asked.kind == "on-off":
        return laws.OnOffArrivals(on_s=asked.on_s, off_s=asked.off_s)
    if asked.kind == "trace":
        if asked.file is None:
            raise AssertionError  # the config has seen to it
        return read_starts(asked.file)
    return laws.PoissonArrivals()
