"""How much may be offered to a served memory, how fast, and what does a kill cost?

The service has one core of its own, clients another. Batches of 256 samples of 62
inputs and predictions over 21 bins, as Fugu's, are offered over loopback: first as fast
as they are taken, for each way to sync the journal, then at 100,000 samples/s by a
clock, where latency counts from the planned send. Then it is killed again and again
under load, and what was acknowledged must be there after each start: a twin that is
never killed hears the same batches, and must keep the same samples in the end.

Others may use the machine: so the bar of the rate is of CPU time, and where less than
200,000 samples/s were taken, latency is measured at half of what was taken.

    python benchmarks/memory_service.py [--quick]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from midhaul.memory.samples import Samples
from midhaul.memory.serving.messages import write_samples

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH, N_INPUTS, N_BINS = 256, 62, 21
RATE = 100_000
CAPACITY = 10_000
FASTEST_CONNECTIONS, PACED_CONNECTIONS = 4, 8
PACED_SYNC = "interval"
MOST_MS, MOST_RATIO = 100, 4
SYNCS = ("never", "interval", "always")
FILE = """
port = {port}
[bins]
n_classes = {n_bins}
[memory]
capacity = {capacity}
[upload]
n_samples = 1000
[journal]
sync = "{sync}"
max_bytes = {max_bytes}
"""


class Service:
    """The service's process, on a core of its own."""

    def __init__(
        self, folder: Path, *, sync: str, core: int, max_bytes: int = 256_000_000
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / "memory.toml"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.file.write_text(
            FILE.format(
                port=self.port,
                n_bins=N_BINS,
                capacity=CAPACITY,
                sync=sync,
                max_bytes=max_bytes,
            )
        )
        self.core = core
        self.start()

    def start(self) -> None:
        """Start it, and wait until it listens."""
        command = [sys.executable, "-m", "midhaul", "serve", "memory", str(self.file)]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            preexec_fn=lambda: os.sched_setaffinity(0, {self.core}),  # noqa: PLW1509
        )
        out, err = self.process.stdout, self.process.stderr
        if out is None or err is None or not out.readline():
            sys.exit(err.read() if err else "it does not start")

    def kill(self) -> None:
        """Without a word."""
        self.process.kill()
        self.process.communicate()

    def cpu_s(self) -> float:
        """CPU seconds so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1]
        user, system = fields.split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


class Connection:
    """A kept connection that sends prepared bytes and reads whole answers."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        """The body of the answer; OSError where it is not 200."""
        head = f"{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n"
        self._socket.sendall(head.encode() + b"\r\n" + body)
        data = b""
        while b"\r\n\r\n" not in data:
            if not (part := self._socket.recv(1 << 16)):
                raise ConnectionResetError
            data += part
        said, _, data = data.partition(b"\r\n\r\n")
        lines = said.lower().split(b"\r\n")
        (size,) = (
            int(line[15:]) for line in lines if line.startswith(b"content-length:")
        )
        while len(data) < size:
            if not (part := self._socket.recv(1 << 20)):
                raise ConnectionResetError
            data += part
        if b" 200 " not in lines[0]:
            raise OSError(said.decode() + data.decode(errors="replace"))
        return data


class Batches:
    """Batches that differ in their times only, made of a prepared one."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        n = BATCH
        time_s = rng.random(n)
        samples = Samples.of(
            rng.normal(size=(n, N_INPUTS)).astype(np.float32),
            rng.choice(N_BINS, n, p=rng.dirichlet(np.ones(N_BINS))).astype(float),
            prediction=rng.dirichlet(np.full(N_BINS, 0.3), n).astype(np.float32),
            time_s=time_s,
            group=np.arange(n) // 16,
            model_version=0,
        )
        self._body = write_samples(samples, {})
        self._at = self._body.index(time_s.tobytes())

    def of(self, number: int) -> bytes:
        """The one of a number."""
        time_s = number + np.arange(BATCH) / BATCH
        end = self._at + time_s.nbytes
        return self._body[: self._at] + time_s.tobytes() + self._body[end:]


