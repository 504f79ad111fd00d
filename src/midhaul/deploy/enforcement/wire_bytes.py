"""What a published message takes on the link: MQTT, TCP, IP and Ethernet."""

from __future__ import annotations

_SEGMENT_BYTES = 1448  # of 1500, without IP (20), TCP (20) and its time stamps (12)
_HEADERS_BYTES = 52 + 14  # of a segment; Ethernet's as ``tc`` counts it


def publish_bytes(payload_bytes: int, topic: str, *, qos: int) -> int:
    """Bytes that a PUBLISH takes from sender to broker.

    Args:
        payload_bytes: of the message.
        topic: as it stands in the packet.
        qos: 1 adds a packet identifier, and the TCP acknowledgement of the PUBACK.
    """
    rest = 2 + len(topic.encode()) + (2 if qos else 0) + payload_bytes
    length_bytes = max(1, -(-rest.bit_length() // 7))
    sent = 1 + length_bytes + rest
    n_segments = -(-sent // _SEGMENT_BYTES) + (1 if qos else 0)
    return sent + n_segments * _HEADERS_BYTES
