"""Do healthy clients notice while somebody attacks the server that they use?

    python benchmarks/hostile.py [--quick] [--server NAME] [--only ATTACK …]

DIR of ``--data`` is not needed. A node as it is started by the testbed, or a federation
before three providers that count, answers an open load: sends are planned, and latency
counts from the planned send. Every picture of a federation's client is a new one, so
none comes from the cache. Blocks without and with an attack take turns in one run, so
that what else the machine does falls on both. For each attack of
``hostile_attacks.py``, which runs as a nice process of the machine:

- the median over its blocks of the healthy p99, over that of the undisturbed blocks;
- by how much the server's resident memory rises at its peak (the kernel's own mark),
  and how far above it stays within ten seconds of the attack's end;
- how many healthy requests were not answered.

At the end SIGTERM comes while a node loads a slow model, and while a federation waits
for bodies that arrive slowly. The longest that both may take is said in their settings.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import aiohttp
import numpy as np
from federation_budget_service import Service, counting
from hostile_attacks import ATTACKS, CHUNK, OF_ALL, OF_FEDERATIONS, OF_NODES, SLOW, head
from PIL import Image

from midhaul.testbed.nodes.launcher import LocalLauncher
from midhaul.testbed.nodes.settings import NodeSettings
from midhaul.wire import Client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

TIMES_P99, GROWN_MB, KEPT_MB = 2.0, 200.0, 50.0
END_S = {"node": 5.0, "federation": 15.0}
"""A federation's file gives requests under way ten seconds unless it says another."""
RATE_HZ = 40.0
TIMEOUT_S = 60.0
SETTLE_S = 0.7
"""From the begin of an attack to its block, so that all its connections stand."""
BACK_S = 10.0


PROVIDERS = tuple({"price_usd": 1e-6, "latency_s": 0.0} for _ in range(3))
BUDGET_USD = 1e3
N_SLOW = 20
OK = 200


@dataclass(frozen=True, slots=True)
class Target:
    """A server that is attacked.

    Attributes:
        url: with the path that pictures are sent to.
        process: of the server.
        ask: sends a picture; empty where it was answered, else what was said.
    """

    url: str
    process: subprocess.Popen[bytes] | subprocess.Popen[str]
    ask: Callable[[], Awaitable[str]]


@contextlib.asynccontextmanager
async def node() -> AsyncIterator[Target]:
    """A node of the testbed."""
    image = picture()
    with LocalLauncher() as launcher:
        one = launcher.start(NodeSettings(name="edge", detector="null"), {})
        async with Client() as client:

            async def ask() -> str:
                answer = await client.infer(
                    one.url, [("healthy", image)], timeout_s=TIMEOUT_S
                )
                return "" if answer.is_ok else f"{answer.status}: {answer.error}"

            yield Target(f"{one.url}/infer", one.process, ask)


@contextlib.asynccontextmanager
async def federation() -> AsyncIterator[Target]:
    """A federation before three providers."""
    image, number = picture(), itertools.count()
    with (
        tempfile.TemporaryDirectory() as name,
        counting(Path(name), BUDGET_USD, PROVIDERS) as ports,
        Service(Path(name), ports, BUDGET_USD) as service,
    ):
        url = f"{service.url}/detect"
        async with aiohttp.ClientSession() as session:

            async def ask() -> str:
                body = image + b"%d" % next(number)
                time_out = aiohttp.ClientTimeout(total=TIMEOUT_S)
                try:
                    async with session.post(url, data=body, timeout=time_out) as answer:
                        text = await answer.text()
                except (aiohttp.ClientError, OSError, TimeoutError) as error:
                    return repr(error)
                if answer.status == OK and json.loads(text)["status"] == "complete":
                    return ""
                return f"{answer.status}: {text}"

            yield Target(url, service.process, ask)


SERVERS = {
    "node": (node, OF_ALL | OF_NODES),
    "federation": (federation, OF_ALL | OF_FEDERATIONS),
}


@dataclass(slots=True)
class Seen:
    """What was seen of one attack."""

    calm_s: list[float] = field(default_factory=list[float])
    attacked_s: list[float] = field(default_factory=list[float])
    n_lost: int = 0
    grown_mb: float = 0.0
    kept_mb: float = 0.0
    became: Counter[str] = field(default_factory=Counter[str])

    @property
    def times(self) -> float:
        """Healthy p99 under attack over the undisturbed one."""
        return median(self.attacked_s) / median(self.calm_s)


class Memory:
    """Resident memory of a process, in MB."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")

    def _of(self, name: str) -> float:
        lines = (self._folder / "status").read_text().splitlines()
        return next(int(x.split()[1]) for x in lines if x.startswith(name)) / 1000

    def now(self) -> float:
        """At this moment."""
        return self._of("VmRSS")

    def forget_peak(self) -> None:
        """Let the kernel's mark of the peak begin anew."""
        (self._folder / "clear_refs").write_text("5")

    def peak(self) -> float:
        """The most since the mark began."""
        return self._of("VmHWM")


async def block(target: Target, seconds: float, seen: Seen) -> float:
    """Healthy requests on their planned moments; the p99 of their latency, s."""
    begin_s = time.perf_counter()
    taken_s: list[float] = []

    async def ask(planned_s: float) -> None:
        await asyncio.sleep(planned_s - time.perf_counter())
        problem = await target.ask()
        taken_s.append(time.perf_counter() - planned_s)
        if problem:
            if not seen.n_lost:
                print(f"lost, the first one: {problem[:400]}")
            seen.n_lost += 1

    n = int(seconds * RATE_HZ)
    await asyncio.gather(*(ask(begin_s + i / RATE_HZ) for i in range(n)))
    return float(np.quantile(taken_s, 0.99, method="higher"))


