"""Features of a path: what a corrector is told of it, all without dimensions.

Times are told in round trips of the path, bytes in what its slowest link carries in
one (its *pipe*), rates in that of the slowest link. So paths that differ in scale alone
look alike, whatever their links carry; what is not scaled (a time-out, a coalescing
delay, a target of CoDel) is told as a ratio and shows it.

Class by class of size, of the foreground: percentiles of what :mod:`.crossing` gives,
how many flows there are, and how large. Link by link: load, what waits, who sends,
the queue and, class by class, slowdowns of all flows that take it. A path has as many
rows as it has links. And once: the transport with its parameters, and the path.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.model.display import Display, Shown, counted
from midhaul.network.corrector.crossing import (
    BURST,
    WHOLE,
    Crossing,
    crossing_of,
    first_window,
)
from midhaul.network.slowdown import SIZE_CLASSES, size_class
from midhaul.network.transports import RdmaTransport, TcpTransport, framing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Float32, Float64, Int64

    from midhaul.model import LinkQueue
    from midhaul.network.decomposition.crossed import CrossedPath
    from midhaul.network.transports import Transport

N_CLASSES = len(SIZE_CLASSES)
OWN_LEVELS = np.array([0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99])
"""Percentiles that are told of a class of the foreground."""

HOP_LEVELS = np.array([0.5, 0.75, 0.9, 0.97])
CLASS_LEVELS = np.array([0.5, 0.9, 0.99])
SIZE_LEVELS = np.array([0.1, 0.5, 0.9])
_SERIES = ("fluid", "lone", "burst", "whole", "active", "joint")
TRANSPORT_NAMES = (
    "dctcp",
    "dcqcn",
    "hpcc",
    "timely",
    "newreno",
    "linux-reno",
    "cubic",
    "bbr",
    "tcp-dctcp",
)
_DISCIPLINES = ("fifo", "red", "codel", "fq_codel")

PATH_NAMES = (
    *TRANSPORT_NAMES,
    "stack of Linux",
    "slowest link",
    "round trip",
    "pipe in packets",
    "packet size",
    "links",
    "load of the busiest link",
    "load of the second link",
    "sum of loads",
    "flows",
    "time that flows start in",
    "share of foreground",
    "load of foreground",
    "first window",
    "window",
    "paced",
    "hystart",
    "segments per ACK",
    "ACK delay",
    "least time-out",
    "connect time-out",
    "has a window",
    "ECN from",
    "ECN spread",
    "ECN share",
    "ECN by rate",
    "aim",
    "additive increase",
    "hyper increase",
    "rounds",
    "low round trip",
    "high round trip",
    "PFC",
    "has a switch memory",
    "switch memory",
    "least rate",
    "burstiness of starts",
    *(f"waiting of bursts p{q * 100:g}" for q in OWN_LEVELS),
    *(f"waiting of flows p{q * 100:g}" for q in OWN_LEVELS),
    *(f"share of the path p{q * 100:g}" for q in OWN_LEVELS),
)
"""Columns of what is told once."""

HOP_NAMES = (
    "rate of a link",
    "delay of a link",
    "load of a link",
    "load of foreground on a link",
    "flows on a link",
    "rate of senders",
    "share that enters",
    "mean size",
    "spread of sizes",
    "largest share of a flow",
    *(f"waiting of bursts at a link p{q * 100:g}" for q in HOP_LEVELS),
    *(f"waiting of flows at a link p{q * 100:g}" for q in HOP_LEVELS),
    *(f"flows at a time p{q * 100:g}" for q in HOP_LEVELS),
    "packet on a link",
    *(f"queue {name}" for name in _DISCIPLINES),
    "has a length",
    "length of a queue",
    "marks from",
    "marks all from",
    "share marked",
    "can mark",
    "target of CoDel",
    "interval of CoDel",
)
"""Columns of what is told of each link."""

HOP_CLASS_NAMES = (
    "flows of a class on a link",
    *(f"fluid slowdown on a link p{q * 100:g}" for q in CLASS_LEVELS),
)
"""Columns of what is told of each link and class."""

OWN_NAMES = (
    "flows of a class",
    *(f"{name} p{q * 100:g}" for name in _SERIES for q in OWN_LEVELS),
    *(f"size over packet p{q * 100:g}" for q in SIZE_LEVELS),
    *(f"size over pipe p{q * 100:g}" for q in SIZE_LEVELS),
    *(f"size over window p{q * 100:g}" for q in SIZE_LEVELS),
)
"""Columns of what is told of each class of the foreground."""

PREFIX_LEVELS = np.array([0.25, 0.5, 0.9, 0.99])
PREFIX_NAMES = (
    "simulated flows of a class",
    *(f"simulated slowdown p{q * 100:g}" for q in PREFIX_LEVELS),
    "all simulated flows of a class",
    *(f"simulated over fluid p{q * 100:g}" for q in PREFIX_LEVELS),
)
"""Columns of what a short simulation tells of each class."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class PathFeatures(Shown):
    """What a corrector is told of a path of ``h`` links; ``b`` classes of size.

    Attributes:
        path: ``(p,)`` what is told once, by :data:`PATH_NAMES`.
        hops: ``(h, k)`` of each link, by :data:`HOP_NAMES`.
        hop_classes: ``(h, b, c)`` of each link and class, by :data:`HOP_CLASS_NAMES`.
        own: ``(b, o)`` of each class of the foreground, by :data:`OWN_NAMES`.
        prefix: ``(b, s)`` of a short simulation, by :data:`PREFIX_NAMES`; zeros where
            there is none.
        counts: ``(b,)`` flows of the foreground.
        transport: how senders of the foreground decide, of :data:`TRANSPORT_NAMES`.
        odd: what of it no corrector knows, in words.
    """

    path: Float32[np.ndarray, " p"]
    hops: Float32[np.ndarray, "h k"]
    hop_classes: Float32[np.ndarray, "h b c"]
    own: Float32[np.ndarray, "b o"]
    prefix: Float32[np.ndarray, "b s"]
    counts: Int64[np.ndarray, " b"]
    transport: str
    odd: tuple[str, ...]

    def _display(self) -> Display:
        """How long the path is, how many flows are its own, and how they are sent."""
        text = f"features of a path of {counted(len(self.hops), 'link')} with "
        own = counted(int(self.counts.sum()), "flow")
        return Display(text=f"{text}{own} of its own by {self.transport}")


