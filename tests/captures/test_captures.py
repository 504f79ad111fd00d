"""Whole captures: every request found, every oddity named, nothing raised."""

from __future__ import annotations

import gzip
import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scapy.layers.dns import DNS, DNSQR, DNSRR
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.utils import PcapNgWriter
from tests.captures.packets import (
    BEGIN_NS,
    MS,
    NAME,
    conversation,
    drawn,
    frames,
    write_pcap,
)

from midhaul.captures.capture import Capture, captures_in
from midhaul.captures.request_times import Account, SplitLimits
from midhaul.captures.tracking import Tracker, series, split
from midhaul.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

ACK_END = 3  # of a connection: the client's last acknowledgement and both FINs


def inferences_ms(accounts: list[Account]) -> list[int]:
    """Inference of all requests that are ok, in whole ms."""
    return [
        round((e.inference_ns or 0) / MS)
        for one in accounts
        for e in one.exchanges
        if e.status == "ok"
    ]


def states(accounts: list[Account]) -> list[str]:
    """How all requests went."""
    return [e.status for one in accounts for e in one.exchanges]


def test_what_was_drawn_comes_out(tmp_path: Path) -> None:
    """Times to the microsecond, where nothing disturbs them."""
    (one,) = split([drawn(tmp_path / "a.pcap")])
    assert (one.status, one.tls, one.http) == ("ok", "1.3", "1.1")
    assert one.server_name == NAME
    assert one.connect_ns == one.rtt_ns == 20 * MS
    assert one.tls_ns is not None
    assert 20 * MS < one.tls_ns < 22 * MS
    assert inferences_ms([one]) == [200, 210, 220]
    for exchange, call in zip(one.exchanges, conversation().calls, strict=True):
        assert exchange.started_ns == call.begins_ns
        assert exchange.rtt_ns == 20 * MS
        assert exchange.inference_ns == call.inference_ns
        assert call.upload_bytes < exchange.upload_bytes < call.upload_bytes + 200


@pytest.mark.parametrize("suffix", ["pcap.gz", "pcapng"])
def test_other_formats_say_the_same(tmp_path: Path, suffix: str) -> None:
    """Gzip and pcapng are read as they are."""
    plain = drawn(tmp_path / "a.pcap")
    file = tmp_path / f"b.{suffix}"
    if suffix == "pcap.gz":
        file.write_bytes(gzip.compress(plain.read_bytes()))
    else:
        with PcapNgWriter(str(file)) as writer:
            for time_ns, data in frames(plain):
                packet = Ether(data)
                packet.time = time_ns / 1e9
                writer.write(packet)
    assert inferences_ms(split([file])) == [200, 210, 220]


def test_connections_go_on_from_file_to_file(tmp_path: Path) -> None:
    """Rotated captures are one series."""
    packets = frames(drawn(tmp_path / "a.pcap"))
    half = len(packets) // 2
    folder = tmp_path / "rotated"
    folder.mkdir()
    write_pcap(folder / "x.pcap1", packets[half:])
    write_pcap(folder / "x.pcap0", packets[:half])
    (group,) = series(captures_in(folder))
    assert [file.name for file in group] == ["x.pcap0", "x.pcap1"]
    assert inferences_ms(split(group)) == [200, 210, 220]


def test_two_captures_of_the_same_time_are_kept_apart(tmp_path: Path) -> None:
    """The same packets may be in both, as seen at two places."""
    files = [drawn(tmp_path / "a.pcap"), drawn(tmp_path / "b.pcap")]
    assert len(series(files)) == 2


def test_parallel_connections_do_not_mix(tmp_path: Path) -> None:
    """Pools of connections, each with requests of its own."""
    many = [
        conversation(2, port=41_000 + k, begin_ns=BEGIN_NS + k * 37 * MS)
        for k in range(5)
    ]
    accounts = split([drawn(tmp_path / "a.pcap", *many)])
    assert len(accounts) == 5
    assert inferences_ms(accounts) == [200, 210] * 5