def begin(name: str, url: str) -> subprocess.Popen[str]:
    """An attack in a process of its own, which has begun."""
    program = Path(__file__).with_name("hostile_attacks.py")
    process = subprocess.Popen(
        [sys.executable, str(program), name, url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    if process.stdout is None or process.stdout.readline() != "ready\n":
        message = f"the attack {name} does not begin"
        raise RuntimeError(message)
    return process


async def one(
    name: str, target: Target, rest_mb: float, n_blocks: int, seconds: float
) -> Seen:
    """Undisturbed and attacked blocks in turn; memory is that above the rest."""
    seen, memory = Seen(), Memory(target.process.pid)
    for _ in range(n_blocks):
        seen.calm_s.append(await block(target, seconds, seen))
        memory.forget_peak()
        attack = await asyncio.to_thread(begin, name, target.url)
        await asyncio.sleep(SETTLE_S)
        seen.attacked_s.append(await block(target, seconds, seen))
        said, _ = await asyncio.to_thread(attack.communicate)
        seen.became += Counter(json.loads(said))
        seen.grown_mb = max(seen.grown_mb, memory.peak() - rest_mb)
    end_s = time.monotonic() + BACK_S
    seen.kept_mb = memory.now() - rest_mb
    while seen.kept_mb > KEPT_MB and time.monotonic() < end_s:
        await asyncio.sleep(0.1)
        seen.kept_mb = memory.now() - rest_mb
    print(
        f"{name}: p99 undisturbed {said_ms(seen.calm_s)}, attacked "
        f"{said_ms(seen.attacked_s)} ms; attackers: {dict(seen.became)}",
        flush=True,
    )
    return seen


def said_ms(times_s: list[float]) -> str:
    """The p99 of each block in ms."""
    return " ".join(f"{1e3 * time_s:.0f}" for time_s in times_s)


def picture() -> bytes:
    """A JPEG of 640x480 px with some detail."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (60, 80, 3)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((640, 480)).save(file, "JPEG", quality=90)
    return file.getvalue()


async def end_while_busy(target: Target, name: str) -> float:
    """Seconds from SIGTERM to the end of a server in the middle of something."""
    host, port = target.url.split("/")[2].split(":")
    if name == "node":  # it loads a slow model
        sent = head("PUT", "/settings", f"content-length: {len(SLOW)}") + b"\r\n" + SLOW
    else:  # bodies arrive slowly
        sent = head("POST", "/detect", "content-length: 1000000") + b"\r\n" + CHUNK
    n = 1 if name == "node" else N_SLOW
    opened = [await asyncio.open_connection(host, int(port)) for _ in range(n)]
    for _, writer in opened:
        writer.write(sent)
    await asyncio.sleep(1.0)
    begin_s = time.monotonic()
    target.process.terminate()
    await asyncio.to_thread(target.process.wait)
    took_s = time.monotonic() - begin_s
    said = Counter([await ended(reader) for reader, _ in opened])
    for _, writer in opened:
        writer.close()
    print(f"SIGTERM while busy: gone in {took_s:.2f} s, {dict(said)} said")
    return took_s


async def ended(reader: asyncio.StreamReader) -> str:
    """The begin of the last that a server says."""
    try:
        return (await reader.read(12)).decode()
    except OSError as error:
        return type(error).__name__


async def measure(
    server: str, names: list[str], n_blocks: int, seconds: float
) -> list[tuple[str, float, str, float]]:
    """All attacks on one server; the figures."""
    figures: list[tuple[str, float, str, float]] = []
    serve, attacks = SERVERS[server]
    async with serve() as target:
        await block(target, 3.0, Seen())
        rest_mb = Memory(target.process.pid).now()
        for name in [name for name in names if name in attacks]:
            seen = await one(name, target, rest_mb, n_blocks, seconds)
            figures += [
                (f"{server}_{name}_p99", seen.times, "1", TIMES_P99),
                (f"{server}_{name}_peak", seen.grown_mb, "MB", GROWN_MB),
                (f"{server}_{name}_after", seen.kept_mb, "MB", KEPT_MB),
                (f"{server}_{name}_lost", seen.n_lost, "requests", 0.0),
            ]
        took_s = await end_while_busy(target, server)
        figures.append((f"{server}_end_while_busy", took_s, "s", END_S[server]))
    return figures


def main() -> int:
    """Measure; 1 where a figure is short."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="two short blocks each")
    parser.add_argument("--data", type=Path, help="not needed")
    parser.add_argument("--server", choices=SERVERS, help="only this one")
    parser.add_argument("--only", nargs="*", choices=ATTACKS, default=list(ATTACKS))
    options = parser.parse_args()
    n_blocks, seconds = (2, 2.5) if options.quick else (5, 5.0)
    figures: list[tuple[str, float, str, float]] = []
    for server in [options.server] if options.server else SERVERS:
        figures += asyncio.run(measure(server, options.only, n_blocks, seconds))
    for name, value, unit, bar in figures:
        word = "ok" if value <= bar else "short"
        print(f"figure {name} {value:.3g} {unit} bar <={bar:g} {word}")
    return int(any(value > bar for _, value, _, bar in figures))


if __name__ == "__main__":
    sys.exit(main())