def features_of(
    path: CrossedPath,
    *,
    crossing: Crossing | None = None,
    chosen: Bool[np.ndarray, " n"] | None = None,
    simulated: Float64[np.ndarray, " k"] | None = None,
) -> PathFeatures:
    """The features of a path.

    Args:
        path: the path with the flows that cross it.
        crossing: what they meet, where that is known already.
        chosen: ``(n,)`` which flows count as foreground; all that are, by default.
        simulated: slowdowns of the ``k`` flows that start first by a simulation of
            packets; NaN where one had not ended.

    Returns:
        What correctors are told.

    Raises:
        ConfigError: a link of the path carries nothing.
    """
    met = crossing or crossing_of(path)
    own = path.is_foreground if chosen is None else chosen
    transport = _main_transport(path, own)
    classes = size_class(path.size_bytes)
    scale = _Scale.of(path, met, transport)
    loads = _loads(path, met)
    counts = np.bincount(classes[own], minlength=N_CLASSES)
    prefix = np.zeros((N_CLASSES, len(PREFIX_NAMES)), np.float32)
    if simulated is not None and len(simulated):
        prefix = _prefix(path, met, classes, own, simulated)
    return PathFeatures(
        path=_path_row(path, met, own, transport, scale, loads),
        hops=_hop_rows(path, met, own, scale, loads),
        hop_classes=_hop_class_rows(path, met, classes),
        own=_own_rows(path, met, classes, own, scale),
        prefix=prefix,
        counts=counts,
        transport=name_of(transport),
        odd=_odd(path),
    )


def name_of(transport: Transport) -> str:
    """Its name among :data:`TRANSPORT_NAMES`."""
    name = transport.congestion
    is_tcp = isinstance(transport, TcpTransport)
    return f"tcp-{name}" if is_tcp and name == "dctcp" else name


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scale:
    """By what times, bytes and rates of a path are divided."""

    trip_ns: float
    rate: float
    pipe: float
    packet: float
    window: float

    @classmethod
    def of(cls, path: CrossedPath, met: Crossing, transport: Transport) -> _Scale:
        rate = min(link.rate_bps for link in path.links) / 8e9
        packets = framing(transport)
        pipe = rate * met.round_trip_ns
        return cls(
            trip_ns=met.round_trip_ns,
            rate=rate,
            pipe=pipe,
            packet=float(packets.payload_bytes + packets.header_bytes),
            window=min(first_window(transport)[0], 100 * pipe),
        )


def _main_transport(path: CrossedPath, own: Bool[np.ndarray, " n"]) -> Transport:
    """The one of most of the foreground."""
    there = path.transport[own] if own.any() else path.transport
    return path.transports[int(np.bincount(there).argmax())]


