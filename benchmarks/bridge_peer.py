"""Is midhaul's bridge at least what mosquitto's own bridge is?

    python benchmarks/bridge_peer.py [--quick] [--table]

Every line of the table in ``docs/explanation/enforcement.md`` is tried on both, one
after the other, between the same two mosquitto brokers on loopback. mosquitto's bridge
speaks MQTT 5, keeps its session and store, and has its defaults else. Prints, for
mosquitto, ``peer NAME VALUE UNIT``, and for midhaul ``figure NAME VALUE UNIT bar BAR
ok|short``, and exits 1 if one is short. ``--quick`` sends fewer messages; ``--table``
prints the rows of that table at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bridge_peer_site import (
    Bridged,
    Listener,
    Site,
    Wish,
    peer_lines,
    publish,
    retained,
    until,
)

from midhaul.deploy.curves.transport import publish_bytes
from midhaul.deploy.enforcement.lab import Broker

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

SETTLE_S = 2.0  # for what should not come
RATE_BPS = 200_000.0
PAYLOAD = 2000


def retained_live(kind: str, folder: Path, _n: int) -> float:
    """Share of changes while connected that the remote broker keeps."""
    with Site(kind, folder) as site:
        site.up()
        far = Listener(site.far.port, "iot/door")
        n_right = 0
        for n, value in enumerate((b"open", b"closed")):
            publish(site.near.port, "iot/door", [value], is_retained=True)
            far.wait("iot/door", n + 1)
            n_right += retained(site.far.port, "iot/door") == [value]
        far.close()
    return n_right / 2


def retained_cleared(kind: str, folder: Path, _n: int) -> float:
    """Whether clearing a retained message clears it at the remote broker."""
    with Site(kind, folder) as site:
        site.up()
        far = Listener(site.far.port, "iot/door")
        publish(site.near.port, "iot/door", [b"open"], is_retained=True)
        far.wait("iot/door", 1)
        publish(site.near.port, "iot/door", [b""], is_retained=True)
        far.wait("iot/door", 2)
        far.close()
        return float(retained(site.far.port, "iot/door") == [])


def retained_restart(kind: str, folder: Path, _n: int) -> float:
    """Whether a change before the bridge is there follows when it is."""
    with Site(kind, folder) as site:
        site.up()
        publish(site.near.port, "iot/door", [b"open"], is_retained=True)
        until(lambda: retained(site.far.port, "iot/door") == [b"open"], 5)
        site.far.stop()
        publish(site.near.port, "iot/door", [b"shut"], is_retained=True)
        site.bridge.stop()
        site.far.start()
        site.bridge.start()
        is_kept = until(lambda: retained(site.far.port, "iot/door") == [b"shut"], 10)
    return float(is_kept)


def both_ways(kind: str, folder: Path, _n: int) -> float:
    """Copies of one message at its own broker, one filter up and down."""
    with Site(kind, folder, Wish(both=True)) as site:
        site.up()
        near, far = Listener(site.near.port, "iot/#"), Listener(site.far.port, "iot/#")
        publish(site.near.port, "iot/up", [b"x"])
        publish(site.far.port, "iot/down", [b"x"])
        far.wait("iot/up", 1)
        near.wait("iot/down", 1)
        time.sleep(SETTLE_S)
        counts = [
            len(one.of(topic))
            for one in (near, far)
            for topic in ("iot/up", "iot/down")
        ]
        near.close()
        far.close()
    return float(max(counts)) if min(counts) else 0.0


def loop_of_two(kind: str, folder: Path, _n: int) -> float:
    """Copies of one message in two seconds, two bridges with one filter both ways."""
    wish = Wish()
    with contextlib.ExitStack() as stack:
        site = stack.enter_context(_back(kind, folder, wish))
        near = Listener(site[0].port, "iot/a")
        publish(site[0].port, "iot/a", [b"x"])
        time.sleep(SETTLE_S)
        near.close()
        return float(len(near.found))


@contextlib.contextmanager
def _back(kind: str, folder: Path, wish: Wish) -> Generator[list[Broker]]:
    """Two brokers, and a bridge each way."""
    ports = [_free_port(), _free_port()]
    lines = [
        peer_lines(wish, ports[1 - n], name=f"gw{n}") if kind == "mosquitto" else []
        for n in range(2)
    ]
    brokers = [Broker(folder / f"b{n}", port=ports[n], more=lines[n]) for n in range(2)]
    with brokers[0], brokers[1]:
        bridges = [
            Bridged(kind, folder / f"gw{n}", wish, near=brokers[n], far=brokers[1 - n])
            for n in range(2)
        ]
        for one in bridges:
            one.start()
            one.is_up()
        try:
            yield brokers
        finally:
            for one in bridges:
                one.stop()


def loop_of_three(kind: str, folder: Path, _n: int) -> float:
    """Copies of one message in two seconds at its broker, a circle over three."""
    wish = Wish()
    ports = [_free_port() for _ in range(3)]
    with contextlib.ExitStack() as stack:
        brokers: list[Broker] = []
        for n in range(3):
            there = ports[(n + 1) % 3]
            lines = peer_lines(wish, there, f"r{n}") if kind == "mosquitto" else []
            one = Broker(folder / f"b{n}", port=ports[n], more=lines)
            brokers.append(stack.enter_context(one))
        for n in range(3):
            bridge = Bridged(
                kind,
                folder / f"r{n}",
                wish,
                near=brokers[n],
                far=brokers[(n + 1) % 3],
            )
            bridge.start()
            stack.callback(bridge.stop)
            bridge.is_up()
        near = Listener(ports[0], "iot/a")
        publish(ports[0], "iot/a", [b"x"])
        time.sleep(SETTLE_S)
        near.close()
        return float(len(near.found))


def one_broker(kind: str, folder: Path, _n: int) -> float:
    """Copies of one message in two seconds, both ends on one broker."""
    wish, port = Wish(), _free_port()
    lines = peer_lines(wish, port) if kind == "mosquitto" else []
    with Broker(folder / "b", port=port, more=lines) as broker:
        bridge = Bridged(kind, folder / "gw", wish, near=broker, far=broker)
        bridge.start()
        time.sleep(SETTLE_S)
        near = Listener(port, "iot/a")
        publish(port, "iot/a", [b"x"])
        time.sleep(SETTLE_S)
        near.close()
        bridge.stop()
        return float(len(near.found))


def _after(kind: str, folder: Path, n: int, *, qos: int, is_kill: bool) -> list[bytes]:
    """What arrives of messages that waited when the bridge was ended."""
    with Site(kind, folder) as site:
        site.up()
        far_port = site.far.port
        site.far.stop()
        publish(site.near.port, "iot/a", [b"%d" % one for one in range(n)], qos=qos)
        time.sleep(1.0)
        site.bridge.stop(is_kill=is_kill)
        site.far.start()
        far = Listener(far_port, "iot/a")
        site.bridge.start()
        until(lambda: len({one.payload for one in far.of("iot/a")}) == n, 8)
        far.close()
        return [one.payload for one in far.of("iot/a")]


def queue_restart(kind: str, folder: Path, n: int) -> float:
    """Share of waiting messages that arrive after SIGTERM and a restart."""
    return len(set(_after(kind, folder, n, qos=1, is_kill=False))) / n


def queue_kill(kind: str, folder: Path, n: int) -> float:
    """Share of waiting messages that arrive after SIGKILL and a restart."""
    return len(set(_after(kind, folder, n, qos=1, is_kill=True))) / n


def once_kill(kind: str, folder: Path, n: int) -> float:
    """Share of messages of QoS 2 that arrive exactly once; SIGKILL while they flow."""
    payloads = [b"%d" % one for one in range(n)]
    slow = Wish(rate_bps=400_000.0)
    with Site(kind, folder, slow) as site:
        site.up()
        far = Listener(site.far.port, "iot/a")
        publish(site.near.port, "iot/a", [one.ljust(500) for one in payloads], qos=2)
        far.wait("iot/a", n // 10)
        site.bridge.stop(is_kill=True)
        site.bridge.start()
        until(lambda: len({one.payload for one in far.of("iot/a")}) == n, 10)
        time.sleep(0.5)
        far.close()
        found = [one.payload.strip() for one in far.of("iot/a")]
    return sum(found.count(one) == 1 for one in payloads) / n


def losses_counted(kind: str, folder: Path, n: int) -> float:
    """Share of the messages that a full queue has lost which are counted."""
    few = n // 4
    wish = Wish(queued=few, midhaul={"max_queue_messages": few})
    with Site(kind, folder, wish) as site:
        site.up()
        far_port = site.far.port
        counter = "$SYS/broker/publish/messages/dropped"
        before = float((retained(site.near.port, counter) or [b"0"])[0])
        site.far.stop()
        publish(site.near.port, "iot/a", [b"%d" % one for one in range(n)])
        time.sleep(1.5)
        site.far.start()
        far = Listener(far_port, "iot/a")
        far.wait("iot/a", n, 5)
        far.close()
        n_lost = n - len({one.payload for one in far.of("iot/a")})
        if kind == "mosquitto":
            after = float((retained(site.near.port, counter) or [b"0"])[0])
            counted = after - before
        else:
            counted = site.bridge.stats()["topics"]["iot/a"]["n_dropped"]
    return counted / n_lost if n_lost else 0.0


def qos_kept(kind: str, folder: Path, _n: int) -> float:
    """Share of the three qualities of service that arrive as they were published."""
    with Site(kind, folder) as site:
        site.up()
        far = Listener(site.far.port, "iot/#")
        for qos in range(3):
            publish(site.near.port, f"iot/{qos}", [b"x"], qos=qos)
            far.wait(f"iot/{qos}", 1, 5)
        far.close()
        n_right = sum(
            one.topic == f"iot/{one.qos}"
            for one in far.found
            if "probe" not in one.topic
        )
    return n_right / 3


def overlap_once(kind: str, folder: Path, _n: int) -> float:
    """Copies of a message that three overlapping filters match."""
    wish = Wish(topics=("iot/+/clip", "iot/cam/#", "iot/#"))
    part = Wish(topics=("iot/+/clip", "iot/cam/+"))
    found: list[int] = []
    for number, one in enumerate((wish, part)):
        with Site(kind, folder / str(number), one) as site:
            site.up()
            far = Listener(site.far.port, "iot/cam/clip")
            publish(site.near.port, "iot/cam/clip", [b"x"])
            far.wait("iot/cam/clip", 1)
            time.sleep(1.0)
            far.close()
            found.append(len(far.found))
    return float(max(found))


def properties_kept(kind: str, folder: Path, _n: int) -> float:
    """Share of five properties of MQTT 5 that arrive."""
    wanted = {
        "ContentType": "image/jpeg",
        "ResponseTopic": "iot/answer",
        "CorrelationData": b"\x01",
        "PayloadFormatIndicator": 1,
    }
    with Site(kind, folder) as site:
        site.up()
        far = Listener(site.far.port, "iot/a")
        publish(site.near.port, "iot/a", [b"x"], UserProperty=[("k", "v")], **wanted)
        far.wait("iot/a", 1)
        far.close()
        found = far.found[0].properties
    n_kept = sum(getattr(found, key, None) == value for key, value in wanted.items())
    return (n_kept + (("k", "v") in getattr(found, "UserProperty", []))) / 5


def expiry_counts(kind: str, folder: Path, _n: int) -> float:
    """Whether a message whose expiry passes while it waits does not arrive."""
    with Site(kind, folder) as site:
        site.up()
        far_port = site.far.port
        site.far.stop()
        publish(site.near.port, "iot/a", [b"old"], MessageExpiryInterval=1)
        publish(site.near.port, "iot/a", [b"new"])
        time.sleep(2.5)
        site.far.start()
        far = Listener(far_port, "iot/a")
        until(lambda: b"new" in [one.payload for one in far.found])
        time.sleep(0.5)
        far.close()
        return float([one.payload for one in far.found] == [b"new"])


def client_certificate(kind: str, folder: Path, _n: int) -> float:
    """Whether a broker that asks for a certificate is reached."""
    folder.mkdir(parents=True)
    _certificates(folder)
    port = _free_port()
    names = {"cafile": "ca.pem", "certfile": "server.pem", "keyfile": "server.key"}
    remote = [
        f"listener {port} 127.0.0.1",
        *[f"{key} {folder}/{name}" for key, name in names.items()],
        "require_certificate true",
    ]
    wish = Wish(
        remote_port=port,
        remote_lines=remote,
        mosquitto=[
            f"bridge_cafile {folder}/ca.pem",
            f"bridge_certfile {folder}/client.pem",
            f"bridge_keyfile {folder}/client.key",
        ],
        remote_keys={
            "has_tls": True,
            "ca_file": str(folder / "ca.pem"),
            "cert_file": str(folder / "client.pem"),
            "key_file": str(folder / "client.key"),
        },
    )
    with Site(kind, folder, wish) as site:
        return float(site.bridge.is_up(10))


def _certificates(folder: Path) -> None:
    def openssl(*words: str) -> None:
        command = ["openssl", *words]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)

    key = ["-newkey", "rsa:2048", "-nodes"]
    openssl(
        *["req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem"],
        *["-subj", "/CN=ca", "-days", "9"],
    )
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost")
    for name in ("server", "client"):
        openssl(
            *["req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr"],
            *["-subj", f"/CN={name}"],
        )
        openssl(
            *[
                "x509",
                "-req",
                "-in",
                f"{name}.csr",
                "-CA",
                "ca.pem",
                "-CAkey",
                "ca.key",
            ],
            *["-CAcreateserial", "-out", f"{name}.pem", "-days", "9"],
            *["-extfile", "names"],
        )


def preshared_key(kind: str, folder: Path, _n: int) -> float:
    """1 where a broker with pre-shared keys is reached, 0.5 where that is refused."""
    folder.mkdir(parents=True)
    (folder / "psk").write_text("gw:00112233445566778899aabbccddeeff\n")
    port = _free_port()
    wish = Wish(
        remote_port=port,
        remote_lines=[
            f"listener {port} 127.0.0.1",
            "psk_hint hint",
            f"psk_file {folder}/psk",
        ],
        mosquitto=[
            "bridge_identity gw",
            "bridge_psk 00112233445566778899aabbccddeeff",
        ],
        remote_keys={"psk_identity": "gw", "psk_file": str(folder / "psk")},
    )
    with Site(kind, folder, wish) as site:
        if site.bridge.is_up(10):
            return 1.0
        is_said = site.bridge.is_refused() and "stunnel" in site.bridge.log()
    return 0.5 if is_said else 0.0


def websockets(kind: str, folder: Path, _n: int) -> float:
    """Whether a broker behind websockets is reached."""
    port = _free_port()
    wish = Wish(
        remote_port=port,
        remote_lines=[f"listener {port} 127.0.0.1", "protocol websockets"],
        remote_keys={"transport": "websockets"},
    )
    with Site(kind, folder, wish) as site:
        return float(site.bridge.is_up(8))


def state_told(kind: str, folder: Path, _n: int) -> float:
    """Whether the remote broker tells 1 while the bridge is there, 0 when killed."""
    topic = "$SYS/broker/connection/gw-out/state"
    topic = topic if kind == "mosquitto" else "bridges/gw/state"
    with Site(kind, folder, Wish(midhaul={"state_topic": topic})) as site:
        site.up()
        is_one = until(lambda: retained(site.far.port, topic) == [b"1"], 5)
        site.bridge.stop(is_kill=True)
        is_zero = until(lambda: retained(site.far.port, topic) == [b"0"], 5)
    return float(is_one and is_zero)


def prefixes(kind: str, folder: Path, _n: int) -> float:
    """Share of messages up and down that arrive under their new names."""
    wish = Wish(both=True, local_prefix="here/", remote_prefix="site7/")
    with Site(kind, folder, wish) as site:
        site.up()
        near, far = Listener(site.near.port, "#"), Listener(site.far.port, "#")
        publish(site.near.port, "here/iot/a", [b"x"])
        publish(site.far.port, "site7/iot/b", [b"x"])
        n_right = far.wait("site7/iot/a", 1, 5) + near.wait("here/iot/b", 1, 5)
        near.close()
        far.close()
    return n_right / 2


def fallback(kind: str, folder: Path, _n: int) -> float:
    """Whether another address is tried where the first has nobody."""
    nobody = _free_port()
    with Broker(folder / "second") as second:
        wish = Wish(
            remote_port=nobody,
            fallback=[f"127.0.0.1:{second.port}"],
        )
        with Site(kind, folder, wish) as site:
            site.bridge.far = second
            return float(site.bridge.is_up(10))


def own_topics(kind: str, folder: Path, _n: int) -> float:
    """Topics of its own that reach the remote broker, with the filter #."""
    with Site(kind, folder, Wish(topics=("#",))) as site:
        far = Listener(site.far.port, "#")
        site.bridge.is_up()
        time.sleep(SETTLE_S)
        far.close()
        return float(len({one.topic for one in far.found} - {"probe"}))


