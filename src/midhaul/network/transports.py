"""Transports: how senders decide how fast they send.

Two families. *TCP* opens connections, has a congestion window and recovers what is lost
by SACK and time-outs. *RDMA* starts at the rate of its card on links that pause instead
of dropping (PFC), and goes back to the first packet that is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Gt, Le

from midhaul.errors import ConfigError
from midhaul.model.bounds import check_bounds

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Int64

RDMA_HEADER_BYTES = 48
INT_BYTES = 42
STAMP_BYTES = 8
TCP_HEADER_BYTES = 54
SYN_BYTES = 58

TcpCongestion = Literal["newreno", "linux-reno", "cubic", "dctcp", "bbr"]
RdmaCongestion = Literal["dctcp", "dcqcn", "hpcc", "timely"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpTransport:
    """A TCP sender and its receiver.

    Attributes:
        congestion: its congestion control.
        segment_bytes: payload of a full segment.
        initial_window: segments that may be under way at first.
        min_timeout_s: least retransmission time-out.
        connect_timeout_s: after which a SYN is sent again.
        acks_every: segments after which an ACK is sent.
        ack_delay_s: after which one is sent in any case.
        linger_s: for how long an end that has closed still answers.
        is_paced: true where segments are spread over the round trip.
        has_hystart: whether slow start of Cubic ends at the first signs of a queue.
        has_ecn: whether queues may mark instead of dropping, with the ways of Linux;
            those of DCTCP always may.
        stack: whose details are followed: those of ns-3.37, or of Linux.

    Raises:
        ConfigError: a number is out of its bounds.
    """

    congestion: TcpCongestion = "cubic"
    segment_bytes: Annotated[int, Ge(1), Le(65_495)] = 1448
    initial_window: Annotated[int, Ge(1), Le(1_000_000)] = 10
    min_timeout_s: Annotated[float, Gt(0), Le(1e6)] = 0.2
    connect_timeout_s: Annotated[float, Gt(0), Le(1e6)] = 1.0
    acks_every: Annotated[int, Ge(1), Le(1_000_000)] = 2
    ack_delay_s: Annotated[float, Ge(0), Le(1e6)] = 0.04
    linger_s: Annotated[float, Ge(0), Le(1e6)] = 0.001
    is_paced: bool = False
    has_hystart: bool = True
    has_ecn: bool = False
    stack: Literal["ns3", "linux"] = "ns3"

    def __post_init__(self) -> None:
        """Refuse what no sender can be."""
        check_bounds(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class RdmaTransport:
    """An RDMA sender and its receiver.

    Attributes:
        congestion: its congestion control.
        mtu_bytes: payload of a full packet.
        window_bytes: bytes under way at full rate, fewer in proportion below it; 0: not
            bounded.
        timeout_s: after which what is not acknowledged is sent again; None: never, as
            in the simulator behind HPCC.
        min_rate_bps: least rate.
        max_rate_bps: most rate, where its card is faster.
        base_rtt_s: hpcc: round trip without queues; 0: that of the flow's path.
        has_pfc: true where full switches pause who sends, false where they drop.
        ecn_min_bytes: queue from which packets are marked (dctcp: each; dcqcn: some).
        ecn_max_bytes: dcqcn: queue from which each is.
        ecn_share: dcqcn: share that is marked just below that.
        ecn_rate_bps: rate of the links that these queues are meant for; on others they
            are in proportion to the rate; 0: the same on all.
        utilisation: hpcc: the aim, eta.
        additive_bps: additive increase; 0: what is usual (dctcp: a packet each round
            trip; dcqcn, hpcc, timely: a 5000th, 2500th, 1000th of the full rate).
        hyper_bps: dcqcn, timely: increase when nothing was congested for long; 0: ten
            times the additive one, five times with timely.
        rounds: hpcc: rounds of additive increase before a multiplicative one; dcqcn: of
            fast recovery before an additive one.
        low_s: timely: round trip below which it speeds up.
        high_s: timely: round trip above which it slows down.
        as_fork: true where the quirks of that simulator are followed, to compare.

    Raises:
        ConfigError: a number is out of its bounds, or two of them contradict each
            other.
    """

    congestion: RdmaCongestion = "dctcp"
    mtu_bytes: Annotated[int, Ge(1), Le(65_495)] = 1000
    window_bytes: Annotated[int, Ge(0), Le(1_000_000_000_000)] = 0
    timeout_s: Annotated[float | None, Gt(0), Le(1e6)] = 0.004
    min_rate_bps: Annotated[float, Ge(1), Le(1e15)] = 100e6
    max_rate_bps: Annotated[float, Ge(1)] = float("inf")
    base_rtt_s: Annotated[float, Ge(0), Le(1e6)] = 0.0
    has_pfc: bool = True
    ecn_min_bytes: Annotated[int, Ge(0), Le(1_000_000_000_000)] = 10_000
    ecn_max_bytes: Annotated[int, Ge(0), Le(1_000_000_000_000)] = 10_000
    ecn_share: Annotated[float, Ge(0), Le(1)] = 1.0
    ecn_rate_bps: Annotated[float, Ge(0), Le(1e15)] = 10e9
    utilisation: Annotated[float, Gt(0), Le(1)] = 0.95
    additive_bps: Annotated[float, Ge(0), Le(1e15)] = 0.0
    hyper_bps: Annotated[float, Ge(0), Le(1e15)] = 0.0
    rounds: Annotated[int, Ge(0), Le(1_000_000)] = 5
    low_s: Annotated[float, Ge(0), Le(1e6)] = 50e-6
    high_s: Annotated[float, Gt(0), Le(1e6)] = 125e-6
    as_fork: bool = False

    def __post_init__(self) -> None:
        """Refuse what no sender can be."""
        check_bounds(self)
        pairs = [("min_rate_bps", "max_rate_bps")]
        if self.congestion == "dcqcn":
            pairs.append(("ecn_min_bytes", "ecn_max_bytes"))
        if self.congestion == "timely":
            pairs.append(("low_s", "high_s"))
        for less, more in pairs:
            least, most = getattr(self, less), getattr(self, more)
            if least > most:
                message = f"{more} must be at least {less}, found {most} below {least}"
                raise ConfigError(message, f"raise {more}, or lower {less}")


Transport = TcpTransport | RdmaTransport


@dataclass(frozen=True, slots=True, kw_only=True)
class Framing:
    """How a transport cuts a flow into packets.

    Attributes:
        payload_bytes: of a full packet.
        header_bytes: that each packet has besides.
    """

    payload_bytes: int
    header_bytes: int

    def n_packets(self, size_bytes: Int64[np.ndarray, " n"]) -> np.ndarray:
        """Packets of flows of these sizes."""
        return -(-size_bytes // self.payload_bytes)

    def wire_bytes(self, size_bytes: Int64[np.ndarray, " n"]) -> np.ndarray:
        """Bytes that flows of these sizes put on each link of their way."""
        return size_bytes + self.header_bytes * self.n_packets(size_bytes)


def framing(transport: Transport) -> Framing:
    """The packets of a transport."""
    if isinstance(transport, RdmaTransport):
        more = {"hpcc": INT_BYTES, "timely": STAMP_BYTES}.get(transport.congestion, 0)
        return Framing(
            payload_bytes=transport.mtu_bytes, header_bytes=RDMA_HEADER_BYTES + more
        )
    return Framing(payload_bytes=transport.segment_bytes, header_bytes=TCP_HEADER_BYTES)
