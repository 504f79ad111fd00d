"""Publishers and a reader on the two sides of a lab, as programs of their own."""

from __future__ import annotations

import json
import sys
import threading
import time

import paho.mqtt.client as mqtt

_END = "end/of/scene"


def _client(host: str, port: int) -> mqtt.Client:
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.connect(host, port)
    return client


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def publish(host: str, port: int, seconds: float, rates: dict[str, float]) -> None:
    """Publish 2,500 bytes at a time on each topic, at its rate, with the time of it.

    When the broker has them all, their number is printed.
    """
    sent: list[mqtt.MQTTMessageInfo] = []

    def one(topic: str, rate_bps: float) -> None:
        period_s = 8 * 2500 / rate_bps
        begin_s = time.monotonic()
        number = 0
        while (due_s := number * period_s) < seconds:
            time.sleep(max(0.0, begin_s + due_s - time.monotonic()))
            head = json.dumps({"ns": time.monotonic_ns()}).encode()
            sent.append(client.publish(topic, head.ljust(2500), 1))
            number += 1

    client = _client(host, port)
    client.loop_start()
    threads = [threading.Thread(target=one, args=item) for item in rates.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one_sent in sent:
        one_sent.wait_for_publish()
    _say(str(len(sent)))


def collect(host: str, port: int) -> None:
    """Until stdin is closed: each message's topic, sent and come (ns), and bytes."""

    def keep(_client: object, _data: object, message: mqtt.MQTTMessage) -> None:
        came = time.monotonic_ns()
        if message.topic == _END:
            is_over.set()
            return
        sent = json.loads(message.payload)["ns"]
        rows.append((message.topic, sent, came, len(message.payload)))

    rows: list[tuple[str, int, int, int]] = []
    is_over = threading.Event()
    client = _client(host, port)
    client.on_message = keep
    client.on_subscribe = lambda *_: _say("ready")
    client.subscribe("#", 1)
    client.loop_start()
    sys.stdin.read()
    client.publish(_END, b"", 1)  # behind all that the broker has
    is_over.wait()
    client.loop_stop()
    _say(json.dumps(rows))


if __name__ == "__main__":
    _, verb, host, port, *rest = sys.argv
    if verb == "publish":
        publish(host, int(port), float(rest[0]), json.loads(rest[1]))
    else:
        collect(host, int(port))
