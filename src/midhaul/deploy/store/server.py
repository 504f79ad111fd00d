"""A registry of one's own: Debian's ``docker-registry`` as a child process."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from midhaul.deploy.store.store import store_errors
from midhaul.errors import PrerequisiteError
from midhaul.machine.children import LoggedChild

if TYPE_CHECKING:
    import re
    from collections.abc import Sequence
    from pathlib import Path

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
_LISTENING = r"listening on \S*?:(\d+)[\"\s]"


class RegistryServer(LoggedChild):
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
        super().__init__(
            _PROGRAM, folder / "registry.log", ready=_LISTENING, patience_s=patience_s
        )
        self.host = host
        self.port = port
        self._folder = folder
        self._prefix = tuple(prefix)

    @property
    def address(self) -> str:
        """``host:port``, the registry in references; the port once it is started."""
        return f"{self.host}:{self.port}"

    def _command(self) -> list[str]:
        program = shutil.which(_PROGRAM)
        if program is None:
            message = f"a registry of one's own needs {_PROGRAM}, which is not here"
            raise PrerequisiteError(message, "apt-get install docker-registry")
        config = self._folder / "registry.yml"
        with store_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            root = (self._folder / "data").resolve()
            text = _CONFIG.format(root=root, host=self.host, port=self.port)
            config.write_text(text, encoding="utf-8")
        return [*self._prefix, program, "serve", str(config)]

    def _is_ready(self, said: re.Match[str]) -> None:
        self.port = int(said[1])
