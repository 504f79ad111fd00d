"""Launchers start nodes and stop them; on this machine as processes of their own.

A local node is asked for its health, limited, and stopped.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from midhaul.errors import NodeError
from midhaul.machine import children
from midhaul.machine.limits import Held, limit_cpu, limit_memory
from midhaul.testbed.nodes.settings import NodeFile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Self

    from midhaul.testbed.nodes.settings import NodeSettings

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
    "MALLOC_ARENA_MAX": "1",  # in one of each thread lies what nobody gives back
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
    "PILLOW_BLOCKS_MAX": "8",
}


@dataclass(slots=True, kw_only=True, eq=False)
class LocalNode:
    """A node as a process on this machine.

    Attributes:
        settings: what it was started with.
        url: where it listens, without any link in between.
        process: to be stopped together with others.
        log_file: what it writes to.
        is_attached: true when its helpers end with this program.
    """

    settings: NodeSettings
    url: str
    process: subprocess.Popen[bytes]
    log_file: Path
    is_attached: bool
    _held: dict[str, Held] = field(default_factory=dict[str, Held])

    @property
    def name(self) -> str:
        """Name of the node."""
        return self.settings.name

    @property
    def pid(self) -> int:
        """Number of its process."""
        return self.process.pid

    @property
    def limits(self) -> Mapping[str, str]:
        """By which means ``cpu`` and ``memory`` are limited."""
        return {what: held.means for what, held in self._held.items()}

    def is_alive(self) -> bool:
        """True while its process runs."""
        return self.process.poll() is None

    def throttled_s(self) -> float:
        """Seconds for which a CPU limit held it back so far."""
        return self._held["cpu"].throttled_s() if "cpu" in self._held else 0.0

    def log(self) -> str:
        """The last lines that it wrote."""
        with contextlib.suppress(OSError):
            lines = self.log_file.read_text(errors="replace").splitlines()
            return "\n".join(lines[-_LOG_LINES:])
        return ""

    def wait_ready(self, timeout_s: float) -> None:
        """Ask for its health until it is ready.

        NodeError if it ended, or was not ready in time.
        """
        limit = self.settings.memory_limit_bytes
        if limit is not None:
            self._held["memory"] = limit_memory(self.pid, self.name, limit)
        deadline = time.monotonic() + timeout_s
        while not is_ready(self.url, timeout_s=_ASK_S):
            if not self.is_alive():
                raise self._ended()
            if time.monotonic() > deadline:
                message = f"node {self.name} was not ready within {timeout_s:g} s"
                raise NodeError(message, f"its log: {self.log_file}")
            time.sleep(_POLL_S)
        if self.settings.cpu_limit is not None:
            self._held["cpu"] = limit_cpu(
                self.pid, self.name, self.settings.cpu_limit,
                is_attached=self.is_attached,
            )  # fmt: skip

    def stop(self) -> None:
        """End it, first gently; doing it twice is harmless."""
        children.stop([self.process])
        if self.process.stdin is not None:
            self.process.stdin.close()
        for held in self._held.values():
            held.release()
        self._held.clear()

    def _ended(self) -> NodeError:
        code = self.process.returncode
        lines = [line for line in self.log().splitlines() if line.strip()]
        how = f"code {code}" if code >= 0 else signal.Signals(-code).name
        said = f": {lines[-1]}" if lines else ""
        message = f"node {self.name} ended with {how} before it was ready{said}"
        return NodeError(message, f"its log: {self.log_file}")


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


_HOST = "127.0.0.1"
_BACKLOG = 2048


class RunningNode(Protocol):
    """A node that was started."""

    @property
    def name(self) -> str:
        """Name of the node."""
        ...

    @property
    def url(self) -> str:
        """Where it listens, without any link in between."""
        ...

    @property
    def pid(self) -> int | None:
        """Its process on this machine; None for one elsewhere."""
        ...

    @property
    def limits(self) -> Mapping[str, str]:
        """By which means ``cpu`` and ``memory`` are limited, where they are."""
        ...

    def is_alive(self) -> bool:
        """True while it runs."""
        ...

    def throttled_s(self) -> float:
        """Seconds for which a CPU limit held it back so far."""
        ...

    def log(self) -> str:
        """The last lines that it wrote."""
        ...

    def stop(self) -> None:
        """End it; doing it twice is harmless."""
        ...


class Launcher(Protocol):
    """Starts nodes, somewhere."""

    def start(self, settings: NodeSettings, urls: Mapping[str, str]) -> RunningNode:
        """Start a node and wait until it is ready.

        Args:
            settings: of the node.
            urls: where it reaches other nodes, by their name.

        Raises:
            NodeError: it does not become ready.
        """
        ...

    def stop(self) -> None:
        """Stop all nodes that were started."""
        ...


class LocalLauncher:
    """Starts nodes as processes on this machine, on loopback.

    A context manager. Nodes end with this program, however it ends.

    Args:
        folder: for logs and start files; None for a temporary one.
        timeout_s: for a node to become ready.
        is_attached: false for nodes that live on when this program has ended.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        timeout_s: float = 120.0,
        is_attached: bool = True,
    ) -> None:
        self._temporary = None if folder else tempfile.TemporaryDirectory("-midhaul")
        self._folder = folder or Path(self._temporary.name if self._temporary else "")
        self._timeout_s = timeout_s
        self._is_attached = is_attached
        self._nodes: list[LocalNode] = []

    def __enter__(self) -> Self:
        """Nothing is started yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop all nodes."""
        self.stop()

    def start(self, settings: NodeSettings, urls: Mapping[str, str]) -> LocalNode:
        """Start a node and wait until it is ready.

        Raises:
            NodeError: its port is in use, it ended, or was not ready in time.
        """
        node = self._spawn(settings, urls)
        self._nodes.append(node)
        node.wait_ready(self._timeout_s)
        return node

    def stop(self) -> None:
        """Stop all nodes, all at once."""
        children.stop(node.process for node in self._nodes)
        while self._nodes:
            self._nodes.pop().stop()
        if self._temporary is not None:
            self._temporary.cleanup()

    def _spawn(self, settings: NodeSettings, urls: Mapping[str, str]) -> LocalNode:
        folder = Path(settings.workdir) if settings.workdir else self._folder
        try:
            return self._spawn_in(folder, settings, urls)
        except OSError as error:
            message = f"node {settings.name} cannot use its folder {folder}: {error}"
            hint = "make room there, or choose another workdir"
            raise NodeError(message, hint) from error

    def _spawn_in(
        self, folder: Path, settings: NodeSettings, urls: Mapping[str, str]
    ) -> LocalNode:
        folder.mkdir(parents=True, exist_ok=True)
        log_file = folder / f"{settings.name}.log"
        listening = _listen(settings)
        with listening, log_file.open("ab") as log:
            file = folder / f"{settings.name}.json"
            NodeFile(
                settings=settings,
                cloud_url=urls.get(settings.cloud) if settings.cloud else None,
                host=_HOST,
                fd=listening.fileno(),
                is_attached=self._is_attached,
            ).write(file)
            process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", "midhaul.services.node", str(file.resolve())],
                stdin=subprocess.PIPE if self._is_attached else subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment(settings),
                pass_fds=(listening.fileno(),),
                start_new_session=True,
            )
            url = f"http://{_HOST}:{listening.getsockname()[1]}"
        return LocalNode(
            settings=settings,
            url=url,
            process=process,
            log_file=log_file,
            is_attached=self._is_attached,
        )