def _odd(path: CrossedPath) -> tuple[str, ...]:
    """What no scenario of training has."""
    found: list[str] = []
    if len(np.unique(path.transport)) > 1:
        found.append("several transports on one path")
    if any(link.loss_share or link.jitter_s for link in (*path.links, *path.back)):
        found.append("losses or jitter by chance")
    pairs = zip(path.links, path.back, strict=True)
    if any(back.rate_bps < there.rate_bps / 20 for there, back in pairs):
        found.append("a link back that is far slower")
    for transport in path.transports:
        if isinstance(transport, RdmaTransport):
            if transport.has_pfc and path.switch_buffer_bytes:
                found.append("PFC with a bounded memory of switches")
            if transport.as_fork:
                found.append("the quirks of the fork")
    if any(link.queue.max_bytes is not None for link in path.links):
        found.append("queues bounded in bytes")
    return tuple(found)


def _log(value: float | np.ndarray) -> Float64[np.ndarray, " ..."]:
    return np.log(np.maximum(value, 1e-9))


def _loads(path: CrossedPath, met: Crossing) -> Float64[np.ndarray, " h"]:
    """Load of each link in the time in which flows start."""
    h = len(path.links)
    rates = np.array([link.rate_bps for link in path.links]) / 8e9
    first = np.bincount(path.enters, met.wire_bytes, h + 1)
    last = np.bincount(path.leaves, met.wire_bytes, h + 1)
    carried = np.cumsum(first - last)[:h]
    return carried / (rates * met.horizon_ns)


def _path_row(
    path: CrossedPath,
    met: Crossing,
    own: Bool[np.ndarray, " n"],
    transport: Transport,
    scale: _Scale,
    loads: Float64[np.ndarray, " h"],
) -> Float32[np.ndarray, " p"]:
    trip_s = scale.trip_ns / 1e9
    order = np.sort(loads)[::-1]
    gaps = np.diff(np.sort(path.start_ns)).astype(np.float64)
    bursty = float(gaps.std() / gaps.mean()) if len(gaps) and gaps.mean() > 0 else 1.0
    kind = [float(name == name_of(transport)) for name in TRANSPORT_NAMES]
    slowest = int(np.argmin([link.rate_bps for link in path.links]))
    over = (path.enters <= slowest) & (path.leaves > slowest)
    carried = float(met.wire_bytes[over].sum()) or 1.0
    rates = np.array([link.rate_bps for link in path.links]) / 8e9
    total = met.probe_ns.sum(axis=1)
    share = scale.rate / (rates[:, None] / (met.probe_active + 1)).min(axis=0)
    rest = (
        _rdma_numbers(path, transport, scale, trip_s)
        if isinstance(transport, RdmaTransport)
        else _tcp_numbers(transport, trip_s)
    )
    return np.array(
        [
            *kind,
            float(isinstance(transport, TcpTransport) and transport.stack == "linux"),
            _log(scale.rate),
            _log(trip_s),
            _log(scale.pipe / scale.packet),
            _log(scale.packet),
            len(path.links),
            order[0],
            order[1] if len(order) > 1 else 0.0,
            loads.sum(),
            _log(len(path)),
            _log(met.horizon_ns / scale.trip_ns),
            own.mean(),
            float(met.wire_bytes[own].sum()) / carried,
            _log(scale.window / scale.pipe),
            *rest,
            _log(bursty),
            *_percentiles(_log(1 + total[BURST] / scale.trip_ns), OWN_LEVELS),
            *_percentiles(_log(1 + total[WHOLE] / scale.trip_ns), OWN_LEVELS),
            *_percentiles(_log(share), OWN_LEVELS),
        ],
        np.float32,
    )


def _tcp_numbers(transport: TcpTransport, trip_s: float) -> list[float | np.ndarray]:
    return [
        _log(transport.initial_window),
        float(transport.is_paced),
        float(transport.congestion == "cubic" and transport.has_hystart),
        float(transport.acks_every),
        _log(transport.ack_delay_s / trip_s) if transport.acks_every > 1 else -3.0,
        _log(transport.min_timeout_s / trip_s),
        _log(transport.connect_timeout_s / trip_s),
        1.0,
        *([0.0] * 14),
    ]


