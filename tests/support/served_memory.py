"""Served memories in processes of their own, and streams to offer them."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from midhaul.memory.samples import Samples
from midhaul.memory.serving.messages import write_samples

if TYPE_CHECKING:
    import signal
    from collections.abc import Generator
    from pathlib import Path

N_CLASSES, N_INPUTS = 3, 4
_SERVE = [sys.executable, "-m", "midhaul", "serve", "memory"]


def stream(
    n: int, seed: int = 0, begin: int = 0, *, version: int = 0, is_known: bool = True
) -> Samples:
    """``n`` samples of 4 inputs and 3 classes, of groups of 10 and clusters of 20."""
    rng = np.random.default_rng([seed, begin])
    y = rng.choice(N_CLASSES, n, p=[0.9, 0.09, 0.01]).astype(float)
    time_s = begin + np.arange(n, dtype=float)
    return Samples.of(
        rng.normal(size=(n, N_INPUTS)).astype(np.float32),
        y if is_known else np.full(n, np.nan),
        prediction=rng.dirichlet([4, 1, 0.5], n).astype(np.float32),
        time_s=time_s,
        group=time_s // 10,
        cluster=time_s // 20,
        model_version=version,
    )


def arrow(samples: Samples) -> bytes:
    """Samples as a client sends them."""
    return write_samples(samples, {})


class MemoryProcess:
    """A memory's process."""

    def __init__(self, folder: Path, text: str = "") -> None:
        self.folder = folder
        self.file = folder / "memory.toml"
        top, _, rest = text.partition("[")
        rest = f"[{rest}" if rest else ""
        if "[bins]" not in rest:
            rest += f"\n[bins]\nn_classes = {N_CLASSES}\n"
        self.file.write_text(f"port = 0\n{top}\n{rest}")
        self.start()

    def start(self) -> None:
        """Start it; ``line`` is what it says when it listens, empty if it ends."""
        self.process = subprocess.Popen(
            [*_SERVE, self.file],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline()
        self.port = int(self.line.partition("/offer")[0].rpartition(":")[2] or 0)

    def end(self, how: signal.Signals) -> tuple[int, str]:
        """Its exit code and what it wrote on stderr."""
        self.process.send_signal(how)
        _, said = self.process.communicate(timeout=120)
        return self.process.returncode, said

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, bytes]:
        """Status and body of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def told(
        self, method: str, path: str, body: bytes | None = None
    ) -> tuple[int, dict[str, Any]]:
        """The same for JSON."""
        accept = {"accept": "application/json"}
        code, said = self.ask(method, path, body, accept)
        return code, json.loads(said)

    def offer(self, samples: Samples) -> dict[str, Any]:
        """Offer samples, which must be taken; what became of them."""
        code, said = self.told("POST", "/offer", arrow(samples))
        assert code == 200, said
        return said

    def samples(self) -> pa.Table:
        """What is in memory."""
        code, body = self.ask("GET", "/samples")
        assert code == 200
        with pa.ipc.open_stream(body) as reader:
            return reader.read_all()

    def times(self) -> list[float]:
        """Times of what is in memory, rising."""
        return sorted(self.samples()["time_s"].to_numpy().tolist())

    def metric(self, name: str) -> float:
        """A number that Prometheus would read."""
        text = self.ask("GET", "/metrics")[1].decode()
        lines = [one for one in text.splitlines() if one.startswith(f"{name} ")]
        return float(lines[0].rpartition(" ")[2])


@contextmanager
def memory_of(folder: Path, text: str = "") -> Generator[MemoryProcess]:
    """A memory that does not outlive the test."""
    folder.mkdir(exist_ok=True)
    service = MemoryProcess(folder, text)
    try:
        yield service
    finally:
        service.process.kill()
        service.process.communicate()
