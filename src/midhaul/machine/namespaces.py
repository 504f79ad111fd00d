"""Network namespaces: made, entered and removed, also those that killed runs have left.

The name of a namespace says which process made it and when that was started, so that
anybody can tell whether its owner still runs. The warden removes those of a program
that it outlives; where there was none, the next program that makes some does.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import itertools
import os
import shutil
import signal
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from midhaul.errors import NodeError, PrerequisiteError

if TYPE_CHECKING:
    from collections.abc import Generator

_PREFIX = "midhaul"
_TIMEOUT_S = 20.0
_COUNTER = itertools.count()
_N_PARTS = 5  # of a name
_NEW_NET = 0x40000000
_SET_TUN = 0x400454CA
_IS_TUN, _WITHOUT_HEADER = 0x0001, 0x1000
_FOLDER = Path("/run/netns")


def check_namespaces(what: str, instead: str) -> None:
    """Refuse, with a PrerequisiteError, where no namespace can be made.

    ``what`` needs them; ``instead`` is what can be done without.
    """
    if sys.platform != "linux":
        message = f"{what} needs Linux, this is {sys.platform}"
        raise PrerequisiteError(message, instead)
    missing = [name for name in ("ip", "tc") if shutil.which(name) is None]
    if missing:
        message = f"{what} needs {' and '.join(missing)}, which is not installed"
        raise PrerequisiteError(message, f"apt install iproute2, or {instead}")
    if os.geteuid() != 0:
        message = f"{what} needs root for network namespaces"
        raise PrerequisiteError(message, f"run with sudo, or {instead}")


def namespace_names(labels: tuple[str, ...]) -> list[str]:
    """Names for namespaces of this process that nothing else has; none is made.

    No label has a dash.
    """
    stem = f"{_PREFIX}-{os.getpid()}-{_started(os.getpid())}-{next(_COUNTER)}"
    return [f"{stem}-{label}" for label in labels]


def remove_leftovers() -> list[str]:
    """Remove the namespaces of programs that are gone; their names."""
    listed = run_iproute("ip", "netns", "list").split("\n")
    gone = [line.split()[0] for line in listed if line.startswith(f"{_PREFIX}-")]
    gone = [name for name in gone if not _has_owner(name)]
    for name in gone:
        remove_namespace(name)
    return gone


def remove_namespace(name: str) -> None:
    """End what runs in a namespace, then delete it; harmless where there is none."""
    with contextlib.suppress(NodeError):
        pids = run_iproute("ip", "netns", "pids", name).split()
        for pid in map(int, pids):
            if pid != os.getpid():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        run_iproute("ip", "netns", "delete", name)


def run_iproute(*argv: str, said: str | None = None) -> str:
    """Run a program of iproute2, which may read what is ``said``; what it answers.

    A NodeError where it fails.
    """
    done = subprocess.run(  # noqa: S603 - fixed programs, no shell
        argv,
        capture_output=True,
        input=said,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        message = f"{' '.join(argv)} failed: {done.stderr.strip()}"
        raise NodeError(message, "network namespaces need root and CAP_NET_ADMIN")
    return done.stdout


@contextlib.contextmanager
def inside(name: str) -> Generator[None]:
    """Have this thread be in a namespace: sockets that it opens stay in there."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        _enter(_FOLDER / name)
        try:
            yield
        finally:
            _set(home)
    finally:
        os.close(home)


def open_tunnel(name: str, device: str) -> int:
    """A tunnel device in a namespace; whoever has the descriptor reads its packets.

    It is gone when the descriptor is closed. Packets are of IP, without a header before
    them; reading does not wait.
    """
    with inside(name):
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        flags = _IS_TUN | _WITHOUT_HEADER
        try:
            request = struct.pack("16sH22x", device.encode(), flags)
            fcntl.ioctl(descriptor, _SET_TUN, request)
        except OSError:
            os.close(descriptor)
            raise
    return descriptor


def _enter(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        _set(descriptor)
    finally:
        os.close(descriptor)


def _set(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _NEW_NET):
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


def _has_owner(name: str) -> bool:
    """Whether the program that made a namespace still runs."""
    parts = name.split("-")
    if len(parts) != _N_PARTS or not parts[1].isdigit():
        return True  # not a name of ours
    return _started(int(parts[1])) == parts[2]


def _started(pid: int) -> str:
    """When a process started, in ticks of the kernel; empty where there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]