def test_a_port_that_is_used_again_is_another_connection(tmp_path: Path) -> None:
    """A new SYN with another number begins it."""
    first = frames(drawn(tmp_path / "a.pcap", conversation(1)))
    later = conversation(1, begin_ns=BEGIN_NS + 10**10)
    second = []
    for time_ns, data in frames(drawn(tmp_path / "b.pcap", later)):
        packet = Ether(data)
        packet[TCP].seq += 5000 if packet[IP].dst == "198.51.100.7" else 0
        packet[TCP].ack += 5000 if packet[IP].src == "198.51.100.7" else 0
        second.append((time_ns, packet))
    accounts = split([write_pcap(tmp_path / "c.pcap", [*first, *second])])
    assert inferences_ms(accounts) == [200, 200]


def test_lost_repeated_and_reordered_packets_change_little(tmp_path: Path) -> None:
    """Each fifth data packet comes twice, neighbours are swapped."""
    packets = frames(drawn(tmp_path / "a.pcap"))
    odd = [
        packet
        for i, (time_ns, data) in enumerate(packets)
        for packet in (
            [(time_ns, data), (time_ns + 1000, data)]
            if i % 5 == 0
            else [(time_ns, data)]
        )
    ]
    for i in range(20, len(odd) - 1, 9):
        (a, first), (b, second) = odd[i], odd[i + 1]
        odd[i], odd[i + 1] = (a, second), (b, first)
    found = split([write_pcap(tmp_path / "b.pcap", odd)])
    assert inferences_ms(found) == pytest.approx([200, 210, 220], abs=1)
    assert found[0].n_repeated > 0


def test_packets_that_were_not_captured_are_counted(tmp_path: Path) -> None:
    """A hole within a record costs nothing but is told."""
    packets = frames(drawn(tmp_path / "a.pcap"))
    long = [i for i, (_, data) in enumerate(packets) if len(data) > 1400]
    gone = set(long[5:60:11])
    kept = [packet for i, packet in enumerate(packets) if i not in gone]
    (one,) = split([write_pcap(tmp_path / "b.pcap", kept)])
    assert one.n_missing_bytes == 1448 * len(gone)
    assert inferences_ms([one]) == pytest.approx([200, 210, 220], abs=1)


@pytest.mark.parametrize("snaplen", [96, 128, 256])
def test_a_short_snapshot_length_is_enough(tmp_path: Path, snaplen: int) -> None:
    """Heads of packets and of most records are there."""
    packets = frames(drawn(tmp_path / "a.pcap"))
    found = split([write_pcap(tmp_path / "b.pcap", packets, snaplen=snaplen)])
    assert inferences_ms(found) == pytest.approx([200, 210, 220], abs=1)


def test_a_capture_that_begins_in_the_middle_says_so(tmp_path: Path) -> None:
    """The first request may be a part of one; the others count."""
    packets = frames(drawn(tmp_path / "a.pcap"))
    first = next(i for i, (t, _) in enumerate(packets) if t >= BEGIN_NS + 3 * MS)
    (one,) = split([write_pcap(tmp_path / "b.pcap", packets[first:])])
    assert one.status == "cut"
    assert states([one]) == ["cut", "ok", "ok"]
    assert inferences_ms([one]) == pytest.approx([210, 220], abs=1)


def test_a_capture_that_ends_in_the_middle_says_so(tmp_path: Path) -> None:
    """The last request has no answer."""
    packets = frames(drawn(tmp_path / "a.pcap"))
    kept = [p for p in packets if p[0] < BEGIN_NS + 2_100 * MS]
    (one,) = split([write_pcap(tmp_path / "b.pcap", kept)])
    assert states([one]) == ["ok", "ok", "cut"]
    assert one.exchanges[-1].reason == "the capture ends before the answer"


