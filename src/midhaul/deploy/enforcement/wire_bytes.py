"""What one published message takes on the uplink, for those who send one at a time."""

from __future__ import annotations

from typing import Literal

import numpy as np

from midhaul.deploy.transport import MqttTransport


def publish_bytes(payload_bytes: int, topic: str, *, qos: Literal[0, 1, 2]) -> int:
    """Bytes of a message with all that MQTT, TCP, IP and Ethernet add.

    Args:
        payload_bytes: of the message.
        topic: as it stands in the packet.
        qos: of MQTT.

    Raises:
        DataError: the message is larger than MQTT allows.
    """
    transport = MqttTransport(qos=qos, topic_bytes=len(topic.encode()))
    return int(transport.message_bytes(np.array([float(payload_bytes)]))[0])
