"""Capturing packets with tcpdump while providers are asked."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from midhaul.errors import PrerequisiteError
from midhaul.machine.children import LoggedChild

if TYPE_CHECKING:
    from midhaul.federation.record.config import SniffConfig

_LINGER_S = 0.25
_CAPTURED = re.compile(r"(\d+) packets? captured")
_DROPPED = re.compile(r"(\d+) packets? dropped by kernel")
_HINT = (
    'setcap cap_net_raw,cap_net_admin=eip "$(command -v tcpdump)", or run as root; '
    "capture.is_on = false records without packets"
)


class Sniffer(LoggedChild):
    """Runs tcpdump; a context manager.

    Files are called after their time. PrerequisiteError where tcpdump is missing or may
    not capture.

    Attributes:
        n_packets: packets that were captured, known at the end.
        n_dropped: packets that the kernel could not hand over, known at the end.
    """

    def __init__(self, config: SniffConfig, folder: Path) -> None:
        program = shutil.which("tcpdump")
        if program is None:
            message = "capturing needs tcpdump, which is not installed"
            raise PrerequisiteError(message, "apt install tcpdump")
        self._file = tempfile.NamedTemporaryFile(prefix="midhaul-tcpdump-")  # noqa: SIM115 - gone with this
        super().__init__("tcpdump", Path(self._file.name), ready="listening on")
        self._words = arguments(config, folder, is_root=os.geteuid() == 0)
        self._program = program
        self.n_packets = self.n_dropped = 0

    def stop(self, *, is_kill: bool = False) -> None:
        """End; the files are complete then, and the numbers known."""
        if self.pid is None:
            return
        time.sleep(_LINGER_S)  # the last packets are on their way to the file
        super().stop(is_kill=is_kill)
        for line in self.said.splitlines():
            if found := _CAPTURED.search(line):
                self.n_packets = int(found[1])
            if found := _DROPPED.search(line):
                self.n_dropped = int(found[1])

    def _command(self) -> list[str]:
        return [self._program, *self._words]

    def _failure(self, message: str) -> PrerequisiteError:
        return PrerequisiteError(f"tcpdump does not capture: {message}", _HINT)


def arguments(config: SniffConfig, folder: Path, *, is_root: bool) -> list[str]:
    """What tcpdump is called with. Where root starts it, it becomes somebody else."""
    stem = config.region_pair or "capture"
    words = ["-i", config.device, "-n", "-U", "--immediate-mode"]
    words += ["-s", str(config.snaplen_bytes)]
    words += ["-G", str(config.rotate_s)]
    words += ["-w", str(folder / f"{stem}-%Y%m%d_%H%M%S.pcap")]
    if is_root:
        words += ["-Z", config.user or folder.owner()]
    return [*words, *config.filter.split()]
