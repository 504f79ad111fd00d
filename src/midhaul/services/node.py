"""A node's process: an HTTP server on loopback around :class:`Application`."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from midhaul.errors import DataError, MidhaulError, NodeError
from midhaul.services.limits import (
    ServerLimits,
    allow_connections,
    token_for,
)
from midhaul.services.node_application import Application
from midhaul.services.server import server_of
from midhaul.testbed.nodes.settings import NodeFile

if TYPE_CHECKING:
    from types import FrameType

_LINGER_S = 0.5


def serve(file: Path) -> None:
    """Serve a node until it is told to stop by SIGTERM or SIGINT.

    MidhaulError if the file is wrong, its port is in use, or its detector cannot be
    loaded.
    """
    signal.signal(signal.SIGTERM, _leave)
    allow_connections()
    node = NodeFile.read(file)
    if node.settings.workdir is not None:
        _enter(Path(node.settings.workdir))
    listening = _listen(node)
    if node.is_attached:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    failures: list[MidhaulError] = []

    def fail(error: MidhaulError) -> None:
        failures.append(error)
        server.should_exit = True

    token = token_for(listening.getsockname()[0])
    application = Application(node.settings, cloud_url=node.cloud_url, on_failure=fail)
    limits = ServerLimits.of(node.settings)
    server = server_of(application, limits, token)
    try:
        server.run(sockets=[listening])
    except SystemExit:  # as SIGTERM is told once more when the server has ended
        _end_soon()
        raise
    if failures:
        raise failures[0]


def _listen(node: NodeFile) -> socket.socket:
    """The socket to serve: one that was handed over, or a new one."""
    if node.fd is not None:
        return socket.socket(fileno=node.fd)
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    port = node.settings.port
    try:
        listening.bind((node.host, port))
    except OSError as error:
        listening.close()
        reason = "is in use" if error.errno == errno.EADDRINUSE else str(error)
        message = f"node {node.settings.name}: port {port} on {node.host} {reason}"
        hint = "choose another port, or 0 for a free one"
        raise NodeError(message, hint) from error
    return listening


def _enter(workdir: Path) -> None:
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        os.chdir(workdir)
    except OSError as error:
        message = f"the working directory {workdir} cannot be used: {error.strerror}"
        raise DataError(message) from error


def _end_soon() -> None:
    """End the process although a model is still being loaded by a thread of it."""

    def end() -> None:
        time.sleep(_LINGER_S)
        os._exit(0)

    threading.Thread(target=end, daemon=True, name="end").start()


def _leave(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)


def _end_with_stdin() -> None:
    """Stop as soon as the program that started this one is gone."""
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Serve the node of the file that is the only argument.

    A launcher shows the last line that a node wrote, so an error is one line here.
    """
    try:
        serve(Path(sys.argv[1]))
    except MidhaulError as error:
        sys.exit(f"{error.message} ({error.hint})" if error.hint else error.message)


if __name__ == "__main__":
    main()
