"""Limits on CPU and memory of a node, and by which means they were really applied.

CPU: a cgroup (version 2 or 1) where one is writable, else a helper process that stops
and continues the node (:mod:`midhaul.machine.throttle`). Memory: a cgroup, else
``RLIMIT_AS``, which limits addresses and not pages and is therefore coarser.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import psutil

from midhaul.machine import children

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOG = logging.getLogger(__name__)
_PERIOD_US = 20_000
_MOUNTS = Path("/proc/mounts")
_OWN = Path("/proc/self/cgroup")


class Held(Protocol):
    """A limit that holds a process."""

    @property
    def means(self) -> str:
        """How it is held, such as ``cgroup v2`` or ``stop and continue``."""
        ...

    def throttled_s(self) -> float:
        """Seconds for which the limit held the process back so far."""
        ...

    def release(self) -> None:
        """Clean up after the process has ended."""
        ...


@dataclass(frozen=True, slots=True)
class CgroupLimit:
    """A cgroup of the process's own."""

    folder: Path
    version: int

    @property
    def means(self) -> str:
        """The version of the cgroup."""
        return f"cgroup v{self.version}"

    def throttled_s(self) -> float:
        """From ``cpu.stat``."""
        with contextlib.suppress(OSError):
            for line in (self.folder / "cpu.stat").read_text().splitlines():
                key, _, value = line.partition(" ")
                if key == "throttled_usec":
                    return int(value) / 1e6
                if key == "throttled_time":
                    return int(value) / 1e9
        return 0.0

    def release(self) -> None:
        """Remove the cgroup; the kernel needs a moment after the process's end."""
        for _ in range(50):
            try:
                self.folder.rmdir()
            except FileNotFoundError:
                return
            except OSError:
                time.sleep(0.02)
            else:
                return
        _LOG.warning("cgroup %s cannot be removed", self.folder)


class Throttle:
    """The helper process that stops and continues a node.

    An attached helper ends with this program.
    """

    means = "stop and continue"

    def __init__(self, pid: int, cores: float, *, is_attached: bool = True) -> None:
        self._seconds = tempfile.TemporaryFile()  # noqa: SIM115 - lives with the helper
        fd = self._seconds.fileno()
        mode = "attached" if is_attached else "detached"
        module = "midhaul.machine.throttle"
        self._helper = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", module, str(pid), str(cores), str(fd), mode],
            stdin=subprocess.PIPE if is_attached else subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=None if is_attached else subprocess.DEVNULL,
            pass_fds=(fd,),
            start_new_session=True,
        )

    def throttled_s(self) -> float:
        """What the helper has counted."""
        found = os.pread(self._seconds.fileno(), 8, 0)
        return float(struct.unpack("<d", found)[0]) if found else 0.0

    def release(self) -> None:
        """End the helper; the node runs on without a limit."""
        children.stop([self._helper])
        if self._helper.stdin is not None:
            self._helper.stdin.close()
        self._seconds.close()


@dataclass(frozen=True, slots=True)
class AddressSpace:
    """A limit that the kernel keeps with the process itself."""

    means: str = "RLIMIT_AS"

    def throttled_s(self) -> float:
        """Memory limits never hold back."""
        return 0.0

    def release(self) -> None:
        """There is nothing to clean up."""


def limit_cpu(pid: int, name: str, cores: float, *, is_attached: bool = True) -> Held:
    """Hold a process to some cores, by a cgroup if possible.

    The node's name is in that of the cgroup; an attached helper ends with this program.
    """
    quota_us = max(1000, round(cores * _PERIOD_US))
    in_files = {
        2: {"cpu.max": f"{quota_us} {_PERIOD_US}"},
        1: {"cpu.cfs_period_us": str(_PERIOD_US), "cpu.cfs_quota_us": str(quota_us)},
    }
    held = _cgroup(pid, name, "cpu", in_files)
    return held or Throttle(pid, cores, is_attached=is_attached)


def limit_memory(pid: int, name: str, n_bytes: int) -> Held:
    """Hold a process to some memory, by a cgroup if possible."""
    in_files = {
        2: {"memory.max": str(n_bytes)},
        1: {"memory.limit_in_bytes": str(n_bytes)},
    }
    held = _cgroup(pid, name, "memory", in_files)
    if held is None:
        resource.prlimit(pid, resource.RLIMIT_AS, (n_bytes, n_bytes))
        return AddressSpace()
    return held


def release_left(pid: int, name: str) -> None:
    """Remove the cgroups of a process that ended and another program had limited."""
    for controller in ("cpu", "memory"):
        for version, parent in _parents(controller):
            folder = parent / _cgroup_name(pid, name)
            if folder.is_dir():
                CgroupLimit(folder, version).release()


def _cgroup_name(pid: int, name: str) -> str:
    return f"midhaul-{name}-{pid}"


def _cgroup(
    pid: int, name: str, controller: str, in_files: dict[int, dict[str, str]]
) -> CgroupLimit | None:
    """Put a process into a new cgroup; None where no cgroup can be made."""
    for version, parent in _parents(controller):
        folder = parent / _cgroup_name(pid, name)
        _sweep(parent)
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            for file, value in in_files[version].items():
                (folder / file).write_text(value)
            (folder / "cgroup.procs").write_text(str(pid))
        except OSError as error:
            _LOG.debug("cgroup %s cannot hold %s: %s", folder, controller, error)
            with contextlib.suppress(OSError):
                folder.rmdir()
            continue
        return CgroupLimit(folder, version)
    return None


def _sweep(parent: Path) -> None:
    """Remove what programs that were killed have left: cgroups of dead processes."""
    for folder in parent.glob("midhaul-*-*"):
        number = folder.name.rpartition("-")[2]
        if number.isdecimal() and not psutil.pid_exists(int(number)):
            with contextlib.suppress(OSError):
                folder.rmdir()


def _parents(controller: str) -> Iterator[tuple[int, Path]]:
    """Cgroups below which a new one may be allowed, the nearest first."""
    try:
        mounts = [line.split() for line in _MOUNTS.read_text().splitlines()]
        own = [line.split(":", 2) for line in _OWN.read_text().splitlines()]
    except OSError:
        return
    for _device, where, kind, options, *_ in mounts:
        if kind == "cgroup2":
            version, controllers = 2, [""]
        elif kind == "cgroup" and controller in options.split(","):
            version, controllers = 1, [controller]
        else:
            continue
        for _number, names, place in own:
            if not set(controllers) <= set(names.split(",")):
                continue
            here = Path(where) / place.lstrip("/")
            for folder in (here, *here.parents):
                if version == 1 or _hands_down(folder, controller):
                    yield version, folder
                if folder == Path(where):
                    break


def _hands_down(folder: Path, controller: str) -> bool:
    """True when a cgroup of version 2 gives a controller to those below it."""
    try:
        return controller in (folder / "cgroup.subtree_control").read_text().split()
    except OSError:
        return False
