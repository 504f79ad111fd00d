"""The law of training scenarios: paths, what crosses them, and how it is sent.

C. Li et al., "m3: Accurate Flow-Level Performance Estimation using Machine Learning",
SIGCOMM 2024, section 4, draws lines of hosts with flows between any two of them, sizes
of a few laws, lognormal arrivals and a handful of parameters. What is scaled by a
time here is scaled by the round trip, and what is scaled by bytes by what the slowest
link carries in one, as a path on which all times and rates are scaled alike does the
same.

Differences from m3:

1. 2 to 7 links of any rates and delays, in three patterns: a fabric (slow at both
   ends), an uplink (slow at first), and any.
2. RDMA and TCP, each with its parameters, queues, buffers and packet sizes.
3. Background comes from hosts with cards of their own, or over links that bound
   nothing, as all of m3's.
4. Arrivals are Poisson, lognormal, or lognormal ones of a larger network of which the
   path sees a part.
5. Whole groups of scenarios have names, so that training can leave them out and a test
   can be on them alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.model import Link, LinkQueue
from midhaul.network.corrector.drawn_flows import (
    PUBLISHED,
    crossing_flows,
    size_laws,
)
from midhaul.network.corrector.drawn_transports import (
    ScenarioAmount,
    bounded,
    loguniform,
    queues_of,
    rdma,
    tcp,
)
from midhaul.network.transports import TcpTransport, framing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float64

    from midhaul.network.decomposition.crossed import CrossedPath
    from midhaul.network.transports import Transport

LAW_VERSION = 2
"""Of what a seed gives; truth of another one belongs to other scenarios."""

RDMA_NAMES = ("dctcp", "dcqcn", "hpcc", "timely")
TCP_NAMES = ("newreno", "linux-reno", "cubic", "bbr", "tcp-dctcp")
NAMES = (*RDMA_NAMES, *TCP_NAMES)
"""Transports that are drawn, each as often."""

MIN_HOPS, MAX_HOPS = 2, 7
RATES_BPS = (20e6, 400e9)
RDMA_RATES_BPS = (1e9, 400e9)
ROUND_TRIPS_S = (5e-6, 0.1)
MOST_RDMA_ROUND_TRIP_S = 1e-3
LOADS = (0.1, 0.85)
_NICE_BPS = np.array([1, 2.5, 5, 10, 25, 40, 50, 100, 200, 400]) * 1e9
_SLOW_BPS = np.array([20e6, 50e6, 100e6, 200e6, 500e6])
_LEAST_PIPE, _MOST_PIPE_RDMA, _MOST_PIPE_TCP = 3e3, 2e6, 8e6

GROUPS = ("sizes", "hops", "load", "rate", "parameter")
"""What can be held out: published size laws; 5 links; a load above .75; a slowest link
of 20 to 45 Gbit/s or 80 to 220 Mbit/s; and for each transport a range of one of its
parameters, :data:`PARAMETER_RANGES`."""

HELD_OUT_HOPS = 5
HELD_OUT_LOAD = 0.75
HELD_OUT_BPS = ((20e9, 45e9), (80e6, 220e6))
PARAMETER_RANGES = {
    "dctcp": "threshold above the pipe",
    "dcqcn": "thresholds more than four-fold apart",
    "hpcc": "aim below 0.75",
    "timely": "low below 1.3 round trips",
    "newreno": "initial window above 25 segments",
    "linux-reno": "initial window above 25 segments",
    "cubic": "initial window above 25 segments",
    "bbr": "initial window above 25 segments",
    "tcp-dctcp": "threshold below an eighth of the pipe",
}
"""By transport; the pipe is what the slowest link carries in a round trip."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PathScenario:
    """A drawn path with what crosses it.

    Attributes:
        seed: what it was drawn of, with its number.
        number: which it is of that seed.
        name: of its transport.
        law: of the sizes of its foreground.
        load: of its busiest link.
        sigma: deviation of the logarithm of gaps; 0: Poisson.
        path: the path, its flows in the order of their starts.
        groups: those of :data:`GROUPS` that it belongs to.
        n_first: flows of which a short simulation is made besides.
    """

    seed: int
    number: int
    name: str
    law: str
    load: float
    sigma: float
    path: CrossedPath
    groups: frozenset[str]
    n_first: int


def draw_scenario(
    seed: int, number: int, amount: ScenarioAmount | None = None, *, again: int = 0
) -> PathScenario:
    """The scenario of a number, the same wherever it is drawn.

    Args:
        seed: of all of them.
        number: which of them.
        amount: how many flows they have.
        again: other flows of the same law on the same path for each value.

    Returns:
        The scenario.
    """
    amount = amount or ScenarioAmount()
    for attempt in range(10_000):
        rng = np.random.default_rng([LAW_VERSION, seed, number, attempt])
        noise = np.random.default_rng([LAW_VERSION, seed, number, attempt, 1 + again])
        found = _drawn(rng, noise, seed, number, amount)
        is_wanted = (
            not amount.group
            or amount.group in found.groups
            or (amount.group == "none" and not found.groups)
        )
        if is_wanted:
            return found
    message = f"no scenario of the group {amount.group!r} was found"
    raise ValueError(message)


