"""Does anything stay behind, grow or get lost when all services run under fire?

A node of the testbed, the bridge between two brokers and a federation before its three
counting providers run for minutes under a healthy load. Meanwhile the node is attacked
in every way that ``hostile_attacks.py`` knows, bridge and brokers are killed and
restarted, and the federation is killed (SIGKILL) or stopped (SIGTERM) in the middle of
an attack, and started again; of attacks those that no provider hears of, as the calls
of the others end with the attack and not with their answers.
Then all is stopped, and what is left is looked for by a token in the environment.

    python benchmarks/soak.py [--quick] [--minutes M] [--seed N] [--data DIR]

``--quick`` takes one minute instead of ten. DIR is not needed. Memory is read at rest,
some time after each attack: during one, bodies that are allowed lie in it. Its growth
is the median of the last fifth of these over that of the second fifth, and its peak is
that of the whole time over the first.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import secrets
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import aiohttp
import numpy as np
from bridge_peer_site import Site, Wish, until
from bridge_soak import Collector, Publisher, disturb
from federation_budget import counts_of
from federation_budget_ledger import compare
from federation_budget_service import Service, counting
from hostile import GROWN_MB, SERVERS, Memory, begin, picture

from midhaul.machine.warden import VARIABLE, bearers
from midhaul.testbed.nodes.launcher import LocalLauncher
from midhaul.testbed.nodes.settings import NodeSettings
from midhaul.wire import Client

if TYPE_CHECKING:
    from collections.abc import Callable

BUDGET_USD = 1e6
ATTACK_S = 5.0
PAUSE_S = 0.05
REST_S = 2.0
UNHEARD = sorted(
    SERVERS["federation"][1].keys()
    - {"heavy_pictures", "long_pictures", "short_deadlines"}
)
TIMEOUT_S = 60.0
LEFT_S = 5.0
OK, UNAVAILABLE = 200, (502, 503, 504)


@dataclass(slots=True)
class Account:
    """What was seen.

    Attributes:
        counts: of requests, kills and messages, by what they were.
        node_mb: resident memory of the node at rest, over time.
        peak_mb: the most that it ever was.
        errors: what went wrong in a thread.
    """

    counts: Counter[str] = field(default_factory=Counter[str])
    node_mb: list[float] = field(default_factory=list[float])
    peak_mb: float = 0.0
    errors: list[BaseException] = field(default_factory=list[BaseException])


def node(account: Account, end_s: float, seed: int) -> None:
    """Healthy requests to a node that is attacked in one way after the other."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    with LocalLauncher() as launcher:
        one = launcher.start(NodeSettings(name="edge", detector="null"), {})
        memory = Memory(one.pid)

        async def ask() -> None:
            image = picture()
            async with Client() as client:
                while time.monotonic() < end_s:
                    answer = await client.infer(
                        one.url, [("healthy", image)], timeout_s=TIMEOUT_S
                    )
                    said = "ok" if answer.is_ok else f"lost: {answer.error}"
                    account.counts[f"node {said}"] += 1
                    await asyncio.sleep(PAUSE_S)

        asking = threading.Thread(target=asyncio.run, args=(ask(),))
        asking.start()
        time.sleep(REST_S)
        account.node_mb.append(memory.now())
        names: list[str] = []
        while time.monotonic() < end_s - ATTACK_S - REST_S:
            if not names:  # each of them once before one comes again
                names = sorted(SERVERS["node"][1].keys() - {"slow_model"})
                chance.shuffle(names)
            attack = begin(names.pop(), f"{one.url}/infer")
            time.sleep(ATTACK_S)
            attack.communicate()
            account.counts["attacks"] += 1
            time.sleep(REST_S)
            account.node_mb.append(memory.now())
        asking.join()
        account.peak_mb = memory.peak()
        account.counts["node alive"] = int(one.is_alive())


def bridge(account: Account, end_s: float, seed: int, folder: Path) -> None:
    """Messages of QoS 1 and 2 over a bridge that is killed, and so are its brokers."""
    wish = Wish(
        topics=("soak/#",),
        rate_bps=1e8,
        midhaul={"max_queue_messages": 1_000_000, "max_queue_bytes": 1 << 30},
        queued=1_000_000,
    )
    with Site("midhaul", folder, wish) as site:
        site.up()
        collector, publisher = Collector(site.far.port), Publisher(site.near.port)
        rng = np.random.default_rng(seed)
        account.counts += disturb(site, end_s - time.monotonic(), rng)
        publisher.end()
        wanted = {qos: range(qos - 1, publisher.n_sent, 2) for qos in (1, 2)}
        found = collector.found
        until(lambda: all(len(found[q]) >= len(wanted[q]) for q in (1, 2)), 120)
        publisher.close()
        collector.close()
    account.counts["messages"] += publisher.n_sent
    account.counts["messages lost"] += sum(
        one not in found[q] for q in (1, 2) for one in wanted[q]
    )