def together(n: int, work: Callable[[], None]) -> None:
    """Do something in several threads."""
    threads = [threading.Thread(target=work) for _ in range(n)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()


def fastest(service: Service, seconds: float) -> dict[str, float]:
    """Samples per second of wall time and of CPU time, as fast as they are taken."""
    batches = Batches(0)
    numbers = iter(range(1 << 30))
    lock = threading.Lock()
    done: list[float] = []
    begin_s, begin_cpu_s = time.perf_counter(), service.cpu_s()

    def work() -> None:
        connection = Connection(service.port)
        while time.perf_counter() - begin_s < seconds:
            with lock:
                number = next(numbers)
            sent_s = time.perf_counter()
            connection.ask("POST", "/offer", batches.of(number))
            done.append(time.perf_counter() - sent_s)

    together(FASTEST_CONNECTIONS, work)
    wall_s = time.perf_counter() - begin_s
    n = len(done) * BATCH
    return {
        "rate": n / wall_s,
        "cpu_rate": n / (service.cpu_s() - begin_cpu_s),
        "p99_s": float(np.quantile(done, 0.99)),
    }


def paced(service: Service, seconds: float, rate: float) -> np.ndarray:
    """Latencies from the planned send, at a rate of samples per second."""
    batches = Batches(1)
    n = int(seconds * rate / BATCH)
    numbers = iter(range(n))
    lock = threading.Lock()
    latencies = np.full(n, np.nan)
    begin_s = time.perf_counter() + 0.5

    def work() -> None:
        connection = Connection(service.port)
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            body = batches.of(1_000_000 + number)
            planned_s = begin_s + number * BATCH / rate
            time.sleep(max(planned_s - time.perf_counter(), 0))
            connection.ask("POST", "/offer", body)
            latencies[number] = time.perf_counter() - planned_s

    together(PACED_CONNECTIONS, work)
    return latencies


def kept_of(service: Service) -> tuple[set[float], int]:
    """Times of what is in memory, and how many were ever offered."""
    connection = Connection(service.port)
    with pa.ipc.open_stream(connection.ask("GET", "/samples")) as stream:
        times = stream.read_all()["time_s"].to_numpy().tolist()
    said: dict[str, Any] = json.loads(connection.ask("GET", "/info"))
    return set(times), said["n_offered"]


def _journaling(folder: Path, core: int) -> Service:
    """One that takes a snapshot every 50,000 samples, so that kills hit some."""
    return Service(folder, sync="never", core=core, max_bytes=20_000_000)


def kills(folder: Path, core: int, n_kills: int) -> dict[str, float]:
    """Kill it under load; lost batches, and samples that a twin has and it has not."""
    rng = np.random.default_rng(2)
    service = _journaling(folder / "killed", core)
    batches = Batches(2)
    number, n_lost, restores_s = 0, 0, []
    sent: list[int] = []
    for _ in range(n_kills):
        timer = threading.Timer(0.2 + 1.5 * rng.random(), service.kill)
        timer.start()
        acknowledged = len(sent)
        with contextlib.suppress(OSError):
            connection = Connection(service.port)
            while True:
                connection.ask("POST", "/offer", batches.of(number))
                acknowledged += 1
                sent.append(number)
                number += 1
        timer.join()
        begin_s = time.perf_counter()
        service.start()
        restores_s.append(time.perf_counter() - begin_s)
        _, n_offered = kept_of(service)
        there = n_offered // BATCH
        n_lost += max(acknowledged - there, 0)
        if there > acknowledged:  # the one under way was written down, not answered
            sent.append(number)
        number += 1
    mine, _ = kept_of(service)
    service.process.send_signal(signal.SIGTERM)
    service.process.communicate()
    twin = _journaling(folder / "twin", core)
    connection = Connection(twin.port)
    for one in sent:
        connection.ask("POST", "/offer", batches.of(one))
    theirs, _ = kept_of(twin)
    twin.kill()
    return {
        "n_lost": n_lost,
        "n_differ": len(mine ^ theirs),
        "n_batches": len(sent),
        "restore_s": float(np.median(restores_s)),
    }


def main() -> int:
    """Measure, and hold what was measured to the bars."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="seconds, and two kills")
    parser.add_argument("--dir", type=Path, help="where journals go; else a temporary")
    args = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, set(cores[1:]) or set(cores))
    seconds, n_kills = (3.0, 2) if args.quick else (20.0, 20)
    folder = Path(tempfile.mkdtemp(dir=args.dir))
    rates: dict[str, float] = {}
    cpu_rates: dict[str, float] = {}
    latencies, rate = np.zeros(0), 0.0
    try:
        for sync in SYNCS:
            service = Service(folder / sync, sync=sync, core=cores[0])
            fastest(service, 1.0)
            found = fastest(service, seconds)
            rates[sync], cpu_rates[sync] = found["rate"], found["cpu_rate"]
            print(
                f"sync {sync:9}{found['rate']:12,.0f} samples/s"
                f"{found['cpu_rate']:12,.0f} per CPU second, p99 "
                f"{found['p99_s'] * 1e3:.1f} ms with {FASTEST_CONNECTIONS} clients"
            )
            if sync == PACED_SYNC:
                rate = min(RATE, found["rate"] / 2)
                latencies = paced(service, seconds, rate)
            service.kill()
        p50, p99, most = np.quantile(latencies, [0.5, 0.99, 1]) * 1e3
        late = float(latencies[-1] * 1e3)
        print(
            f"at {rate:,.0f} samples/s by the clock: p50 {p50:.1f}, p99 {p99:.1f}, "
            f"most {most:.1f} ms a batch; the last one {late:.1f} ms"
        )
        told = kills(folder, cores[0], n_kills)
        print(
            f"{n_kills} kills among {told['n_batches']:,} batches, back after "
            f"{told['restore_s']:.1f} s"
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    figures = (
        ("memory_service_rate", cpu_rates["interval"], "samples/CPU-s", f">={RATE}",
         cpu_rates["interval"] >= RATE),
        ("memory_service_sync_cost", rates["never"] / rates["always"], "x",
         f"<={MOST_RATIO}",
         rates["never"] <= MOST_RATIO * rates["always"]),
        ("memory_service_p99", p99, "ms", f"<={MOST_MS}", p99 <= MOST_MS),
        ("memory_service_lost", told["n_lost"], "batches", "==0", not told["n_lost"]),
        ("memory_service_differ", told["n_differ"], "samples", "==0",
         not told["n_differ"]),
    )  # fmt: skip
    for name, value, unit, bar, is_met in figures:
        print(
            f"figure {name} {value:.6g} {unit} bar {bar} {'ok' if is_met else 'short'}"
        )
    return 0 if all(is_met for *_, is_met in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
