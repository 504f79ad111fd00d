"""MQTT over TCP: what transport adds to payload on an uplink.

Formats: MQTT 3.1.1 (OASIS, 2014), section 2.2.3 (remaining length of 1 to 4 bytes), 3.3
(PUBLISH: topic and, for QoS 1 and 2, a packet identifier), 3.6 (PUBREL); IPv4 (RFC 791)
and TCP (RFC 9293) without options but timestamps (RFC 7323). Bytes are counted as
Linux counts them on a device and in a queueing discipline: with the header of the link,
without preamble and checksum.

What is left out:

1. Connecting, and pings of connections that are silent for a keep-alive time.
2. Packets that are sent again.
3. Messages that share a segment, and acknowledgements that ride on the next message:
   with these the uplink carries less than is charged.

Besides, what one published message takes on the uplink, for those who send one at a
time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from midhaul.deploy.curves.qos_curve import QosCurve
from midhaul.errors import DataError

if TYPE_CHECKING:
    from jaxtyping import Float64

_IP_TCP_BYTES = 20 + 20
_TIMESTAMPS_BYTES = 12
_PUBREL_BYTES = 4
_MAX_REMAINING_BYTES = 268_435_455
_LENGTH_STEPS = (128, 16_384, 2_097_152)


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttTransport:
    """How messages travel.

    Attributes:
        qos: of MQTT: 0 at most once, 1 at least once, 2 exactly once.
        topic_bytes: length of the topic in UTF-8.
        mtu_bytes: largest IP packet.
        link_header_bytes: of the link, per packet; 14 for Ethernet.

    Raises:
        DataError: a number is negative, or the MTU holds no payload.
    """

    qos: Literal[0, 1, 2] = 1
    topic_bytes: int = 32
    mtu_bytes: int = 1500
    link_header_bytes: int = 14

    def __post_init__(self) -> None:
        """Check the numbers."""
        if (
            self.qos not in {0, 1, 2}
            or self.topic_bytes < 0
            or self.link_header_bytes < 0
            or self.mss_bytes < 1
        ):
            message = (
                "expected QoS 0, 1 or 2, no negative length and an MTU above "
                f"{_IP_TCP_BYTES + _TIMESTAMPS_BYTES} bytes, found {self}"
            )
            raise DataError(message)

    @property
    def mss_bytes(self) -> int:
        """Payload of TCP in one packet, at most."""
        return self.mtu_bytes - _IP_TCP_BYTES - _TIMESTAMPS_BYTES

    @property
    def header_bytes(self) -> int:
        """Headers of one packet: link, IP and TCP."""
        return self.link_header_bytes + _IP_TCP_BYTES + _TIMESTAMPS_BYTES

    def message_bytes(
        self, payload_bytes: Float64[np.ndarray, " n"]
    ) -> Float64[np.ndarray, " n"]:
        """Bytes on the uplink of one message, all that goes its way included.

        The broker's PUBACK goes the other way; the acknowledgement of TCP that answers
        it goes this way. QoS 2 adds a PUBREL and a second acknowledgement.

        Args:
            payload_bytes: application payload of messages.

        Raises:
            DataError: a payload is negative or more than MQTT allows.
        """
        remaining = np.ceil(payload_bytes) + 2 + self.topic_bytes + 2 * (self.qos > 0)
        if (payload_bytes < 0).any() or (remaining > _MAX_REMAINING_BYTES).any():
            message = (
                f"expected messages of 0 to {_MAX_REMAINING_BYTES} bytes, found "
                f"{payload_bytes.min():g} to {payload_bytes.max():g}"
            )
            raise DataError(message)
        publish = (
            2 + np.searchsorted(_LENGTH_STEPS, remaining, side="right") + remaining
        )
        n_packets = np.ceil(publish / self.mss_bytes)
        # An acknowledgement of PUBACK; or of PUBREC, with the PUBREL, and of PUBCOMP.
        n_packets += self.qos
        pubrel = _PUBREL_BYTES * (self.qos // 2)
        return publish + pubrel + n_packets * self.header_bytes


def charged(curve: QosCurve, transport: MqttTransport) -> QosCurve:
    """The curve with what a transport adds to its rates.

    Where the rate of messages is not known, the payload is one endless message: it is
    charged the headers of full packets only.

    Args:
        curve: with rates of payload; a rate of 0 sends no messages and costs nothing.
        transport: how its messages travel.

    Raises:
        DataError: messages are longer than MQTT allows.
    """
    rates_bps = curve.rates_bps
    if curve.message_hz:
        payload_bytes = rates_bps / 8 / curve.message_hz
        wire_bps = transport.message_bytes(payload_bytes) * 8 * curve.message_hz
    else:
        wire_bps = rates_bps * (1 + transport.header_bytes / transport.mss_bytes)
    return QosCurve(
        name=curve.name,
        knobs=curve.knobs,
        rates_bps=np.where(rates_bps > 0, wire_bps, 0.0),
        qualities=curve.qualities,
        message_hz=curve.message_hz,
    )


def publish_bytes(payload_bytes: int, topic: str, *, qos: Literal[0, 1, 2]) -> int:
    """Bytes of a message with all that MQTT, TCP, IP and Ethernet add.

    A DataError where the message is larger than MQTT allows.
    """
    transport = MqttTransport(qos=qos, topic_bytes=len(topic.encode()))
    return int(transport.message_bytes(np.array([float(payload_bytes)]))[0])