def federation(account: Account, end_s: float, seed: int, folder: Path) -> None:
    """Healthy requests to a federation that is killed and started again."""
    chance, image = random.Random(seed), picture()  # noqa: S311 - no secret
    with counting(folder, BUDGET_USD) as ports, Service(folder, ports, BUDGET_USD) as s:

        async def ask() -> None:
            async with aiohttp.ClientSession() as session:
                number = 0
                while time.monotonic() < end_s:
                    number += 1
                    try:
                        url = f"{s.url}/detect?item={number}"
                        async with session.post(
                            url, data=image + b"%d" % number
                        ) as response:
                            await response.read()
                            code = response.status
                    except (aiohttp.ClientError, OSError, TimeoutError):
                        account.counts["federation away"] += 1  # it was killed
                        await asyncio.sleep(PAUSE_S)
                        continue
                    is_known = code == OK or code in UNAVAILABLE
                    word = "answered" if is_known else f"odd {code}"
                    account.counts[f"federation {word}"] += 1
                    await asyncio.sleep(PAUSE_S)

        asking = threading.Thread(target=asyncio.run, args=(ask(),))
        asking.start()
        while time.monotonic() < end_s:
            attack = begin(chance.choice(UNHEARD), f"{s.url}/detect")
            time.sleep(min(chance.uniform(3, 15), max(0.0, end_s - time.monotonic())))
            how = chance.choice([signal.SIGKILL, signal.SIGTERM])
            s.end(how)
            account.counts[f"federation {how.name}"] += 1
            s.start()
            attack.communicate()
        asking.join()
        s.end(signal.SIGTERM)
        counts = asyncio.run(counts_of(ports[0]))
        found = compare(s.ledger, counts)
    for name in ("missing", "unpaid", "unexplained", "open"):
        account.counts[f"calls {name}"] += int(found[name])


def soak(minutes: float, seed: int) -> list[tuple[str, float, str, float]]:
    """Run all three at once; the figures."""
    account, token = Account(), f"soak-{secrets.token_hex(8)}"
    os.environ[VARIABLE] = token
    end_s = time.monotonic() + 60 * minutes

    def told(part: Callable[..., None], *arguments: object) -> None:
        try:
            part(account, end_s, seed, *arguments)
        except BaseException as error:  # noqa: BLE001  told at the end
            account.errors.append(error)

    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folders = [Path(name) / part for part in ("bridge", "federation")]
        folders[1].mkdir()
        parts = (
            threading.Thread(target=told, args=(node,)),
            threading.Thread(target=told, args=(bridge, folders[0])),
            threading.Thread(target=told, args=(federation, folders[1])),
        )
        for part in parts:
            part.start()
        for part in parts:
            part.join()
        left_s = time.monotonic() + LEFT_S
        while (left := bearers(token)) and time.monotonic() < left_s:
            time.sleep(0.05)
    for error in account.errors:
        print(f"a part ended with {error!r}")
    counts = account.counts
    print({key: n for key, n in sorted(counts.items()) if n})
    print("node at rest, MB:", *(f"{mb:.0f}" for mb in account.node_mb))
    fifth = max(1, len(account.node_mb) // 5)
    grown_mb = median(account.node_mb[-fifth:]) - median(
        account.node_mb[fifth : 2 * fifth]
    )
    lost = sum(n for key, n in counts.items() if key.startswith("node lost"))
    odd = sum(n for key, n in counts.items() if key.startswith("federation odd"))
    return [
        ("parts_that_ended_early", len(account.errors), "parts", 0.0),
        ("processes_left", len(left), "processes", 0.0),
        ("node_requests_lost", lost, "requests", 0.0),
        ("node_died", 1 - counts["node alive"], "nodes", 0.0),
        ("node_memory_grown", grown_mb, "MB", 30.0),
        ("node_memory_peak", account.peak_mb - account.node_mb[0], "MB", GROWN_MB),
        ("messages_acknowledged_and_lost", counts["messages lost"], "messages", 0.0),
        ("bridge_stops_over_3_s", counts["slow stops"], "stops", 0.0),
        ("federation_odd_answers", odd, "answers", 0.0),
        *(
            (f"calls_{name}", counts[f"calls {name}"], "calls", 0.0)
            for name in ("missing", "unpaid", "unexplained", "open")
        ),
    ]


def main() -> int:
    """Soak, and print the figures; 1 where one is short."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one minute")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", type=Path, help="not needed")
    options = parser.parse_args()
    figures = soak(1.0 if options.quick else options.minutes, options.seed)
    n_short = 0
    for name, value, unit, bar in figures:
        n_short += value > bar
        word = "ok" if value <= bar else "short"
        print(f"figure {name} {value:.4g} {unit} bar <={bar:g} {word}")
    return int(n_short > 0)


if __name__ == "__main__":
    sys.exit(main())
