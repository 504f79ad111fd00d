"""Do healthy clients notice while somebody attacks the server that they use?

    python benchmarks/hostile.py [--quick] [--data DIR] [--only ATTACK …]

A node as it is started by the testbed answers an open load: sends are planned, and
latency counts from the planned send. Blocks without and with an attack take turns in
one run, so that what else the machine does falls on both. For each attack of
``hostile_attacks.py``, which run as a nice process of the machine:

- the median over its blocks of the healthy p99, over that of the undisturbed blocks;
- by how much the node's resident memory rises at its peak (the kernel's own mark), and
  how far above it stays within ten seconds of the attack's end;
- how many healthy requests were not answered.

At the end SIGTERM comes while a slow model is being loaded.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
from hostile_attacks import ATTACKS, SLOW
from PIL import Image

from midhaul.testbed.launcher import LocalLauncher
from midhaul.testbed.nodes import NodeSettings
from midhaul.wire import Client

TIMES_P99, GROWN_MB, KEPT_MB, END_S = 2.0, 200.0, 50.0, 5.0
RATE_HZ = 40.0
TIMEOUT_S = 60.0
SETTLE_S = 0.7
"""From the begin of an attack to its block, so that all its connections stand."""
BACK_S = 10.0


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


async def block(
    client: Client, url: str, image: bytes, seconds: float, seen: Seen
) -> float:
    """Healthy requests on their planned moments; the p99 of their latency, s."""
    begin_s = time.perf_counter()
    taken_s: list[float] = []

    async def ask(planned_s: float) -> None:
        await asyncio.sleep(planned_s - time.perf_counter())
        answer = await client.infer(url, [("healthy", image)], timeout_s=TIMEOUT_S)
        taken_s.append(time.perf_counter() - planned_s)
        if not answer.is_ok:
            seen.n_lost += 1
            print(f"lost: {answer.status}: {answer.error}")

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
    name: str, client: Client, url: str, pid: int, n_blocks: int, seconds: float
) -> Seen:
    """Undisturbed and attacked blocks in turn."""
    seen, memory, image = Seen(), Memory(pid), picture()
    rest_mb = memory.now()
    for _ in range(n_blocks):
        seen.calm_s.append(await block(client, url, image, seconds, seen))
        memory.forget_peak()
        attack = await asyncio.to_thread(begin, name, url)
        await asyncio.sleep(SETTLE_S)
        seen.attacked_s.append(await block(client, url, image, seconds, seen))
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


async def end_while_loading(url: str, process: subprocess.Popen[bytes]) -> float:
    """Seconds from SIGTERM to the end of a node that loads a slow model."""
    reader, writer = await asyncio.open_connection(*url[7:].split(":"))
    length = f"content-length: {len(SLOW)}\r\n\r\n".encode()
    writer.write(b"PUT /settings HTTP/1.1\r\nhost: x\r\n" + length + SLOW)
    await asyncio.sleep(1.0)
    begin_s = time.monotonic()
    process.terminate()
    await asyncio.to_thread(process.wait)
    took_s = time.monotonic() - begin_s
    said = await reader.read(100)
    writer.close()
    print(f"SIGTERM while a model loads: gone in {took_s:.2f} s, {said[:12]!r} said")
    return took_s


async def measure(names: list[str], n_blocks: int, seconds: float) -> bool:
    """All attacks on one node; whether every figure keeps its bar."""
    figures: list[tuple[str, float, str, float]] = []
    with LocalLauncher() as launcher:
        node = launcher.start(NodeSettings(name="edge", detector="null"), {})
        async with Client() as client:
            await block(client, node.url, picture(), 3.0, Seen())
            for name in names:
                seen = await one(
                    name, client, node.url, node.pid, n_blocks, seconds
                )  # fmt: skip
                figures += [
                    (f"{name}_p99", seen.times, "1", TIMES_P99),
                    (f"{name}_peak", seen.grown_mb, "MB", GROWN_MB),
                    (f"{name}_after", seen.kept_mb, "MB", KEPT_MB),
                    (f"{name}_lost", seen.n_lost, "requests", 0.0),
                ]
        took_s = await end_while_loading(node.url, node.process)
        figures.append(("end_while_loading", took_s, "s", END_S))
    for name, value, unit, bar in figures:
        word = "ok" if value <= bar else "short"
        print(f"figure {name} {value:.3g} {unit} bar <={bar:g} {word}")
    return all(value <= bar for _, value, _, bar in figures)


def main() -> int:
    """Measure; 1 where a figure is short."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="two short blocks each")
    parser.add_argument("--data", type=Path, help="not needed")
    parser.add_argument("--only", nargs="*", choices=ATTACKS, default=list(ATTACKS))
    options = parser.parse_args()
    n_blocks, seconds = (2, 2.5) if options.quick else (5, 5.0)
    return int(not asyncio.run(measure(options.only, n_blocks, seconds)))


if __name__ == "__main__":
    sys.exit(main())
