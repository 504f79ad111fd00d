"""What the server and the clients of the packet lab share."""

from __future__ import annotations

import json
import ssl
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

NAME = "vision.midhaul.test"
ANSWER_BYTES = 3000
_PIECE = 1 << 16


class Log:
    """Appends lines, from any thread."""

    def __init__(self, file: str) -> None:
        self._file = Path(file).open("w", encoding="utf-8")  # noqa: SIM115 - the process ends with it
        self._lock = threading.Lock()

    def write(self, **fields: int | str) -> None:
        """One line of JSON."""
        with self._lock:
            self._file.write(json.dumps(fields) + "\n")
            self._file.flush()


def fix_version(context: ssl.SSLContext, version: str) -> None:
    """Speak this version of TLS and no other."""
    wanted = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[version]
    context.minimum_version = context.maximum_version = wanted


def received(link: socket.socket) -> bytes:
    """What has come.

    Raises:
        EOFError: nothing will come any more.
    """
    data = link.recv(_PIECE)
    if not data:
        raise EOFError
    return data
