"""A mosquitto broker: configured, started, stopped and started again.

It listens on loopback unless told otherwise, lets nobody send more than a stated size,
keeps bounded queues, and writes what it holds for absent clients to its folder, so that
a restart loses nothing that it has acknowledged.
"""

from __future__ import annotations

import getpass
import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING

from midhaul.errors import NodeError, PrerequisiteError
from midhaul.machine import children

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Self

LOOPBACK = "127.0.0.1"

_SEARCHED = "/usr/local/sbin:/usr/sbin:/sbin"
_TIMEOUT_S = 10.0
_POLL_S = 0.01


class Broker:
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
        self.host = host
        self.port = port or _free_port(host)
        self._command = list(command)
        self._folder = folder
        self._limits = {
            "message_size_limit": max_message_bytes,
            "max_queued_messages": max_queued,
            "max_queued_bytes": max_queued_bytes,
        }
        self._more = "".join(f"{line}\n" for line in more)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it."""
        self.stop()

    @property
    def pid(self) -> int | None:
        """Its process; None while it does not run."""
        return None if self._process is None else self._process.pid

    @property
    def log(self) -> Path:
        """What it says."""
        return self._folder / "mosquitto.log"

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

    def start(self) -> None:
        """Start it and wait until it listens.

        Raises:
            NodeError: it ends or does not listen in time.
        """
        if self._process is not None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._folder / "mosquitto.conf"
        file.write_text(self.config(), encoding="utf-8")
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - a fixed program
                [*self._command, self._program, "-c", str(file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._wait()

    def stop(self, *, is_kill: bool = False) -> None:
        """End it; twice is harmless.

        Args:
            is_kill: whether without warning, so that it cannot write its store.
        """
        if self._process is None:
            return
        if is_kill:
            self._process.kill()
        children.stop([self._process], grace_s=_TIMEOUT_S)
        self._process = None

    def restart(self, *, is_kill: bool = False, down_s: float = 0.0) -> None:
        """End it, wait, and start it again on the same port with the same store."""
        self.stop(is_kill=is_kill)
        time.sleep(down_s)
        self.start()

    def _wait(self) -> None:
        process = self._process
        if process is None:
            return
        end_s = time.monotonic() + _TIMEOUT_S
        while True:
            said = self.log.read_text(encoding="utf-8", errors="replace")
            if process.poll() is None and " running" in said:
                return
            if process.poll() is not None or time.monotonic() > end_s:
                self.stop(is_kill=True)
                last = said.strip().rpartition("\n")[2]
                message = f"mosquitto on {self.host}:{self.port} does not start: {last}"
                raise NodeError(message, f"see {self.log}")
            time.sleep(_POLL_S)


def _found() -> str:
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path=_SEARCHED)
    if program is None:
        message = "this needs the MQTT broker mosquitto, which is not installed"
        raise PrerequisiteError(message, "apt install mosquitto")
    return program


def _free_port(host: str) -> int:
    with socket.create_server((host, 0)) as probe:
        return probe.getsockname()[1]