def shared_silent(kind: str, folder: Path, _n: int) -> float:
    """Share of messages of a shared filter that are left out without a word."""
    with Site(kind, folder, Wish(topics=("$share/g/iot/#",))) as site:
        if kind == "midhaul":
            until(site.bridge.is_refused)
            said = " ".join(site.bridge.log().split())
            return float("only a part of the messages" not in said)
        time.sleep(SETTLE_S)
        far = Listener(site.far.port, "iot/#")
        member = Listener(site.near.port, "$share/g/iot/#")
        publish(site.near.port, "iot/a", [b"x"] * 20)
        time.sleep(1.0)
        member.close()
        far.close()
    return 1 - len(far.found) / 20


def pacing(kind: str, folder: Path, _n: int) -> float:
    """What arrives in the busiest second, over the granted rate."""
    n = int(RATE_BPS / 8 / PAYLOAD * 12)
    with Site(kind, folder, Wish(rate_bps=RATE_BPS)) as site:
        site.up()
        far = Listener(site.far.port, "iot/a")
        publish(site.near.port, "iot/a", [bytes(PAYLOAD)] * n)
        time.sleep(3.0)
        far.close()
    came = far.came_s
    each = 8 * publish_bytes(PAYLOAD, "iot/a", qos=1)
    most = max(sum(begin <= one < begin + 1 for one in came) for begin in came)
    return (most - 1) * each / RATE_BPS  # over every second, and one message


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