@pytest.mark.parametrize(
    ("flags", "is_client", "reason"),
    [
        ("R", False, "reset by the server"),
        ("R", True, "reset by the client"),
        ("FA", False, "closed by the server without an answer"),
        ("FA", True, "closed by the client without an answer"),
    ],
)
def test_aborted_requests_have_a_reason(
    tmp_path: Path,
    flags: str,
    is_client: bool,  # noqa: FBT001 - a parameter of the test
    reason: str,
) -> None:
    """Resets and early ends, by whom."""
    packets = frames(drawn(tmp_path / "a.pcap"))
    kept = [p for p in packets if p[0] < BEGIN_NS + 2_100 * MS]
    side = "198.51.100.7" if not is_client else "192.0.2.1"
    last = next(Ether(d) for _, d in reversed(kept) if Ether(d)[IP].src == side)
    end = last.copy()
    end[TCP].remove_payload()
    end[TCP].seq += len(last[TCP].payload)
    end[TCP].flags = flags
    for field in ("len", "chksum"):
        delattr(end[IP], field)
    kept.append((kept[-1][0] + MS, end))
    (one,) = split([write_pcap(tmp_path / "b.pcap", kept)])
    assert states([one]) == ["ok", "ok", "aborted"]
    assert one.exchanges[-1].reason == reason


def test_small_requests_and_small_answers_do_not_count(tmp_path: Path) -> None:
    """By the limits that are set."""
    file = drawn(tmp_path / "a.pcap")
    large = SplitLimits(min_upload_bytes=61_500)
    assert states(split([file], limits=large)) == ["small", "small", "ok"]
    wordy = SplitLimits(min_answer_bytes=5000)
    assert states(split([file], limits=wordy)) == ["failed"] * 3


def test_names_come_from_name_servers_as_well(tmp_path: Path) -> None:
    """Where a hello does not have one, through aliases."""
    answer = DNS(
        qr=1,
        qd=DNSQR(qname="vision.example.org"),
        an=DNSRR(rrname="vision.example.org", type="CNAME", rdata="a.example.net")
        / DNSRR(rrname="a.example.net", type="A", rdata="198.51.100.7"),
        ancount=2,
    )
    packet = Ether() / IP() / UDP(sport=53, dport=9999) / answer
    file = write_pcap(tmp_path / "a.pcap", [(BEGIN_NS, packet)])
    tracker = Tracker(SplitLimits(), {})
    report = tracker.read(file, 0)
    assert tracker.names == {bytes((198, 51, 100, 7)): "vision.example.org"}
    assert report.ignored == {"DNS answer": 1}


def test_what_cannot_be_split_is_named(tmp_path: Path) -> None:
    """Scans, other protocols and QUIC are in the report, not in the numbers."""
    base = IP(src="10.0.0.1", dst="10.0.0.2")
    ssh = TCP(sport=50_000, dport=22, flags="PA", seq=1, ack=1)
    scan = TCP(sport=50_001, dport=443, flags="S", seq=1)
    refusal = IP(src="10.0.0.2", dst="10.0.0.1") / TCP(
        sport=443, dport=50_001, flags="RA", seq=0, ack=2
    )
    packets = [
        (BEGIN_NS, Ether() / base / ssh / b"SSH-2.0-OpenSSH_9\r\n"),
        (BEGIN_NS + 1, Ether() / base / scan),
        (BEGIN_NS + 2, Ether() / refusal),
        (BEGIN_NS + 3, Ether() / base / UDP(sport=50_002, dport=443) / b"quic"),
        (BEGIN_NS + 4, Ether() / base / ICMP()),
    ]
    file = write_pcap(tmp_path / "a.pcap", packets)
    tracker = Tracker(SplitLimits(), {})
    report = tracker.read(file, 0)
    assert report.ignored == {"QUIC": 1, "ICMP": 1}
    found = {one.server: one.reason for one in tracker.take_done(with_open=True)}
    assert found == {
        "10.0.0.2:22": "neither TLS nor HTTP",
        "10.0.0.2:443": "no data, reset by the server",
    }