def _drawn(
    rng: np.random.Generator,
    noise: np.random.Generator,
    seed: int,
    number: int,
    amount: ScenarioAmount,
) -> PathScenario:
    """``rng`` draws what it is, ``noise`` its flows."""
    name = NAMES[int(rng.integers(len(NAMES)))]
    is_rdma = name in RDMA_NAMES
    h = int(rng.integers(MIN_HOPS, MAX_HOPS + 1))
    rates, round_trip_s = _rates_and_round_trip(rng, h, is_rdma=is_rdma)
    pipe = float(rates.min()) * round_trip_s / 8
    transport = (
        rdma(rng, name, pipe, round_trip_s, rates)
        if is_rdma
        else tcp(rng, name, pipe, round_trip_s)
    )
    queues = (
        [LinkQueue()] * h
        if is_rdma
        else queues_of(rng, name, transport, rates, round_trip_s)
    )
    split = rng.dirichlet(np.full(h, 2.0)) * round_trip_s / 2
    delays = np.rint(split * 1e9) / 1e9
    links = tuple(
        Link(
            source=f"n{i}",
            target=f"n{i + 1}",
            rate_bps=float(rates[i]),
            delay_s=float(delays[i]),
            queue=queues[i],
        )
        for i in range(h)
    )
    back = tuple(replace(x, source=x.target, target=x.source) for x in links)
    law, sizes, other = size_laws(rng)
    load = float(rng.uniform(*LOADS))
    sigma = 0.0 if rng.random() < 0.35 else float(rng.uniform(0.7, 2.0))  # noqa: PLR2004
    path = crossing_flows(
        rng,
        noise,
        links,
        back,
        transport,
        (sizes, other),
        load,
        sigma,
        amount,
        round_trip_s,
    )
    if is_rdma and rng.random() < 0.15:  # noqa: PLR2004
        path = bounded(rng, path, pipe)
    groups = _groups(
        name, law, h, load, float(rates.min()), transport, pipe, round_trip_s, queues
    )
    return PathScenario(
        seed=seed,
        number=number,
        name=name,
        law=law,
        load=load,
        sigma=sigma,
        path=replace(path, seed=number),
        groups=groups,
        n_first=max(100, len(path) // 10),
    )


def _rates_and_round_trip(
    rng: np.random.Generator, h: int, *, is_rdma: bool
) -> tuple[Float64[np.ndarray, " h"], float]:
    """Rates of the links, and the round trip without anything in the way."""
    most_trip = MOST_RDMA_ROUND_TRIP_S if is_rdma else ROUND_TRIPS_S[1]
    most_pipe = _MOST_PIPE_RDMA if is_rdma else _MOST_PIPE_TCP
    nice = _NICE_BPS if is_rdma else np.concatenate([_SLOW_BPS, _NICE_BPS])
    while True:
        base = float(nice[rng.integers(len(nice))])
        if rng.random() < 0.4:  # noqa: PLR2004
            low, high = RDMA_RATES_BPS if is_rdma else RATES_BPS
            base = loguniform(rng, low, high)
        round_trip_s = loguniform(rng, ROUND_TRIPS_S[0], most_trip)
        if _LEAST_PIPE <= base * round_trip_s / 8 <= most_pipe:
            break
    pattern = rng.random()
    if pattern < 0.45:  # noqa: PLR2004  a fabric
        inner = base * float(
            rng.choice([1.0, 2.0, 2.5, 4.0, 10.0], p=[0.3, 0.15, 0.1, 0.35, 0.1])
        )
        rates = np.full(h, inner)
        rates[0] = rates[-1] = base
        if rng.random() < 0.15:  # noqa: PLR2004  the far end is a larger machine
            rates[-1] = inner
    elif pattern < 0.7 and not is_rdma:  # noqa: PLR2004  an uplink
        rates = base * np.exp(rng.uniform(np.log(5), np.log(500), h))
        rates[0 if rng.random() < 0.7 else h - 1] = base  # noqa: PLR2004
    else:
        rates = base * np.exp(rng.uniform(0, np.log(8), h))
        rates[rng.integers(h)] = base
    return np.rint(np.minimum(rates, RATES_BPS[1])), round_trip_s


def _groups(  # noqa: PLR0913, PLR0917  each may decide
    name: str,
    law: str,
    h: int,
    load: float,
    slowest_bps: float,
    transport: Transport,
    pipe: float,
    round_trip_s: float,
    queues: Sequence[LinkQueue],
) -> frozenset[str]:
    """The groups that a scenario belongs to."""
    found: set[str] = set()
    if law in PUBLISHED:
        found.add("sizes")
    if h == HELD_OUT_HOPS:
        found.add("hops")
    if load > HELD_OUT_LOAD:
        found.add("load")
    if any(low <= slowest_bps <= high for low, high in HELD_OUT_BPS):
        found.add("rate")
    if _is_of_range(name, transport, pipe, round_trip_s, queues):
        found.add("parameter")
    return frozenset(found)


def _is_of_range(
    name: str,
    transport: Transport,
    pipe: float,
    round_trip_s: float,
    queues: Sequence[LinkQueue],
) -> bool:
    """Whether the parameter of its transport is in the range that is held out."""
    if isinstance(transport, TcpTransport):
        if name == "tcp-dctcp":
            packets = framing(transport)
            full = packets.payload_bytes + packets.header_bytes
            return min(queue.mark_from for queue in queues) * full < pipe / 8
        return transport.initial_window > 25  # noqa: PLR2004
    if name == "dctcp":
        return transport.ecn_min_bytes > pipe
    if name == "dcqcn":
        return transport.ecn_max_bytes > 4 * transport.ecn_min_bytes
    if name == "hpcc":
        return transport.utilisation < 0.75  # noqa: PLR2004
    return transport.low_s < 1.3 * round_trip_s
