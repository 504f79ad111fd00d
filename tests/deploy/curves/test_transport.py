"""What MQTT adds on an uplink."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midhaul.deploy.curves.qos_curve import QosCurve
from midhaul.deploy.curves.seed_curves import seed_curve
from midhaul.deploy.curves.transport import MqttTransport, charged
from midhaul.deploy.enforcement.lab import Broker, Lab
from midhaul.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"
needs_lab = pytest.mark.skipif(
    sys.platform != "linux"
    or os.geteuid() != 0
    or any(
        shutil.which(name, path=_PATH) is None
        for name in ("ip", "tc", "mosquitto", "mosquitto_pub")
    ),
    reason="needs root, ip, tc, mosquitto and mosquitto-clients",
)


@pytest.mark.parametrize(
    ("qos", "payload", "expected"),
    [
        # 1 type, 1 length, 2 + 3 topic, no identifier; one packet
        (0, 10, 17 + 66),
        # an identifier more, and the acknowledgement of the PUBACK
        (1, 10, 19 + 66 + 66),
        # a PUBREL of 4 bytes, which acknowledges the PUBREC; one for the PUBCOMP
        (2, 10, 19 + 66 + 4 + 66 + 66),
        # 127 and 128 bytes remaining: one and two bytes of length
        (1, 120, 1 + 1 + 127 + 132),
        (1, 121, 1 + 2 + 128 + 132),
        # 1448 bytes of one packet exactly, and one more
        (0, 1440, 1448 + 66),
        (0, 1441, 1449 + 2 * 66),
    ],
)
def test_message(qos: Literal[0, 1, 2], payload: int, expected: int) -> None:
    """Bytes are those of the formats, added by hand."""
    transport = MqttTransport(qos=qos, topic_bytes=3)
    assert transport.message_bytes(np.array([payload]))[0] == expected


@given(
    payloads=st.lists(st.integers(0, 10_000_000), min_size=2, max_size=5),
    qos=st.sampled_from([0, 1, 2]),
)
def test_longer_costs_more(payloads: list[int], qos: Literal[0, 1, 2]) -> None:
    """A longer message never takes fewer bytes, and each more than its payload."""
    sizes = np.sort(np.array(payloads, dtype=np.float64))
    wire = MqttTransport(qos=qos).message_bytes(sizes)
    assert (np.diff(wire) >= np.diff(sizes)).all()
    assert (wire > sizes).all()


def test_charged() -> None:
    """A charged curve has higher rates, and the same knobs and qualities."""
    curve = seed_curve("yolo", "cloud")
    dear = charged(curve, MqttTransport())
    assert (dear.rates_bps > curve.rates_bps).all()
    assert dear.rates_bps[-1] / curve.rates_bps[-1] == pytest.approx(1.06, abs=0.01)
    assert dear.knobs.tolist() == curve.knobs.tolist()
    assert dear.qualities.tolist() == curve.qualities.tolist()


def test_unknown_messages() -> None:
    """Without messages per second headers of full packets are charged."""
    rates = np.array([0.0, 1448e3])
    curve = QosCurve.of("a", np.arange(2.0), rates, np.array([0.1, 0.5]))
    assert charged(curve, MqttTransport()).rates_bps.tolist() == [0.0, 1514e3]


@pytest.mark.parametrize("wrong", [{"qos": 3}, {"topic_bytes": -1}, {"mtu_bytes": 52}])
def test_bad_transport(wrong: dict[str, int]) -> None:
    """A transport that cannot be is refused."""
    with pytest.raises(DataError):
        MqttTransport(**wrong)  # type: ignore[arg-type]


def test_too_long() -> None:
    """A message that MQTT cannot carry is refused."""
    with pytest.raises(DataError, match="268435455"):
        MqttTransport().message_bytes(np.array([3e8]))


@needs_lab
@pytest.mark.parametrize("payload", [5_000, 60_000])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_real_bytes(payload: int, qos: Literal[0, 1, 2], tmp_path: Path) -> None:
    """Real messages over a real link take what is charged, to within five percent."""
    n = 40
    topic = "site/camera-1/frame"
    message = tmp_path / "message"
    message.write_bytes(bytes(payload))
    with (
        Lab(uplink_bps=100e6, downlink_bps=100e6) as lab,
        Broker(
            tmp_path / "broker",
            host=lab.address("cloud"),
            port=1883,
            command=lab.command("cloud"),
        ),
    ):
        sent: list[int] = []
        for repeat in (1, n + 1):
            before = lab.traffic().up_bytes
            publish = ["mosquitto_pub", "-h", lab.address("cloud"), "-t", topic]
            publish += ["-q", str(qos), "-f", str(message), "--repeat", str(repeat)]
            publish += ["--repeat-delay", "0.02"]
            subprocess.run(lab.command("gateway", publish), check=True)
            sent.append(lab.traffic().up_bytes - before)
    transport = MqttTransport(qos=qos, topic_bytes=len(topic))
    expected = float(transport.message_bytes(np.array([payload]))[0])
    assert (sent[1] - sent[0]) / n == pytest.approx(expected, rel=0.05)