def test_plain_http_is_exact(tmp_path: Path) -> None:
    """Heads, an interim answer and an error, with the status of each."""
    there = IP(src="10.0.0.1", dst="10.0.0.2")
    back = IP(src="10.0.0.2", dst="10.0.0.1")
    head = b"POST /d HTTP/1.1\r\nContent-Length: 900\r\nExpect: 100-continue\r\n\r\n"
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    answer = b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"
    seq, ack = 1, 1
    packets = [
        (0, there / TCP(sport=5, dport=80, flags="S", seq=0)),
        (10, back / TCP(sport=80, dport=5, flags="SA", seq=0, ack=1)),
        (11, there / TCP(sport=5, dport=80, flags="A", seq=1, ack=1)),
    ]
    for t, is_client, data in (
        (12, True, head),
        (22, False, interim),
        (23, True, b"x" * 900),
        (133, False, answer),
    ):
        if is_client:
            tcp = TCP(sport=5, dport=80, flags="PA", seq=seq, ack=ack)
            packets.append((t, there / tcp / data))
            seq += len(data)
        else:
            tcp = TCP(sport=80, dport=5, flags="PA", seq=ack, ack=seq)
            packets.append((t, back / tcp / data))
            ack += len(data)
    timed = [(BEGIN_NS + t * MS, packet) for t, packet in packets]
    (one,) = split([write_pcap(tmp_path / "a.pcap", timed, link_type=101)])
    (exchange,) = one.exchanges
    assert (one.protocol, exchange.status, exchange.code) == ("http/1.1", "failed", 500)
    assert exchange.inference_ns == 100 * MS
    assert exchange.upload_ns == 11 * MS


def test_a_file_that_is_no_capture_is_told(tmp_path: Path) -> None:
    """With its name, and what was expected."""
    file = tmp_path / "a.pcap"
    file.write_bytes(b"this is a letter")
    with pytest.raises(DataError, match=r"a\.pcap is no packet capture"):
        split([file])
    with pytest.raises(DataError, match="found none"):
        captures_in(tmp_path / "nowhere")


def test_a_capture_that_is_cut_off_keeps_what_it_has(tmp_path: Path) -> None:
    """The damage is told beside it."""
    whole = drawn(tmp_path / "a.pcap").read_bytes()
    file = tmp_path / "b.pcap"
    file.write_bytes(whole[: len(whole) * 2 // 3])
    capture = Capture(file)
    n = sum(1 for _ in capture)
    assert n > 50
    assert capture.damage == "ends within a packet"
    assert states(split([file]))[0] == "ok"


@pytest.fixture(scope="module")
def wholes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A small capture in both formats."""
    folder = tmp_path_factory.mktemp("wholes")
    plain = drawn(folder / "a.pcap", conversation(1))
    file = folder / "a.pcapng"
    with PcapNgWriter(str(file)) as writer:
        for _, data in frames(plain):
            writer.write(Ether(data))
    return {"pcap": plain.read_bytes(), "pcapng": file.read_bytes()}


@pytest.mark.parametrize("kind", ["pcap", "pcapng"])
def test_every_end_within_a_packet_is_told(
    wholes: dict[str, bytes], tmp_path: Path, kind: str
) -> None:
    """Within its head as well, and of many files that end so at once."""
    whole, n_of_undamaged = wholes[kind], []
    for n_missing in range(100):
        file = tmp_path / f"{n_missing}.{kind}"
        file.write_bytes(whole[: len(whole) - n_missing])
        capture = Capture(file)
        n = sum(1 for _ in capture)
        if not capture.damage:
            n_of_undamaged.append(n)
    # All of them, and where the last one begins.
    assert n_of_undamaged == [n_of_undamaged[0], n_of_undamaged[0] - 1]


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.sampled_from(["pcap", "pcapng"]),
    st.floats(0, 1),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=30),
)
def test_no_damage_can_break_it(
    wholes: dict[str, bytes],
    tmp_path: Path,
    kind: str,
    end: float,
    changes: list[tuple[float, int]],
) -> None:
    """Cut off anywhere, with wrong bytes anywhere: accounts, or a DataError."""
    data = bytearray(wholes[kind])
    for place, value in changes:
        data[int(place * (len(data) - 1))] = value
    file = tmp_path / f"damaged.{kind}"
    file.write_bytes(bytes(data[: int(end * len(data))]))
    try:
        accounts = split([file])
    except DataError:
        return
    for one, exchange in itertools.product(accounts, [0]):
        assert one.n_packets > exchange


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_order_of_packets_can_break_it(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Any part of a conversation, shuffled, is survived."""
    folder = tmp_path_factory.mktemp("orders")
    packets = frames(drawn(folder / "a.pcap", conversation(1)))
    some = data.draw(st.lists(st.sampled_from(packets), max_size=60))
    accounts = split([write_pcap(folder / "b.pcap", some)])
    assert sum(one.n_packets for one in accounts) == len(some)