def _rdma_numbers(
    path: CrossedPath, transport: RdmaTransport, scale: _Scale, trip_s: float
) -> list[float | np.ndarray]:
    name = transport.congestion
    slowest_bps = scale.rate * 8e9
    has_ecn = name in {"dctcp", "dcqcn"}
    at = transport.ecn_rate_bps
    threshold = transport.ecn_min_bytes * (slowest_bps / at if at else 1.0)
    usual = {"dctcp": 8 * scale.packet / trip_s, "dcqcn": 1 / 5000, "hpcc": 1 / 2500}
    additive = transport.additive_bps or (
        usual["dctcp"] if name == "dctcp" else usual.get(name, 1 / 1000) * slowest_bps
    )
    hyper = transport.hyper_bps or additive * (5 if name == "timely" else 10)
    memory = path.switch_buffer_bytes
    return [
        0.0,
        0.0,
        0.0,
        0.0,
        0.0,
        _log((transport.timeout_s or 1e3) / trip_s),
        0.0,
        float(transport.window_bytes > 0),
        _log(threshold / scale.pipe) if has_ecn else 0.0,
        _log(transport.ecn_max_bytes / max(transport.ecn_min_bytes, 1))
        if name == "dcqcn"
        else 0.0,
        transport.ecn_share if name == "dcqcn" else 0.0,
        float(at > 0) if has_ecn else 0.0,
        transport.utilisation if name == "hpcc" else 0.0,
        _log(additive / slowest_bps),
        _log(hyper / slowest_bps),
        float(transport.rounds) if name in {"hpcc", "dcqcn"} else 0.0,
        _log(transport.low_s / trip_s) if name == "timely" else 0.0,
        _log(transport.high_s / transport.low_s) if name == "timely" else 0.0,
        float(transport.has_pfc),
        float(memory > 0),
        _log(memory / scale.pipe) if memory else 0.0,
        _log(transport.min_rate_bps / slowest_bps),
    ]


def _percentiles(
    values: Float64[np.ndarray, " n"], levels: Float64[np.ndarray, " q"]
) -> Float64[np.ndarray, " q"]:
    """The values at these levels, none between two of them."""
    ordered = np.sort(values)
    return ordered[
        np.minimum((levels * len(ordered)).astype(np.int64), len(ordered) - 1)
    ]


def _hop_rows(
    path: CrossedPath,
    met: Crossing,
    own: Bool[np.ndarray, " n"],
    scale: _Scale,
    loads: Float64[np.ndarray, " h"],
) -> Float32[np.ndarray, "h k"]:
    rows = np.zeros((len(path.links), len(HOP_NAMES)), np.float32)
    own_bps = path.own_bps
    for i, link in enumerate(path.links):
        here = (path.enters <= i) & (path.leaves > i)
        wire = met.wire_bytes[here]
        total = float(wire.sum()) or 1.0
        rate = link.rate_bps / 8e9
        sending = np.minimum(own_bps[here] / link.rate_bps, 100.0)
        mean = total / max(len(wire), 1)
        rows[i] = [
            _log(rate / scale.rate),
            link.delay_s * 1e9 / scale.trip_ns,
            loads[i],
            loads[i] * float(met.wire_bytes[here & own].sum()) / total,
            _log(max(len(wire), 1)),
            float(np.sum(_log(np.maximum(sending, 1e-3)) * wire)) / total,
            float(wire[path.enters[here] == i].sum()) / total if i else 1.0,
            _log(mean / scale.pipe),
            _log(float(wire.std() / mean) + 0.01) if len(wire) else 0.0,
            float(wire.max() / total) if len(wire) else 0.0,
            *_percentiles(_log(1 + met.probe_ns[BURST, i] / scale.trip_ns), HOP_LEVELS),
            *_percentiles(_log(1 + met.probe_ns[WHOLE, i] / scale.trip_ns), HOP_LEVELS),
            *_percentiles(_log(1 + met.probe_active[i]), HOP_LEVELS),
            _log(scale.packet / rate / scale.trip_ns),
            *_queue_numbers(link.queue, rate, scale),
        ]
    return rows


def _queue_numbers(
    queue: LinkQueue, rate: float, scale: _Scale
) -> list[float | np.ndarray]:
    per_packet = scale.packet / rate / scale.trip_ns
    is_red = queue.discipline == "red"
    is_timed = queue.discipline in {"codel", "fq_codel"}
    most = queue.max_packets
    return [
        *(float(name == queue.discipline) for name in _DISCIPLINES),
        float(most is not None),
        _log(most * per_packet) if most is not None else 0.0,
        _log(queue.mark_from * per_packet) if is_red else 0.0,
        _log(queue.mark_all_from * per_packet) if is_red else 0.0,
        queue.mark_share if is_red else 0.0,
        float(is_red and queue.has_ecn),
        _log(queue.target_s * 1e9 / scale.trip_ns) if is_timed else 0.0,
        _log(queue.interval_s * 1e9 / scale.trip_ns) if is_timed else 0.0,
    ]


