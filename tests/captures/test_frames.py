"""Frames of all sorts become TCP segments, or the reason why not."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP, fragment
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
)
from scapy.layers.l2 import ARP, CookedLinux, CookedLinuxV2, Dot1AD, Dot1Q, Ether

from midhaul.captures.capture import DnsMessage, Segment, decode

if TYPE_CHECKING:
    from scapy.packet import Packet

BODY = b"some payload"
TCP4 = IP(src="10.0.0.1", dst="10.0.0.2") / TCP(
    sport=5000, dport=443, seq=7, ack=9, flags="PA"
)
TCP6 = IPv6(src="2001:db8::1", dst="2001:db8::2") / TCP(
    sport=5000, dport=443, seq=7, ack=9, flags="PA"
)
ETHERNET = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")


def decoded(link_type: int, packet: Packet) -> Segment | DnsMessage | str:
    """What a packet of scapy is taken for."""
    data = bytes(packet)
    return decode(link_type, data, len(data))


@pytest.mark.parametrize("inner", [TCP4 / BODY, TCP6 / BODY], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize(
    ("link_type", "outer"),
    [
        (1, ETHERNET),
        (1, ETHERNET / Dot1Q(vlan=5)),
        (1, ETHERNET / Dot1AD(vlan=6) / Dot1Q(vlan=5)),
        (113, CookedLinux()),
        (276, CookedLinuxV2(ifindex=1)),
        (101, None),
        (12, None),
    ],
    ids=["Ethernet", "VLAN", "QinQ", "cooked", "cooked 2", "raw", "raw BSD"],
)
def test_every_link_type_gives_the_same_segment(
    link_type: int, outer: Packet | None, inner: Packet
) -> None:
    """Ports, numbers, flags and payload do not depend on what is around them."""
    found = decoded(link_type, inner if outer is None else outer / inner)
    assert isinstance(found, Segment)
    assert found[2:] == (5000, 443, 7, 9, 0x18, BODY, len(BODY))
    assert len(found.source) == (4 if inner.haslayer(IP) else 16)


def test_a_loopback_frame_of_bsd_is_read() -> None:
    """Four bytes of a family stand before the packet."""
    data = socket.AF_INET.to_bytes(4, "little") + bytes(TCP4 / BODY)
    found = decode(0, data, len(data))
    assert isinstance(found, Segment)
    assert found.data == BODY


def test_padding_behind_a_short_packet_is_no_payload() -> None:
    """Ethernet fills up to 60 bytes; the IP header knows where the packet ends."""
    padded = bytes(ETHERNET / TCP4) + bytes(6)
    found = decode(1, padded, len(padded))
    assert isinstance(found, Segment)
    assert found.n_bytes == 0
    assert found.data == b""


def test_a_cut_packet_keeps_the_length_of_its_payload() -> None:
    """What the snapshot length cut off is counted and not made up."""
    data = bytes(ETHERNET / TCP4 / (b"x" * 1000))
    found = decode(1, data[:80], len(data))
    assert isinstance(found, Segment)
    assert found.n_bytes == 1000
    assert found.data == b"x" * (80 - 54)


def test_a_packet_that_the_device_cuts_has_the_length_of_the_frame() -> None:
    """With segmentation in the device, the IP header may say 0."""
    data = bytearray(bytes(ETHERNET / TCP4 / BODY))
    data[16:18] = b"\0\0"
    found = decode(1, bytes(data), len(data))
    assert isinstance(found, Segment)
    assert found.data == BODY


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (ETHERNET / ARP(), "ARP"),
        (ETHERNET / IP() / ICMP(), "ICMP"),
        (ETHERNET / IPv6() / ICMPv6EchoRequest(), "ICMPv6"),
        (ETHERNET / IP() / UDP(sport=1234, dport=443) / BODY, "QUIC"),
        (ETHERNET / IP() / UDP(sport=1234, dport=99) / BODY, "UDP"),
        (ETHERNET / IP() / UDP(sport=1234, dport=53) / BODY, "DNS question"),
        (
            ETHERNET / IPv6() / IPv6ExtHdrFragment(m=1) / TCP() / BODY,
            "IPv6 fragment",
        ),
        (ETHERNET / fragment(IP() / TCP() / (b"x" * 2000), 600)[1], "IPv4 fragment"),
        (ETHERNET / fragment(IP() / TCP() / (b"x" * 2000), 600)[0], "IPv4 fragment"),
        (ETHERNET / IP(proto=200) / BODY, "IP protocol 200"),
        (Ether(type=0x88CC) / BODY, "LLDP"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_tcp_is_called_by_its_name(packet: Packet, reason: str) -> None:
    """The reason stands in a table of the run."""
    assert decoded(1, packet) == reason


def test_an_answer_of_a_name_server_is_handed_on() -> None:
    """Names of servers come from it."""
    packet = ETHERNET / IP() / UDP(sport=53, dport=4000) / BODY
    assert decoded(1, packet) == DnsMessage(BODY)


def test_options_and_extension_headers_are_stepped_over() -> None:
    """Payloads begin behind IP options and IPv6 extension headers."""
    options = IP(options=[IPOption_NOP()] * 4) / TCP() / BODY
    extended = IPv6() / IPv6ExtHdrDestOpt() / TCP() / BODY
    for packet in (options, extended):
        found = decoded(101, packet)
        assert isinstance(found, Segment)
        assert found.data == BODY


@given(
    st.sampled_from([0, 1, 12, 101, 105, 108, 113, 228, 229, 276, 999]),
    st.binary(max_size=120),
    st.integers(0, 2000),
)
def test_no_bytes_can_break_it(link_type: int, data: bytes, more: int) -> None:
    """Whatever comes is a segment, an answer, or a reason."""
    found = decode(link_type, data, len(data) + more)
    assert isinstance(found, Segment | DnsMessage | str)
    if isinstance(found, Segment):
        assert 0 <= len(found.data) <= found.n_bytes


@given(st.sampled_from([TCP4, TCP6]), st.integers(0, 70), st.integers(0, 255))
def test_a_changed_header_cannot_break_it(inner: Packet, at: int, value: int) -> None:
    """One wrong byte in a good packet is survived."""
    data = bytearray(bytes(ETHERNET / inner / BODY))
    data[at % len(data)] = value
    found = decode(1, bytes(data), len(data))
    assert isinstance(found, Segment | DnsMessage | str)
