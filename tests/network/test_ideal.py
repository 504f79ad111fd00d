"""Ideal FCT against the climb of every packet over every link, and against m3's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midhaul.errors import ConfigError
from midhaul.model import Flows, Link, Topology
from midhaul.network.ideal import framing, ideal_fct_of, time_ns, wire_bytes
from midhaul.network.routing import ecmp
from midhaul.network.topology import Cable, parking_lot
from midhaul.network.transports import RdmaTransport, TcpTransport

if TYPE_CHECKING:
    from pathlib import Path

    from midhaul.network.transports import Transport


def one_flow(topology: Topology, size_bytes: int, transport: Transport) -> int:
    """Ideal FCT from the first host of a line to its last."""
    ends = [topology.nodes.index(topology.hosts[i]) for i in (0, -1)]
    flows = Flows(
        source=np.array(ends[:1], np.int32),
        target=np.array(ends[1:], np.int32),
        size_bytes=np.array([size_bytes], np.int64),
        start_ns=np.zeros(1, np.int64),
    )
    routes = ecmp(topology, flows)
    return int(ideal_fct_of(topology, flows, routes, [transport])[0])


def climbed(
    packets: list[int],
    cables: list[Cable],
    pace_bps: float = np.inf,
    ack_bytes: int = 0,
) -> int:
    """When the last of some packets has arrived, each stored and forwarded by each.

    An ACK goes ahead of them, and they are ready a nanosecond after it is.
    """
    free = [0] * len(cables)
    arrived = ready = 0
    for n_bytes in [ack_bytes, *packets] if ack_bytes else packets:
        at = ready
        for i, cable in enumerate(cables):
            free[i] = max(at, free[i]) + round_half_up(n_bytes, cable.rate_bps)
            at = free[i]
        arrived = at
        is_first_ack = bool(ack_bytes) and ready == 0
        ready += 1 if is_first_ack else round_half_up(n_bytes, pace_bps)
    return arrived + sum(round(cable.delay_s * 1e9) for cable in cables)


def round_half_up(n_bytes: int, rate_bps: float) -> int:
    """Time of bytes on a link in whole nanoseconds."""
    return int(np.floor(8e9 * n_bytes / rate_bps + 0.5))


lines = st.lists(
    st.builds(
        Cable,
        rate_bps=st.sampled_from([1e6, 7e6, 1e9, 10e9, 40e9, 100e12]),
        delay_s=st.sampled_from([0.0, 1e-6, 0.003]),
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=80)
@given(lines, st.integers(1, 30_000), st.sampled_from(["dctcp", "hpcc", "timely"]))
def test_rdma_is_the_climb_of_every_packet(
    cables: list[Cable], size_bytes: int, congestion: str
) -> None:
    """The closed form is what each packet over each link gives, to the nanosecond."""
    for pace_bps in (np.inf, 5e6):
        transport = RdmaTransport(
            congestion=congestion, max_rate_bps=pace_bps, min_rate_bps=1e6
        )
        header = framing(transport).header_bytes
        full, rest = divmod(size_bytes, 1000)
        packets = [1000 + header] * full + ([rest + header] if rest else [])
        expected = climbed(packets, cables, pace_bps)
        assert one_flow(parking_lot(cables), size_bytes, transport) == expected


@given(lines, st.integers(1, 30_000))
def test_tcp_has_its_handshake_before(cables: list[Cable], size_bytes: int) -> None:
    """SYN, SYN-ACK and the packets behind the ACK, over the same links."""
    transport = TcpTransport(segment_bytes=1000)
    full, rest = divmod(size_bytes, 1000)
    packets = [1054] * full + ([rest + 54] if rest else [])
    trip = climbed([58], cables)
    expected = 2 * trip + climbed(packets, cables, ack_bytes=54)
    assert one_flow(parking_lot(cables), size_bytes, transport) == expected


def test_known_values() -> None:
    """One link of 10 Gbit/s and 1 µs: a packet of 1,048 B takes 838 ns and the way."""
    line = parking_lot([Cable(rate_bps=10e9, delay_s=1e-6)])
    assert one_flow(line, 1000, RdmaTransport()) == 1838
    assert one_flow(line, 2000, RdmaTransport()) == 2676
    assert one_flow(line, 1000, RdmaTransport(congestion="hpcc")) == 1872
    assert one_flow(line, 1000, TcpTransport(segment_bytes=1000)) == 3978
    assert time_ns(1054, 40e9) == 211
    assert time_ns(54, 1e12) == 0
    assert time_ns(1000, np.inf) == 0


def test_the_form_of_the_fork_cuts_every_term() -> None:
    """A header of 38.4 ns counts 38, and only 48 B of it whatever HPCC adds."""
    line = parking_lot([Cable(rate_bps=10e9, delay_s=1e-6)] * 2)
    for congestion in ("dctcp", "hpcc", "timely", "dcqcn"):
        transport = RdmaTransport(congestion=congestion, as_fork=True)
        assert one_flow(line, 2796, transport) == 2000 + 2 * 838 + 1436 + 2 * 38


def test_each_flow_has_the_form_of_its_transport() -> None:
    """Flows of two transports in one network are told by their numbers."""
    line = parking_lot([Cable(delay_s=1e-6)])
    ends = [line.nodes.index(host) for host in line.hosts]
    flows = Flows(
        source=np.array([ends[0]] * 2, np.int32),
        target=np.array([ends[-1]] * 2, np.int32),
        size_bytes=np.array([1000, 1000], np.int64),
        start_ns=np.zeros(2, np.int64),
        transport=np.array([1, 0], np.int64),
    )
    both = [RdmaTransport(), TcpTransport(segment_bytes=1000)]
    found = ideal_fct_of(line, flows, ecmp(line, flows), both)
    assert found.tolist() == [3978, 1838]
    assert wire_bytes(flows, both).tolist() == [1054, 1048]


def test_tcp_needs_a_way_back() -> None:
    """A link that leads one way only carries no connection, and is named."""
    topology = Topology(
        nodes=("a", "b"), links=(Link(source="a", target="b", rate_bps=1e9),)
    )
    with pytest.raises(ConfigError, match="a link back for a->b"):
        one_flow_of(topology)


def one_flow_of(topology: Topology) -> None:
    """A TCP flow from the first node to the second."""
    flows = Flows(
        source=np.zeros(1, np.int32),
        target=np.ones(1, np.int32),
        size_bytes=np.ones(1, np.int64),
        start_ns=np.zeros(1, np.int64),
    )
    ideal_fct_of(topology, flows, ecmp(topology, flows), [TcpTransport()])


@pytest.mark.needs_data
def test_the_form_of_the_fork_is_that_of_m3(data_dir: Path) -> None:
    """All ideal FCTs that the packet simulator recorded are met to the nanosecond."""
    import pyarrow.parquet as pq  # noqa: PLC0415  only where there is data

    file = data_dir / "m3_demo" / "flows.parquet"
    table = pq.read_table(file)
    line = parking_lot([Cable(rate_bps=10e9)] * 2)
    at = np.array([line.nodes.index(f"host{i}") for i in range(3)], np.int32)
    flows = Flows(
        source=at[table["src"].to_numpy()],
        target=at[table["dst"].to_numpy()],
        size_bytes=table["size_bytes"].to_numpy().astype(np.int64),
        start_ns=table["start_ns"].to_numpy().astype(np.int64),
    )
    recorded = table["ideal_fct_ns"].to_numpy()
    routes = ecmp(line, flows)
    as_fork = ideal_fct_of(line, flows, routes, [RdmaTransport(as_fork=True)])
    assert (as_fork == recorded).all()
    own = ideal_fct_of(line, flows, routes, [RdmaTransport()])
    assert (own >= recorded).all()
    assert (own / recorded).max() < 1.001
