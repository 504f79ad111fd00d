"""Publishers and a reader on the two sides of a lab, as programs of their own."""

from __future__ import annotations

import json
import sys
import threading
import time

import paho.mqtt.client as mqtt


def _client(host: str, port: int) -> mqtt.Client:
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.connect(host, port)
    return client


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def publish(host: str, port: int, seconds: float, rates: dict[str, float]) -> None:
    """Publish 2,500 bytes at a time on each topic, at its rate, with the time of it."""

    def one(topic: str, rate_bps: float) -> None:
        period_s = 8 * 2500 / rate_bps
        begin_s = time.monotonic()
        number = 0
        while (due_s := number * period_s) < seconds:
            time.sleep(max(0.0, begin_s + due_s - time.monotonic()))
            head = json.dumps({"ns": time.monotonic_ns()}).encode()
            client.publish(topic, head.ljust(2500), 1)
            number += 1

    client = _client(host, port)
    client.loop_start()
    threads = [threading.Thread(target=one, args=item) for item in rates.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def collect(host: str, port: int, seconds: float) -> None:
    """Print a line per message: topic, when it was sent and came (ns), and bytes."""

    def keep(_client: object, _data: object, message: mqtt.MQTTMessage) -> None:
        came = time.monotonic_ns()
        sent = json.loads(message.payload)["ns"]
        rows.append((message.topic, sent, came, len(message.payload)))

    rows: list[tuple[str, int, int, int]] = []
    client = _client(host, port)
    client.on_message = keep
    client.on_subscribe = lambda *_: _say("ready")
    client.subscribe("#", 1)
    begin_s = time.monotonic()
    while time.monotonic() - begin_s < seconds:
        client.loop(0.1)
    _say(json.dumps(rows))


if __name__ == "__main__":
    _, verb, host, port, seconds, *rest = sys.argv
    if verb == "publish":
        publish(host, int(port), float(seconds), json.loads(rest[0]))
    else:
        collect(host, int(port), float(seconds))
