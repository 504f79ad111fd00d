"""Two brokers and a bridge between them: mosquitto's own, or midhaul's.

Both get the same brokers, the same topics and the same messages. Mosquitto's bridge is
a part of the local broker, so killing it kills that; midhaul's is a process of its own.
Nothing happens when it is run alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from midhaul.deploy.enforcement.lab import Broker

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PATIENCE_S = 20.0
QUEUED = 10_000  # messages that a broker keeps for who is away
POLL_S = 0.02


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a bridge is asked to do; prefixes as mosquitto has them."""

    topics: Sequence[str] = ("iot/#",)
    both: bool = False
    local_prefix: str = ""
    remote_prefix: str = ""
    rate_bps: float = 1e8
    mosquitto: Sequence[str] = ()
    midhaul: dict[str, Any] = field(default_factory=dict)
    remote_keys: dict[str, Any] = field(default_factory=dict)
    remote_lines: Sequence[str] = ()
    remote_port: int = 0  # where another than the remote broker's first
    fallback: Sequence[str] = ()
    queued: int = QUEUED


class Listener:
    """Messages that a broker passes on."""

    def __init__(self, port: int, name: str, *, has_retained: bool = True) -> None:
        self.found: list[mqtt.MQTTMessage] = []
        self.came_s: list[float] = []
        ready = threading.Event()
        self._client = _client()
        self._client.on_message = lambda _c, _d, message: self._keep(message)
        self._client.on_subscribe = lambda *_: ready.set()
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        options = SubscribeOptions(
            qos=2, retainAsPublished=True, retainHandling=0 if has_retained else 2
        )
        self._client.subscribe(name, options=options)
        ready.wait(PATIENCE_S)

    def _keep(self, message: mqtt.MQTTMessage) -> None:
        self.found.append(message)
        self.came_s.append(time.monotonic())

    def of(self, topic: str) -> list[mqtt.MQTTMessage]:
        """Those of a topic."""
        return [one for one in list(self.found) if one.topic == topic]

    def wait(self, topic: str, n: int, seconds: float = PATIENCE_S) -> int:
        """Wait for messages of a topic; how many there are then."""
        until(lambda: len(self.of(topic)) >= n, seconds)
        return len(self.of(topic))

    def close(self) -> None:
        """Hear no more."""
        self._client.disconnect()
        self._client.loop_stop()


def _client() -> mqtt.Client:
    return mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)


def until(is_so: Any, seconds: float = PATIENCE_S) -> bool:
    """Whether something becomes so in time."""
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        if is_so():
            return True
        time.sleep(POLL_S)
    return bool(is_so())


def publish(
    port: int,
    topic: str,
    payloads: Sequence[bytes],
    *,
    qos: int = 1,
    is_retained: bool = False,
    **properties: Any,
) -> None:
    """Publish, and return when the broker has acknowledged everything."""
    more = Properties(PacketTypes.PUBLISH)
    for name, value in properties.items():
        setattr(more, name, value)
    client = _client()
    client.connect("127.0.0.1", port)
    client.loop_start()
    sent = [client.publish(topic, one, qos, is_retained, more) for one in payloads]
    for one in sent:
        one.wait_for_publish(PATIENCE_S)
    client.disconnect()
    client.loop_stop()


def retained(port: int, topic: str) -> list[bytes]:
    """What a broker keeps under a topic."""
    listener = Listener(port, topic)
    end = Listener(port, "end/of/retained")
    publish(port, "end/of/retained", [b""])
    end.wait("end/of/retained", 1)
    found = [one.payload for one in listener.found if one.retain]
    listener.close()
    end.close()
    return found


