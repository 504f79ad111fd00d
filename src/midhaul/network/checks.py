"""The conformance suite of simulators of a network, ours or a stranger's.

Small problems whose answers are known, or bounded by what no network can do; and what
every experiment relies on: equal seeds give equal bits, slices do not matter, what was
cut off and goes on ends like what was not, and what cannot be simulated is refused.
"""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import ConfigError, DataError
from midhaul.model import Flows, Link, LinkQueue, Topology
from midhaul.network.problem import NetworkProblem, Routes, link_table
from midhaul.network.simulator import UNFINISHED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from midhaul.network.simulator import FlowResults, Simulator
    from midhaul.network.transports import Transport

_MANY = 10**12
_FEW_SLICES = 40
_PER_FLOW = (
    "start_ns",
    "fct_ns",
    "ideal_fct_ns",
    "n_retransmitted",
    "n_marked",
    "busiest_link",
)
_PER_LINK = (
    "n_bytes",
    "busy_ns",
    "n_dropped",
    "n_marked",
    "paused_ns",
    "max_queue_bytes",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorClaims:
    """What a simulator promises, so that it is held to no more and no less.

    Attributes:
        max_lone_slowdown: of a flow that is alone; 1 where the closed form of its ideal
            completion time is what the simulator computes.
        has_waiting: true where flows may wait for others.
        has_samples: true where queues are looked at over time.
        is_repeatable: true where equal seeds give equal bits; false for what measures.
        busy_slack: by how much, as a share, the time that links are busy may differ
            from their bytes over their rates.
    """

    max_lone_slowdown: float = 1.0 + 1e-6
    has_waiting: bool = True
    has_samples: bool = True
    is_repeatable: bool = True
    busy_slack: float = 0.01


def check_simulator(
    simulator: Simulator,
    transport: Transport,
    *,
    claims: SimulatorClaims | None = None,
    refused: Sequence[NetworkProblem] = (),
    rate_bps: float = 1e9,
    delay_s: float = 20e-6,
    seed: int = 0,
) -> None:
    """Hold a simulator to what experiments expect of it.

    Args:
        simulator: the simulator.
        transport: one that it knows; all flows have it.
        claims: what it promises.
        refused: problems that it must not simulate, such as ones with a queue that it
            does not know.
        rate_bps: of the links of the problems.
        delay_s: of each of them.
        seed: of the problems.

    Raises:
        ValueError: it says what does not hold.
    """
    claims = claims or SimulatorClaims()
    _check(bool(simulator.name), "a simulator needs a name")
    for name, problem in check_problems(transport, rate_bps, delay_s, seed):
        if problem.flows.waits and not claims.has_waiting:
            _check_refused(simulator, problem, name)
            continue
        if problem.sample_ns and not claims.has_samples:
            continue
        found = _all_of(simulator, problem)
        _check_shapes(problem, found, name)
        _check_physics(problem, found, claims, name)
        _check_waiting(problem, found, name)
        if name == "one flow":
            slowdown = float(found.slowdown[0])
            said = f"{name}: slowdown {slowdown}, at most {claims.max_lone_slowdown}"
            _check(1 - 1e-9 <= slowdown <= claims.max_lone_slowdown, said)
        if claims.is_repeatable and len(problem.flows):
            _check_repeated(simulator, problem, found, name)
            _check_resumed(simulator, problem, found, name)
    _check_cut_off(simulator, transport, rate_bps, delay_s)
    base = _base(transport, rate_bps, delay_s, seed)
    stopped = tuple(replace(link, rate_bps=0.0) for link in base.topology.links)
    still = replace(base, topology=replace(base.topology, links=stopped))
    for number, problem in enumerate((still, *refused)):
        _check_refused(simulator, problem, f"refused problem {number}")


def check_problems(
    transport: Transport, rate_bps: float = 1e9, delay_s: float = 20e-6, seed: int = 0
) -> Iterator[tuple[str, NetworkProblem]]:
    """Problems that every simulator must answer, by name."""
    base = _base(transport, rate_bps, delay_s, seed)
    yield "many flows", base
    yield "no flow", _of(base, np.zeros(0, np.int64))
    yield "one flow", _of(base, np.array([0]))
    yield "in another order", _of(base, np.arange(len(base.flows))[::-1].copy())
    yield "with queues looked at", replace(base, sample_ns=100_000)
    yield "with flows watched", replace(base, watched=(0, 1))
    one_byte = replace(base.flows, size_bytes=np.ones(len(base.flows), np.int64))
    yield "of one byte", replace(base, flows=one_byte)
    at_once = replace(base.flows, start_ns=np.zeros(len(base.flows), np.int64))
    yield "all at once", replace(base, flows=at_once)
    yield "one after the other", replace(base, flows=_chained(base.flows))


def _base(
    transport: Transport, rate_bps: float, delay_s: float, seed: int
) -> NetworkProblem:
    """Four hosts at a switch, and a second switch with two more behind it."""
    hosts = tuple(f"h{i}" for i in range(6))
    queue = LinkQueue(max_packets=1000)
    pairs = [(host, "a" if i < 4 else "b") for i, host in enumerate(hosts)]  # noqa: PLR2004
    pairs.append(("a", "b"))
    ways = [way for a, b in pairs for way in ((a, b), (b, a))]
    links = tuple(
        Link(source=a, target=b, rate_bps=rate_bps, delay_s=delay_s, queue=queue)
        for a, b in ways
    )
    topology = Topology(nodes=(*hosts, "a", "b"), links=links, hosts=hosts)
    rng = np.random.default_rng(seed)
    n = 24
    source = rng.integers(0, 6, n).astype(np.int32)
    target = ((source + 1 + rng.integers(0, 5, n)) % 6).astype(np.int32)
    size = rng.integers(200, 200_000, n)
    packets_ns = 8e9 * float(size.mean()) / rate_bps
    start = np.sort(rng.exponential(packets_ns, n).cumsum()).astype(np.int64)
    flows = Flows(source=source, target=target, size_bytes=size, start_ns=start)
    return NetworkProblem(
        topology=topology,
        flows=flows,
        routes=_routes(topology, flows),
        transports=(transport,),
        seed=seed,
    )


def _routes(topology: Topology, flows: Flows) -> Routes:
    """The only way there is between the hosts of ``_base``."""
    index = {(x.source, x.target): i for i, x in enumerate(topology.links)}
    at = {host: "a" if i < 4 else "b" for i, host in enumerate(topology.hosts)}  # noqa: PLR2004
    ways: list[list[int]] = []
    for s, t in zip(flows.source.tolist(), flows.target.tolist(), strict=True):
        one, other = topology.nodes[s], topology.nodes[t]
        steps = [one, at[one], at[other], other]
        hops = list(itertools.pairwise(steps))
        ways.append([index[hop] for hop in hops if hop[0] != hop[1]])
    counts = np.array([0, *map(len, ways)], np.int64)
    links = np.array([link for way in ways for link in way], np.int32)
    return Routes(offsets=counts.cumsum(), links=links)


def _of(problem: NetworkProblem, which: np.ndarray) -> NetworkProblem:
    """The same with some of its flows, in an order."""
    flows = problem.flows.take(which)
    return replace(problem, flows=flows, routes=_routes(problem.topology, flows))


def _chained(flows: Flows) -> Flows:
    """Each flow waits for the one before it, and 1 µs longer."""
    n = len(flows)
    return replace(
        flows,
        start_ns=np.full(n, 1000, np.int64),
        after_offsets=np.array([0, *range(n)], np.int64),
        after=np.arange(n - 1, dtype=np.int64),
    )


def _all_of(simulator: Simulator, problem: NetworkProblem) -> FlowResults:
    """To the end in one go."""
    simulation = simulator.begin(problem)
    while not simulation.advance(_MANY):
        pass
    share = simulation.share_done
    _check(share == 1, f"{simulator.name}: at the end {share} of the work is done")
    return simulation.results()


def _check_shapes(problem: NetworkProblem, found: FlowResults, where: str) -> None:
    n, m = len(problem.flows), len(problem.topology.links)
    for name in _PER_FLOW:
        shape = getattr(found, name).shape
        _check(shape == (n,), f"{where}: {name} has shape {shape}, not {(n,)}")
    for name in _PER_LINK:
        shape = getattr(found.links, name).shape
        _check(shape == (m,), f"{where}: links' {name} has shape {shape}, not {(m,)}")
    s = len(found.links.samples_ns)
    shape = found.links.samples_bytes.shape
    _check(shape == (s, m), f"{where}: samples_bytes has shape {shape}, not {(s, m)}")
    _check(bool(problem.sample_ns) == bool(s) or n == 0, f"{where}: {s} samples")
    if found.timeline is not None:
        seen = set(found.timeline.flow.tolist())
        _check(seen <= set(problem.watched), f"{where}: the timeline has flows {seen}")


def _check_physics(
    problem: NetworkProblem, found: FlowResults, claims: SimulatorClaims, where: str
) -> None:
    """Nothing is faster than light, nothing gets lost, no link carries too much."""
    table, flows, routes = link_table(problem.topology), problem.flows, problem.routes
    ended = found.fct_ns != UNFINISHED
    _check(bool(ended.all()), f"{where}: flows {np.flatnonzero(~ended)} did not end")
    least = np.zeros(len(table.source), np.float64)
    may_carry = np.zeros(len(table.source), np.bool_)
    for i in range(len(flows)):
        way = routes.of(i)
        rate = float(table.rate_bps[way].min())
        bound_ns = 8e9 * flows.size_bytes[i] / rate + table.delay_ns[way].sum()
        took, ideal = int(found.fct_ns[i]), int(found.ideal_fct_ns[i])
        said = f"{where}: flow {i} took {took} ns, and {bound_ns:.1f} are the least"
        _check(took >= bound_ns - 1, said)
        said = f"{where}: flow {i} took {took} ns, less than its ideal {ideal}"
        _check(took >= ideal * (1 - 1e-9) - 1, said)
        said = f"{where}: the busiest link of flow {i} is not on its way"
        _check(int(found.busiest_link[i]) in way, said)
        least[way] += flows.size_bytes[i]
        may_carry[way] = True
        may_carry[table.reverse[way]] = True
    carried = found.links.n_bytes
    few = np.flatnonzero(carried < least - 0.5 * len(flows))
    _check(not len(few), f"{where}: links {few} carried less than they were sent")
    odd = np.flatnonzero((carried > 0) & ~may_carry)
    _check(not len(odd), f"{where}: links {odd} carried what nobody sent")
    busy_ns = 8e9 * carried / table.rate_bps
    slack = claims.busy_slack * busy_ns + 1000 * len(flows)
    off = np.flatnonzero(np.abs(found.links.busy_ns - busy_ns) > slack)
    _check(not len(off), f"{where}: links {off} were busy for another time")
    if len(flows):
        last = int((found.start_ns + found.fct_ns).max())
        _check(found.end_ns >= last, f"{where}: it stopped before the last flow ended")


def _check_waiting(problem: NetworkProblem, found: FlowResults, where: str) -> None:
    flows = problem.flows
    expected = flows.start_ns.copy()
    ends = found.start_ns + found.fct_ns
    if flows.waits:
        for i in range(len(flows)):
            before = flows.after[flows.after_offsets[i] : flows.after_offsets[i + 1]]
            expected[i] += ends[before].max() if len(before) else 0
    off = np.flatnonzero(found.start_ns != expected)
    _check(not len(off), f"{where}: flows {off} started at other times than they could")


def _check_repeated(
    simulator: Simulator, problem: NetworkProblem, found: FlowResults, where: str
) -> None:
    """Once more, in small slices."""
    n_slice = max(1, found.n_events // _FEW_SLICES)
    simulation = simulator.begin(problem)
    share = simulation.share_done
    is_done = False
    while not is_done:
        is_done = simulation.advance(n_slice)
        before, share = share, simulation.share_done
        said = f"{where}: the share that is done goes from {before} to {share}"
        _check(0 <= before <= share + 1e-9 <= 1 + 1e-6, said)
    _check_equal(found, simulation.results(), f"{where}, in slices")


def _check_resumed(
    simulator: Simulator, problem: NetworkProblem, found: FlowResults, where: str
) -> None:
    """From a state, as a run that was killed goes on."""
    simulation = simulator.begin(problem)
    is_done = simulation.advance(max(1, found.n_events // 3))
    state = simulation.state()
    if state is None:
        return
    kept = copy.deepcopy(dict(state))
    while not is_done:
        is_done = simulation.advance(_MANY)
    for name, values in kept.items():
        same = np.asarray(values).tobytes() == np.asarray(state[name]).tobytes()
        _check(same, f"{where}: the state's {name} changes as the simulation goes on")
    again = simulator.begin(problem, kept)
    while not again.advance(_MANY):
        pass
    _check_equal(found, again.results(), f"{where}, resumed")
    larger = replace(problem.flows, size_bytes=problem.flows.size_bytes + 1)
    other = replace(problem, seed=problem.seed + 1, flows=larger)
    try:
        simulator.begin(other, kept)
    except DataError:
        return
    message = f"{where}: the state of another problem must be a DataError"
    raise ValueError(message)


def _check_cut_off(
    simulator: Simulator, transport: Transport, rate_bps: float, delay_s: float
) -> None:
    """A time at which to stop leaves the flows that have not ended open."""
    base = _base(transport, rate_bps, delay_s, 0)
    until_ns = int(np.median(base.flows.start_ns)) + 1
    found = _all_of(simulator, replace(base, until_ns=until_ns))
    said = f"told to stop at {until_ns} ns it stopped at {found.end_ns}"
    _check(found.end_ns <= until_ns, said)
    ended = found.fct_ns != UNFINISHED
    _check(not ended.all(), "flows ended that began after the simulation did")
    ends = (found.start_ns + found.fct_ns)[ended]
    _check(bool((ends <= until_ns).all()), "flows ended after the simulation did")


def _check_refused(simulator: Simulator, problem: NetworkProblem, where: str) -> None:
    try:
        simulation = simulator.begin(problem)
        simulation.advance(1)
    except (ConfigError, DataError):
        return
    message = f"{where}: it must be refused with a ConfigError or a DataError"
    raise ValueError(message)


def _check_equal(first: FlowResults, second: FlowResults, where: str) -> None:
    for name in _PER_FLOW:
        is_equal = np.array_equal(getattr(first, name), getattr(second, name))
        _check(is_equal, f"{where}: {name} differs")
    for name in (*_PER_LINK, "samples_ns", "samples_bytes"):
        is_equal = np.array_equal(
            getattr(first.links, name), getattr(second.links, name)
        )
        _check(is_equal, f"{where}: the links' {name} differs")
    ends = (first.end_ns, second.end_ns)
    _check(ends[0] == ends[1], f"{where}: it stopped at {ends[1]}, not {ends[0]}")


def _check(holds: bool, message: str) -> None:  # noqa: FBT001  as an assertion
    if not holds:
        raise ValueError(message)
