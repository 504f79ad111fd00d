"""A mosquitto broker: configured, started, stopped and started again.

It listens on loopback unless told otherwise, lets nobody send more than a stated size,
keeps bounded queues, and writes what it holds for absent clients to its folder, so that
a restart loses nothing that it has acknowledged.
"""

from __future__ import annotations

import getpass
import shutil
import socket
from typing import TYPE_CHECKING

from midhaul.errors import PrerequisiteError
from midhaul.machine.children import LoggedChild

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LOOPBACK = "127.0.0.1"

_SEARCHED = "/usr/local/sbin:/usr/sbin:/sbin"


class Broker(LoggedChild):
    """One mosquitto; a context manager.

    Args:
        folder: for its config, its log and its store; made where missing.
        host: address to listen on.
        port: 0 chooses one that is free in this namespace.
        command: what stands before the program, such as
            :meth:`midhaul.deploy.enforcement.lab.Lab.command` of a side.
        max_message_bytes: largest payload; a larger one is refused.
        max_queued: messages kept for an absent client; further ones are dropped.
        max_queued_bytes: the same in bytes.
        more: further lines of its config.

    Raises:
        PrerequisiteError: mosquitto is not installed.
    """

    def __init__(
        self,
        folder: Path,
        *,
        host: str = LOOPBACK,
        port: int = 0,
        command: Sequence[str] = (),
        max_message_bytes: int = 16_000_000,
        max_queued: int = 1000,
        max_queued_bytes: int = 64_000_000,
        more: Sequence[str] = (),
    ) -> None:
        self._program = _found()
        port = port or _free_port(host)
        super().__init__(
            f"mosquitto on {host}:{port}", folder / "mosquitto.log", ready=" running"
        )
        self.host = host
        self.port = port
        self._prefix = list(command)
        self._folder = folder
        self._limits = {
            "message_size_limit": max_message_bytes,
            "max_queued_messages": max_queued,
            "max_queued_bytes": max_queued_bytes,
        }
        self._more = "".join(f"{line}\n" for line in more)

    def config(self) -> str:
        """The text of its config."""
        limits = "".join(f"{name} {value}\n" for name, value in self._limits.items())
        return (
            f"listener {self.port} {self.host}\n"
            "allow_anonymous true\n"
            f"user {getpass.getuser()}\n"
            "persistence true\n"
            f"persistence_location {self._folder.resolve()}/\n"
            "set_tcp_nodelay true\n"
            "log_dest stderr\n"
            "log_type error\nlog_type warning\nlog_type notice\nlog_type information\n"
            f"{limits}"
            f"{self._more}"
        )

    def _command(self) -> list[str]:
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._folder / "mosquitto.conf"
        file.write_text(self.config(), encoding="utf-8")
        return [*self._prefix, self._program, "-c", str(file)]


def _found() -> str:
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path=_SEARCHED)
    if program is None:
        message = "this needs the MQTT broker mosquitto, which is not installed"
        raise PrerequisiteError(message, "apt install mosquitto")
    return program


def _free_port(host: str) -> int:
    with socket.create_server((host, 0)) as probe:
        return probe.getsockname()[1]
