"""Capturing packets with tcpdump while providers are asked."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING

from midhaul.errors import PrerequisiteError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from midhaul.federation.record.config import SniffConfig

_BEGIN_S, _LINGER_S, _END_S = 10.0, 0.25, 10.0
_CAPTURED = re.compile(r"(\d+) packets? captured")
_DROPPED = re.compile(r"(\d+) packets? dropped by kernel")
_HINT = (
    'setcap cap_net_raw,cap_net_admin=eip "$(command -v tcpdump)", or run as root; '
    "capture.is_on = false records without packets"
)


class Sniffer:
    """Runs tcpdump; a context manager.

    Args:
        config: what to capture.
        folder: for the files, called after their time; it is there.

    Attributes:
        n_packets: packets that were captured, known at the end.
        n_dropped: packets that the kernel could not hand over, known at the end.

    Raises:
        PrerequisiteError: tcpdump is missing or may not capture.
    """

    def __init__(self, config: SniffConfig, folder: Path) -> None:
        program = shutil.which("tcpdump")
        if program is None:
            message = "capturing needs tcpdump, which is not installed"
            raise PrerequisiteError(message, "apt install tcpdump")
        self._command = [program, *arguments(config, folder, is_root=os.geteuid() == 0)]
        self._process: subprocess.Popen[str] | None = None
        self._said: list[str] = []
        self._has_answered = threading.Event()
        self._is_listening = False
        self.n_packets = self.n_dropped = 0

    def __enter__(self) -> Self:
        """Begin; packets are captured once this returns."""
        self._process = subprocess.Popen(  # noqa: S603 - found above, no shell
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        self._has_answered.wait(_BEGIN_S)
        if not self._is_listening:
            self._end()
            said = " ".join(self._said) or "it says nothing"
            message = f"tcpdump does not capture: {said}"
            raise PrerequisiteError(message, _HINT)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End; the files are complete then."""
        time.sleep(_LINGER_S)  # the last packets are on their way to the file
        self._end()

    def _listen(self) -> None:
        stream = None if self._process is None else self._process.stderr
        for line in stream or ():
            self._said.append(line.strip())
            if "listening on" in line:
                self._is_listening = True
                self._has_answered.set()
            if found := _CAPTURED.search(line):
                self.n_packets = int(found[1])
            if found := _DROPPED.search(line):
                self.n_dropped = int(found[1])
        self._has_answered.set()

    def _end(self) -> None:
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._listener.join(_END_S)
        if process.stderr is not None:
            process.stderr.close()


def arguments(config: SniffConfig, folder: Path, *, is_root: bool) -> list[str]:
    """What tcpdump is called with.

    Args:
        config: what to capture.
        folder: for the files.
        is_root: whether it is started by root and should become somebody else.
    """
    stem = config.region_pair or "capture"
    words = ["-i", config.device, "-n", "-U", "--immediate-mode"]
    words += ["-s", str(config.snaplen_bytes)]
    words += ["-G", str(config.rotate_s)]
    words += ["-w", str(folder / f"{stem}-%Y%m%d_%H%M%S.pcap")]
    if is_root:
        words += ["-Z", config.user or folder.owner()]
    return [*words, *config.filter.split()]