LINES: tuple[tuple[Callable[[str, Path, int], float], str, str], ...] = (
    (retained_live, "share", "==1"),
    (retained_cleared, "yes", "==1"),
    (retained_restart, "yes", "==1"),
    (both_ways, "copies", "==1"),
    (loop_of_two, "copies", "==1"),
    (loop_of_three, "copies", "<=2"),
    (one_broker, "copies", "==1"),
    (queue_restart, "share", "==1"),
    (queue_kill, "share", "==1"),
    (once_kill, "share", "==1"),
    (losses_counted, "share", "==1"),
    (qos_kept, "share", "==1"),
    (overlap_once, "copies", "==1"),
    (properties_kept, "share", "==1"),
    (expiry_counts, "yes", "==1"),
    (client_certificate, "yes", "==1"),
    (preshared_key, "yes", ">=0.5"),
    (websockets, "yes", "==1"),
    (state_told, "yes", "==1"),
    (prefixes, "share", "==1"),
    (fallback, "yes", "==1"),
    (own_topics, "topics", "==0"),
    (shared_silent, "share", "==0"),
    (pacing, "times", "<=1.1"),
)


def main() -> int:
    """Every line on both; 1 where midhaul's bridge is short."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer messages")
    parser.add_argument("--table", action="store_true", help="rows of the table")
    parser.add_argument("--only", nargs="*", default=[], help="names of lines")
    args = parser.parse_args()
    n = 100 if args.quick else 400
    n_short = 0
    rows: list[str] = []
    for line, unit, bar in LINES:
        name = line.__name__
        if args.only and name not in args.only:
            continue
        for kind in ("mosquitto", "midhaul"):
            with tempfile.TemporaryDirectory(prefix="bridge-peer-") as folder:
                value = line(kind, Path(folder) / name, n)
            if kind == "mosquitto":
                peer = value
                print(f"peer {name} {value:.4g} {unit}", flush=True)
                continue
            sign, limit = bar[:2], float(bar[2:])
            is_met = {
                "==": value == limit,
                "<=": value <= limit,
                ">=": value >= limit,
            }[sign]
            n_short += not is_met
            verdict = "ok" if is_met else "short"
            print(f"figure {name} {value:.4g} {unit} bar {bar} {verdict}", flush=True)
            said = " ".join((line.__doc__ or "").split()).rstrip(".")
            rows.append(f"| `{name}` | {said} | {peer:.4g} | {value:.4g} |")
    if args.table:
        print("\n".join(rows))
    return int(n_short > 0)


if __name__ == "__main__":
    sys.exit(main())
