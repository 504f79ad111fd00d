"""Drawn transports and queues: the part of the law of scenarios that says how to send.

Thresholds, windows and lengths are drawn in pipes (what the slowest link carries in a
round trip), times in round trips, so that no rate has only odd ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.model import LinkQueue
from midhaul.network.transports import RdmaTransport, TcpTransport, framing

if TYPE_CHECKING:
    from jaxtyping import Float64

    from midhaul.network.decomposition.crossed import CrossedPath
    from midhaul.network.transports import Transport


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioAmount:
    """How large scenarios are.

    Attributes:
        fewest: flows at least.
        most: flows at most.
        rdma_hops: packets times links that one of RDMA may have.
        tcp_hops: the same of TCP, which costs more.
        group: only scenarios of that group, or of none where it is ``none``; any where
            empty.
    """

    fewest: int = 800
    most: int = 8000
    rdma_hops: float = 2e6
    tcp_hops: float = 0.8e6
    group: str = ""


def loguniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A number whose logarithm is as likely anywhere between two."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def rdma(
    rng: np.random.Generator,
    name: str,
    pipe: float,
    round_trip_s: float,
    rates: Float64[np.ndarray, " h"],
) -> RdmaTransport:
    """A transport of RDMA with drawn parameters."""
    slowest = float(rates.min())
    mtu = int(rng.choice([1000, 1500, 4096, 8192], p=[0.6, 0.15, 0.17, 0.08]))
    window = int(max(pipe * loguniform(rng, 0.6, 4.0), 2 * mtu))
    if name in {"dcqcn", "timely"} and rng.random() < 0.15:  # noqa: PLR2004
        window = 0
    threshold = int(np.clip(pipe * loguniform(rng, 0.15, 1.5), 2 * mtu, 4e6))
    at = slowest if rng.random() < 0.75 else 0.0  # noqa: PLR2004
    low_s = round_trip_s * loguniform(rng, 1.1, 4.0) + 16 * mtu / slowest
    chosen = RdmaTransport(
        congestion=name,  # pyright: ignore[reportArgumentType]  one of its names
        mtu_bytes=mtu,
        window_bytes=window,
        timeout_s=max(0.004, 50 * round_trip_s),
        min_rate_bps=float(np.rint(slowest / 100)),
        max_rate_bps=float(rates[0]),
        ecn_min_bytes=threshold,
        ecn_max_bytes=threshold,
        ecn_rate_bps=at,
        low_s=low_s,
        high_s=low_s * loguniform(rng, 1.3, 4.0),
    )
    if name == "dcqcn":
        chosen = replace(
            chosen,
            ecn_max_bytes=int(threshold * loguniform(rng, 1.2, 6.0)),
            ecn_share=float(rng.uniform(0.05, 1.0)),
            rounds=int(rng.integers(1, 6)),
        )
    if name == "hpcc":
        chosen = replace(
            chosen,
            utilisation=float(rng.uniform(0.7, 0.98)),
            rounds=int(rng.integers(1, 6)),
        )
    if name != "dctcp" and rng.random() < 0.5:  # noqa: PLR2004
        steps = {"dcqcn": 5000, "hpcc": 2500, "timely": 1000}[name]
        rate = slowest / steps * loguniform(rng, 0.3, 5.0)
        chosen = replace(chosen, additive_bps=float(np.rint(rate)))
    return chosen


def tcp(
    rng: np.random.Generator, name: str, pipe: float, round_trip_s: float
) -> TcpTransport:
    """A transport of TCP with drawn parameters."""
    segment = int(rng.choice([1448, 1000, 536, 8948], p=[0.75, 0.1, 0.05, 0.1]))
    if pipe < 3 * segment:
        segment = min(segment, 1448)
    timeout_s, delay_s, every = 0.2, 0.04, 2
    if round_trip_s < 2e-3 or rng.random() < 0.5:  # noqa: PLR2004  tuned for it
        timeout_s = min(max(loguniform(rng, 3, 100) * round_trip_s, 0.001), 1.0)
        delay_s = min(timeout_s / 4, 0.04)
    if rng.random() < 0.35:  # noqa: PLR2004
        every = 1
    congestion = name.removeprefix("tcp-")
    is_linux = congestion != "dctcp" and rng.random() < 0.25  # noqa: PLR2004
    window = 10 if rng.random() < 0.5 else round(loguniform(rng, 2, 40))  # noqa: PLR2004
    return TcpTransport(
        congestion=congestion,  # pyright: ignore[reportArgumentType]  one of its names
        segment_bytes=segment,
        initial_window=window,
        min_timeout_s=timeout_s,
        connect_timeout_s=max(timeout_s, 3 * round_trip_s),
        acks_every=every,
        ack_delay_s=delay_s,
        is_paced=congestion == "bbr" or bool(rng.random() < 0.08),  # noqa: PLR2004
        has_hystart=bool(rng.random() < 0.7),  # noqa: PLR2004
        stack="linux" if is_linux else "ns3",
    )


def queues_of(
    rng: np.random.Generator,
    name: str,
    transport: Transport,
    rates: Float64[np.ndarray, " h"],
    round_trip_s: float,
) -> list[LinkQueue]:
    """The queues of the links: of one kind, their lengths alike or by their rates."""
    wire = framing(transport).payload_bytes + framing(transport).header_bytes
    pipe = float(rates.min()) * round_trip_s / 8 / wire
    room = max(loguniform(rng, 50, 1000), pipe * loguniform(rng, 1.0, 6.0))
    scale = rates / rates.min() if rng.random() < 0.4 else np.ones(len(rates))  # noqa: PLR2004
    rooms = np.clip(np.rint(room * scale), 16, 30_000).astype(int).tolist()
    is_endless = rng.random() < 0.15  # noqa: PLR2004
    mark = max(2.0, np.rint(pipe * loguniform(rng, 0.1, 1.5)))
    kind = rng.random()
    chosen: list[LinkQueue] = []
    for i, place in enumerate(rooms):
        most = None if is_endless else place
        if name == "tcp-dctcp":
            at = float(np.rint(mark * scale[i]))
            most = None if is_endless else max(place, int(2 * at))
            queue = LinkQueue(
                discipline="red", max_packets=most, mark_from=at, mark_all_from=at
            )
        elif kind < 0.6:  # noqa: PLR2004
            queue = LinkQueue(max_packets=most)
        else:
            target_s, interval_s = 0.005, 0.1
            if round_trip_s < 2e-3:  # noqa: PLR2004  the usual ones would never act
                target_s, interval_s = (
                    max(round_trip_s, 20e-6),
                    10 * max(round_trip_s, 20e-6),
                )
            queue = LinkQueue(
                discipline="codel" if kind < 0.8 else "fq_codel",  # noqa: PLR2004
                max_packets=max(place, 64),
                target_s=target_s,
                interval_s=interval_s,
            )
        chosen.append(queue)
    return chosen


def bounded(rng: np.random.Generator, path: CrossedPath, pipe: float) -> CrossedPath:
    """Switches with a memory that may be too small, which drop then."""
    (transport,) = path.transports
    assert isinstance(transport, RdmaTransport)  # noqa: S101  RDMA only
    full = transport.mtu_bytes + framing(transport).header_bytes
    room = max(pipe * loguniform(rng, 8.0, 60.0), 200 * full)
    return replace(
        path,
        transports=(replace(transport, has_pfc=False),),
        switch_buffer_bytes=int(room),
    )