class Bridged:
    """One bridge from a broker to another one; a context manager."""

    def __init__(
        self, kind: str, folder: Path, wish: Wish, *, near: Broker, far: Broker
    ) -> None:
        self.kind, self.folder, self.wish = kind, folder, wish
        self.near, self.far = near, far
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, or start it again."""
        if self.kind == "mosquitto":
            self.near.start()
            return
        folder, wish = self.folder, self.wish
        folder.mkdir(parents=True, exist_ok=True)
        rates = {wish.local_prefix + name: wish.rate_bps for name in wish.topics}
        (folder / "rates.json").write_text(json.dumps({"rates_bps": rates}))
        down = [{"topic": wish.remote_prefix + name} for name in wish.topics]
        port = wish.remote_port or self.far.port
        settings = {
            "name": folder.name,
            "stats": "stats.json",
            "watch_s": 0.1,
            "local": {"port": self.near.port},
            "remote": {
                "port": port,
                "fallback": list(wish.fallback),
                **wish.remote_keys,
            },
            "local_prefix": wish.local_prefix,
            "remote_prefix": wish.remote_prefix,
            "down": down if wish.both else [],
            "max_queue_messages": QUEUED,
            **wish.midhaul,
        }
        (folder / "bridge.json").write_text(json.dumps(settings))
        with (folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    *["-m", "midhaul", "serve", "bridge", str(folder / "bridge.json")],
                ],
                stdout=log,
                stderr=log,
                env=os.environ,
            )

    def stop(self, *, is_kill: bool = False) -> None:
        """End it, with or without a warning."""
        if self.kind == "mosquitto":
            self.near.stop(is_kill=is_kill)
        if self.process is not None:
            (self.process.kill if is_kill else self.process.terminate)()
            self.process.wait()
            self.process = None

    def is_refused(self) -> bool:
        """Whether the bridge has ended by itself."""
        return self.process is not None and self.process.poll() is not None

    def log(self) -> str:
        """What midhaul's bridge has said."""
        return (self.folder / "log").read_text()

    def stats(self) -> dict[str, Any]:
        """The counters of midhaul's bridge."""
        return json.loads((self.folder / "stats.json").read_text())

    def is_up(self, seconds: float = PATIENCE_S) -> bool:
        """Wait until a message passes; whether one does."""
        far = Listener(self.far.port, "#", has_retained=False)
        name = self.wish.topics[0].replace("#", "probe").replace("+", "probe")
        topic = self.wish.local_prefix + name

        def passes() -> bool:
            if self.is_refused():
                return True
            with contextlib.suppress(OSError):
                publish(self.near.port, topic, [b""], qos=0)
            return any("probe" in one.topic for one in far.found)

        until(passes, seconds)
        far.close()
        return not self.is_refused() and any("probe" in one.topic for one in far.found)


class Site:
    """A local and a remote broker with a bridge between them; a context manager."""

    def __init__(self, kind: str, folder: Path, wish: Wish | None = None) -> None:
        wish = wish or Wish()
        self.wish = wish
        limits = {"max_queued": wish.queued, "max_queued_bytes": 1 << 30}
        self.far = Broker(folder / "far", more=wish.remote_lines, **limits)
        if kind == "midhaul":  # its queue is its own
            limits["max_queued"] = QUEUED
        port = wish.remote_port or self.far.port
        lines = peer_lines(wish, port) if kind == "mosquitto" else ()
        self.near = Broker(folder / "near", more=("sys_interval 1", *lines), **limits)
        self.bridge = Bridged(kind, folder / "gw", wish, near=self.near, far=self.far)

    def __enter__(self) -> Self:
        self.far.start()
        self.near.start()
        self.bridge.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bridge.stop()
        self.near.stop()
        self.far.stop()

    def up(self) -> Self:
        """The same, as soon as messages pass.

        Raises:
            RuntimeError: none does.
        """
        if not self.bridge.is_up():
            message = f"{self.bridge.kind}'s bridge does not come up"
            raise RuntimeError(message)
        return self


def peer_lines(wish: Wish, port: int, name: str = "gw") -> list[str]:
    """Mosquitto's bridge, as lines of its config."""
    way = "both" if wish.both else "out"
    prefixes = (wish.local_prefix or '""', wish.remote_prefix or '""')
    return [
        f"connection {name}",
        f"addresses {' '.join([f'127.0.0.1:{port}', *wish.fallback])}",
        f"remote_clientid {name}-out",
        *[f"topic {one} {way} 2 {' '.join(prefixes)}" for one in wish.topics],
        "bridge_protocol_version mqttv50",
        "cleansession false",
        "restart_timeout 1",
        *wish.mosquitto,
    ]