def _hop_class_rows(
    path: CrossedPath, met: Crossing, classes: Int64[np.ndarray, " n"]
) -> Float32[np.ndarray, "h b c"]:
    """Slowdowns of all flows on a link; a class without any has those of all."""
    rows = np.zeros((len(path.links), N_CLASSES, len(HOP_CLASS_NAMES)), np.float32)
    fluid = np.log(met.fluid)
    by_value = np.argsort(fluid, kind="stable")
    for i in range(len(path.links)):
        here = by_value[(path.enters[by_value] <= i) & (path.leaves[by_value] > i)]
        if not len(here):
            continue
        kinds = classes[here]
        for b in range(N_CLASSES):
            mine = fluid[here[kinds == b]]
            rows[i, b, 0] = np.log1p(len(mine))
            there = mine if len(mine) else fluid[here]
            at = np.minimum(
                (CLASS_LEVELS * len(there)).astype(np.int64), len(there) - 1
            )
            rows[i, b, 1:] = there[at]
    return rows


def _own_rows(
    path: CrossedPath,
    met: Crossing,
    classes: Int64[np.ndarray, " n"],
    own: Bool[np.ndarray, " n"],
    scale: _Scale,
) -> Float32[np.ndarray, "b o"]:
    rows = np.zeros((N_CLASSES, len(OWN_NAMES)), np.float32)
    burst = met.waits_ns[BURST] / met.ideal_ns
    series = (
        met.fluid,
        met.lone,
        1 + burst,
        1 + met.waits_ns[WHOLE] / met.ideal_ns,
        1 + met.most_active,
        met.fluid + met.lone - 1 + burst,
    )
    for b in range(N_CLASSES):
        mine = np.flatnonzero(own & (classes == b))
        if not len(mine):
            continue
        sizes = path.size_bytes[mine].astype(np.float64)
        rows[b] = [
            np.log1p(len(mine)),
            *(x for one in series for x in _percentiles(_log(one[mine]), OWN_LEVELS)),
            *_percentiles(_log(sizes / scale.packet), SIZE_LEVELS),
            *_percentiles(_log(sizes / scale.pipe), SIZE_LEVELS),
            *_percentiles(_log(sizes / scale.window), SIZE_LEVELS),
        ]
    return rows


def _prefix(
    path: CrossedPath,
    met: Crossing,
    classes: Int64[np.ndarray, " n"],
    own: Bool[np.ndarray, " n"],
    simulated: Float64[np.ndarray, " k"],
) -> Float32[np.ndarray, "b s"]:
    """What packets say of the flows that start first."""
    rows = np.zeros((N_CLASSES, len(PREFIX_NAMES)), np.float32)
    first = np.argsort(path.start_ns, kind="stable")[: len(simulated)]
    has_ended = ~np.isnan(simulated)
    for b in range(N_CLASSES):
        there = has_ended & (classes[first] == b)
        if not there.any():
            continue
        mine = there & own[first]
        ratio = simulated[there] / met.fluid[first[there]]
        rows[b, 5] = np.log1p(int(there.sum()))
        rows[b, 6:] = _percentiles(_log(ratio), PREFIX_LEVELS)
        if mine.any():
            rows[b, 0] = np.log1p(int(mine.sum()))
            rows[b, 1:5] = _percentiles(_log(simulated[mine]), PREFIX_LEVELS)
    return rows


def stacked(found: Sequence[PathFeatures], most: int = 0) -> dict[str, np.ndarray]:
    """Features of many paths as arrays, with links that are not there as NaN.

    There are ``most`` links of each, or as many as the longest path has.
    """
    most = max(most, *(len(one.hops) for one in found))
    hops = np.full((len(found), most, len(HOP_NAMES)), np.nan, np.float32)
    of_class = np.full(
        (len(found), most, N_CLASSES, len(HOP_CLASS_NAMES)), np.nan, np.float32
    )
    for i, one in enumerate(found):
        hops[i, : len(one.hops)] = one.hops
        of_class[i, : len(one.hops)] = one.hop_classes
    return {
        "path": np.stack([one.path for one in found]),
        "hops": hops,
        "hop_classes": of_class,
        "own": np.stack([one.own for one in found]),
        "prefix": np.stack([one.prefix for one in found]),
        "counts": np.stack([one.counts for one in found]),
    }
