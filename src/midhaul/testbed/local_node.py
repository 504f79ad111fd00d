"""A node as a process of this machine: asked for its health, limited, stopped."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import time
from typing import TYPE_CHECKING

from midhaul.errors import NodeError
from midhaul.machine import children
from midhaul.testbed.limits import Held, limit_cpu, limit_memory

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Mapping
    from pathlib import Path

    from midhaul.testbed.nodes import NodeSettings

_POLL_S = 0.02
_ASK_S = 2.0
_LOG_LINES = 20
_READY = 200
_THREAD_VARIABLES = (
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "OPENCV_FOR_THREADS_NUM",
    "VECLIB_MAXIMUM_THREADS",
)
_WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0", "GOMP_SPINCOUNT": "0"}
_ALLOCATING = {
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
    "PILLOW_BLOCKS_MAX": "8",
}


class LocalNode:
    """A node as a process on this machine."""

    def __init__(
        self, settings: NodeSettings, url: str, process: subprocess.Popen[bytes],
        log_file: Path, *, is_attached: bool,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._url = url
        self._process = process
        self._log_file = log_file
        self._is_attached = is_attached
        self._held: dict[str, Held] = {}

    @property
    def name(self) -> str:
        """Name of the node."""
        return self._settings.name

    @property
    def url(self) -> str:
        """Where it listens, without any link in between."""
        return self._url

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """Its process, to be stopped together with others."""
        return self._process

    @property
    def pid(self) -> int:
        """Number of its process."""
        return self._process.pid

    @property
    def log_file(self) -> Path:
        """What it writes to."""
        return self._log_file

    @property
    def limits(self) -> Mapping[str, str]:
        """By which means ``cpu`` and ``memory`` are limited."""
        return {what: held.means for what, held in self._held.items()}

    def is_alive(self) -> bool:
        """True while its process runs."""
        return self._process.poll() is None

    def throttled_s(self) -> float:
        """Seconds for which a CPU limit held it back so far."""
        return self._held["cpu"].throttled_s() if "cpu" in self._held else 0.0

    def log(self) -> str:
        """The last lines that it wrote."""
        with contextlib.suppress(OSError):
            lines = self._log_file.read_text(errors="replace").splitlines()
            return "\n".join(lines[-_LOG_LINES:])
        return ""

    def wait_ready(self, timeout_s: float) -> None:
        """Ask for its health until it is ready.

        Raises:
            NodeError: it ended, or was not ready in time.
        """
        limit = self._settings.memory_limit_bytes
        if limit is not None:
            self._held["memory"] = limit_memory(self.pid, self.name, limit)
        deadline = time.monotonic() + timeout_s
        while not is_ready(self._url, timeout_s=_ASK_S):
            if not self.is_alive():
                raise self._ended()
            if time.monotonic() > deadline:
                message = f"node {self.name} was not ready within {timeout_s:g} s"
                raise NodeError(message, f"its log: {self._log_file}")
            time.sleep(_POLL_S)
        if self._settings.cpu_limit is not None:
            self._held["cpu"] = limit_cpu(
                self.pid, self.name, self._settings.cpu_limit,
                is_attached=self._is_attached,
            )  # fmt: skip

    def stop(self) -> None:
        """End it, first gently; doing it twice is harmless."""
        children.stop([self._process])
        if self._process.stdin is not None:
            self._process.stdin.close()
        for held in self._held.values():
            held.release()
        self._held.clear()

    def _ended(self) -> NodeError:
        code = self._process.returncode
        lines = [line for line in self.log().splitlines() if line.strip()]
        how = f"code {code}" if code >= 0 else signal.Signals(-code).name
        said = f": {lines[-1]}" if lines else ""
        message = f"node {self.name} ended with {how} before it was ready{said}"
        return NodeError(message, f"its log: {self._log_file}")


def is_ready(url: str, *, timeout_s: float) -> bool:
    """True when the node at a URL answers that it is ready."""
    host = url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=timeout_s)
    try:
        connection.request("GET", "/health")
        response = connection.getresponse()
        said: object = json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()
    return response.status == _READY and isinstance(said, dict)


def environment(settings: NodeSettings) -> dict[str, str]:
    """The environment variables of a node's process.

    Every numerical library is held to the node's threads, and none spins while it
    waits: with fewer cores than threads, spinning makes inference ten times slower.
    The allocators keep the memory of an image for the next one; handing it back to the
    kernel and faulting it in again costs about 1 ms of a 640x480 image.
    """
    threads = dict.fromkeys(_THREAD_VARIABLES, str(settings.threads))
    return {**os.environ, **_WAITING, **_ALLOCATING, **threads}
