"""Small networks for the tests of fluid: topologies with routes, and what is true."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import strategies as st

from midhaul.model import Flows, Link, Topology
from midhaul.network import NetworkProblem, RdmaTransport, Routes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midhaul.network.fluid import FluidSimulation

RDMA = RdmaTransport(congestion="dctcp")
HEADER_BYTES, MTU_BYTES = 48, 1000


def flows_of(
    ends: Sequence[tuple[int, int]],
    sizes: Sequence[int],
    starts: Sequence[int],
    after: Sequence[Sequence[int]] = (),
) -> Flows:
    """Flows of plain numbers."""
    offsets = np.cumsum([0, *(len(one) for one in after)]) if after else []
    return Flows(
        source=np.array([a for a, _ in ends], np.int32),
        target=np.array([b for _, b in ends], np.int32),
        size_bytes=np.array(sizes, np.int64),
        start_ns=np.array(starts, np.int64),
        after_offsets=np.array(offsets, np.int64),
        after=np.array([x for one in after for x in one], np.int64),
    )


def routes_of(paths: Sequence[Sequence[int]]) -> Routes:
    """Routes of plain numbers."""
    return Routes(
        offsets=np.cumsum([0, *(len(path) for path in paths)]).astype(np.int64),
        links=np.array([x for path in paths for x in path], np.int32),
    )


def line(rates_bps: Sequence[float], **link: object) -> Topology:
    """Nodes in a row; link ``i`` leads from node ``i`` to the next.

    There is a link back for each, behind them.
    """
    names = [f"n{i}" for i in range(len(rates_bps) + 1)]
    there = [
        Link(source=a, target=b, rate_bps=rate, **link)  # type: ignore[arg-type]
        for a, b, rate in zip(names, names[1:], rates_bps, strict=False)
    ]
    back = [Link(source=x.target, target=x.source, rate_bps=x.rate_bps) for x in there]
    return Topology(nodes=tuple(names), links=(*there, *back))


def on_a_line(
    rates_bps: Sequence[float],
    ends: Sequence[tuple[int, int]],
    sizes: Sequence[int],
    starts: Sequence[int] | None = None,
    *,
    after: Sequence[Sequence[int]] = (),
    topology: Topology | None = None,
    transport: RdmaTransport = RDMA,
    **more: object,
) -> NetworkProblem:
    """Flows on nodes in a row, each from a node to a later one."""
    starts = starts if starts is not None else [0] * len(ends)
    return NetworkProblem(
        topology=topology or line(rates_bps),
        flows=flows_of(ends, sizes, starts, after),
        routes=routes_of([range(a, b) for a, b in ends]),
        transports=(transport,),
        **more,  # type: ignore[arg-type]
    )


def wire_bytes(size_bytes: np.ndarray) -> np.ndarray:
    """Payload with a header for each packet that was begun."""
    return size_bytes + HEADER_BYTES * -(-size_bytes // MTU_BYTES)


@st.composite
def problems(draw: st.DrawFn, *, most_flows: int = 24) -> NetworkProblem:
    """Random flows on random routes of random graphs; some wait for others."""
    n_nodes = draw(st.integers(2, 7))
    pairs = [(a, b) for a in range(n_nodes) for b in range(n_nodes) if a != b]
    chosen = draw(
        st.lists(st.sampled_from(pairs), min_size=1, max_size=12, unique=True)
    )
    rates = draw(
        st.lists(
            st.sampled_from([1e9, 2e9, 2.5e9, 10e9]),
            min_size=len(chosen),
            max_size=len(chosen),
        )
    )
    names = [f"n{i}" for i in range(n_nodes)]
    topology = Topology(
        nodes=tuple(names),
        links=tuple(
            Link(source=names[a], target=names[b], rate_bps=rate, delay_s=1e-6)
            for (a, b), rate in zip(chosen, rates, strict=True)
        ),
    )
    n = draw(st.integers(1, most_flows))
    paths: list[list[int]] = []
    for _ in range(n):
        path = [draw(st.integers(0, len(chosen) - 1))]
        while len(path) < draw(st.integers(1, 5)):
            at = chosen[path[-1]][1]
            seen = {chosen[x][0] for x in path} | {at}
            onward = [i for i, (a, b) in enumerate(chosen) if a == at and b not in seen]
            if not onward:
                break
            path.append(draw(st.sampled_from(onward)))
        paths.append(path)
    numbers = st.lists(st.integers(1, 20_000), min_size=n, max_size=n)
    starts = st.lists(
        st.sampled_from([0, 0, 500, 3_000, 3_001]), min_size=n, max_size=n
    )
    after = [
        draw(st.lists(st.integers(0, i - 1), max_size=2, unique=True))
        if i and draw(st.integers(0, 4)) == 0
        else []
        for i in range(n)
    ]
    ends = [(chosen[path[0]][0], chosen[path[-1]][1]) for path in paths]
    return NetworkProblem(
        topology=topology,
        flows=flows_of(ends, draw(numbers), draw(starts), after),
        routes=routes_of(paths),
        transports=(RDMA,),
    )


def rates_now(simulation: FluidSimulation) -> tuple[np.ndarray, np.ndarray]:
    """Flows of each class, and bytes per nanosecond that each of these has."""
    if simulation._paths is not None:
        return simulation._paths.flows.copy(), simulation._paths.rates.copy()
    assert simulation._graph is not None
    graph = simulation._graph
    return graph.classes[:, 0].astype(float), graph.moving[:, 2].copy()


def assert_max_min_fair(simulation: FluidSimulation) -> None:
    """No link carries too much, and each flow has a full link on which none has more.

    That is what max-min fair means (Bertsekas and Gallager, section 6.5.2).
    """
    given = simulation._load.given
    counts, rates = rates_now(simulation)
    active = np.flatnonzero(counts)
    assert (rates[active] > 0).all()
    loads = np.zeros(len(given.capacity))
    most = np.zeros(len(given.capacity))
    for one in active:
        route = given.route_links[
            given.route_offsets[one] : given.route_offsets[one + 1]
        ]
        loads[route] += counts[one] * rates[one]
        most[route] = np.maximum(most[route], rates[one])
    assert (loads <= given.capacity * (1 + 1e-9)).all()
    is_full = loads >= given.capacity * (1 - 1e-9)
    for one in active:
        route = given.route_links[
            given.route_offsets[one] : given.route_offsets[one + 1]
        ]
        assert (is_full[route] & (rates[one] >= most[route] * (1 - 1e-9))).any()
