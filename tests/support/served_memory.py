"""Served memories in processes of their own, and streams to offer them."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from tests.support.odd_states import odd_states
from tests.support.raw_http import request

from midhaul.errors import DataError
from midhaul.memory.samples import Samples
from midhaul.memory.serving.config import MemoryFile
from midhaul.memory.serving.engine import ServedMemory
from midhaul.memory.serving.messages import write_samples
from midhaul.npz_state import write_state

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Generator
    from pathlib import Path

    from midhaul.memory.predictors.base import Predictor

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


def no_model(data: bytes) -> Predictor:
    """A loader that takes no model."""
    message = f"{len(data)} bytes are no model"
    raise DataError(message)


def exported() -> dict[str, Any]:
    """What another memory, which saw 30 samples of model 0, would be merged by."""
    config = MemoryFile.model_validate(
        {"bins": {"n_classes": N_CLASSES}, "memory": {"capacity": 20}}
    )
    engine = ServedMemory(config, no_model, lambda _: {})
    engine.offer([stream(30, seed=1, begin=500)], 1.0)
    return engine.exported()


def requests(folder: Path) -> list[bytes]:
    """Requests to a memory from which changes begin, odd states to merge among them."""
    samples = stream(12)
    columns = {
        "x": samples.x.tolist(),
        "y": [None, *samples.y.tolist()[1:]],
        "prediction": samples.prediction.tolist(),
        "time_s": samples.time_s.tolist(),
        "group": samples.group.tolist(),
        "model_version": [0] * 12,
    }
    labels = {name: columns[name][1:] for name in ("time_s", "group", "y")}
    of_json = "content-type: application/json"
    what = ("samples", "sketch", "export", "decision", "metrics", "info", "health")
    found = [
        *(request("GET", f"/{one}") for one in what),
        *(request("POST", "/offer", arrow(stream(n))) for n in (0, 1, 12)),
        request("POST", "/offer", json.dumps(columns).encode(), of_json),
        request("POST", "/label", json.dumps(labels).encode(), of_json),
        request("POST", "/decision"),
        request("POST", "/retrained?version=1"),
        request("POST", "/model?version=99", b"not ONNX"),
    ]
    states = [exported(), *(one for _, one in odd_states(exported(), random.Random(1)))]
    for state in states:
        file = folder / "state.npz"
        with contextlib.suppress(TypeError, ValueError):  # what no file can hold
            write_state(file, state)
            found.append(request("POST", "/merge", file.read_bytes()))
    return found


@contextmanager
def logged_memory(folder: Path) -> Generator[tuple[str, Callable[[], str]]]:
    """A memory's URL, and what it has written."""
    said, file = folder / "said.txt", folder / "memory.toml"
    file.write_text(
        f"port = 0\n[bins]\nn_classes = {N_CLASSES}\n[memory]\ncapacity = 20"
    )
    with said.open("wb") as log:
        process = subprocess.Popen(
            [*_SERVE, file], stdout=subprocess.PIPE, stderr=log, text=True
        )
        try:
            assert process.stdout is not None
            url = process.stdout.readline().partition("/offer")[0].partition(" ")[2]
            yield url, lambda: said.read_text(errors="replace")
        finally:
            process.kill()
            process.communicate()