def launch(
    launcher: Launcher,
    nodes: Sequence[NodeSettings],
    connect: Callable[[str, str, str], str] = lambda _source, _target, url: url,
) -> dict[str, RunningNode]:
    """Start all nodes of a topology: clouds first, then the edges that need them.

    Args:
        launcher: starts them.
        nodes: their settings.
        connect: the URL by which a source reaches a target at a URL, given as
            ``(source, target, url)``; links stand in between here.

    Returns:
        The running nodes by name, in the order given.

    Raises:
        NodeError: one does not start; those that did are left to the launcher.
    """
    running: dict[str, RunningNode] = {}

    def start(settings: NodeSettings) -> RunningNode:
        urls: dict[str, str] = {}
        if settings.cloud is not None:
            url = running[settings.cloud].url
            urls[settings.cloud] = connect(settings.name, settings.cloud, url)
        return launcher.start(settings, urls)

    for wave in (
        [node for node in nodes if node.cloud is None],
        [node for node in nodes if node.cloud is not None],
    ):
        if wave:
            with ThreadPoolExecutor(len(wave)) as pool:
                started = list(pool.map(start, wave))
            running |= {node.name: node for node in started}
    return {node.name: running[node.name] for node in nodes}


def _listen(settings: NodeSettings) -> socket.socket:
    """A listening socket for a node, so that its port is known and nobody takes it."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((_HOST, settings.port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        reason = "is in use" if error.errno == errno.EADDRINUSE else str(error)
        message = f"node {settings.name}: port {settings.port} on {_HOST} {reason}"
        raise NodeError(message, "choose another port, or 0 for a free one") from error
    return listening
