"""A registry of one's own: Debian's ``docker-registry`` as a child process."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

from midhaul.deploy.store.store import store_errors
from midhaul.errors import NodeError, PrerequisiteError
from midhaul.machine import children

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Self

_PROGRAM = "docker-registry"
_CONFIG = """\
version: 0.1
log:
  level: info
  formatter: text
  accesslog:
    disabled: true
storage:
  filesystem:
    rootdirectory: {root}
  delete:
    enabled: true
http:
  addr: "{host}:{port}"
  draintimeout: 1s
"""
_LISTENING = re.compile(r"listening on \S*?:(\d+)[\"\s]")
_POLL_S = 0.02
_LOG_CHARACTERS = 400


class RegistryServer:
    """Starts and stops a registry; a context manager.

    What is pushed to it stays in its folder and is served again after a restart.

    Args:
        folder: for its data, its configuration and its log (``registry.log``).
        host: address to listen on.
        port: 0 for a free one.
        prefix: command that it is run under, e.g. ``("ip", "netns", "exec", "cloud")``.
        patience_s: longest wait until it listens, and until it has ended.

    Raises:
        PrerequisiteError: the program is not installed.
        NodeError: it does not start.
    """

    def __init__(
        self,
        folder: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        prefix: Sequence[str] = (),
        patience_s: float = 20.0,
    ) -> None:
        self.host = host
        self.port = port
        self.log = folder / "registry.log"
        self._folder = folder
        self._prefix = tuple(prefix)
        self._patience_s = patience_s
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start it, and wait until it listens."""
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
    def address(self) -> str:
        """``host:port``, the registry in references; the port once it is started."""
        return f"{self.host}:{self.port}"

    @property
    def pid(self) -> int | None:
        """Its process; None while it is not running."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start it on the port it had, and wait until it listens.

        Raises:
            PrerequisiteError: the program is not installed.
            NodeError: it ends, or does not listen in time.
        """
        program = shutil.which(_PROGRAM)
        if program is None:
            message = f"a registry of one's own needs {_PROGRAM}, which is not here"
            raise PrerequisiteError(message, "apt-get install docker-registry")
        config = self._folder / "registry.yml"
        with store_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            root = (self._folder / "data").resolve()
            config.write_text(
                _CONFIG.format(root=root, host=self.host, port=self.port),
                encoding="utf-8",
            )
            n_before = self.log.stat().st_size if self.log.exists() else 0
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(  # noqa: S603 - our own command
                    [*self._prefix, program, "serve", str(config)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
        try:
            self.port = self._wait(n_before)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it; doing it twice is harmless."""
        process, self._process = self._process, None
        if process is None:
            return
        children.stop([process], grace_s=self._patience_s)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def _wait(self, n_before: int) -> int:
        """The port on which it says that it listens."""
        process = self._process
        deadline_s = time.monotonic() + self._patience_s
        while process is not None and time.monotonic() < deadline_s:
            has_ended = process.poll() is not None
            with self.log.open("rb") as log:
                log.seek(n_before)
                said = log.read().decode("utf-8", "replace")
            if match := _LISTENING.search(said):
                return int(match[1])
            if has_ended:
                message = f"{_PROGRAM} ended while it started: {_tail(said)}"
                raise NodeError(message, f"its log is {self.log}")
            time.sleep(_POLL_S)
        message = f"{_PROGRAM} does not listen on {self.address} "
        message += f"after {self._patience_s} s"
        raise NodeError(message, f"its log is {self.log}")


def _tail(said: str) -> str:
    return said.strip()[-_LOG_CHARACTERS:] or "it said nothing"
