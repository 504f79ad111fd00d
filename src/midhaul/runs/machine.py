"""What machine and what code a run ran on."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import midhaul
from midhaul.runs.manifest import Process

_PACKAGE = Path(midhaul.__file__).parent
_LIBRARIES = (
    "numpy",
    "pyarrow",
    "duckdb",
    "pydantic",
    "onnxruntime",
    "opencv-python-headless",
    "pillow",
    "faster-coco-eval",
    "aiohttp",
    "httptools",
    "uvicorn",
    "uvloop",
    "psutil",
    "altair",
    "vl-convert-python",
    "ai-edge-litert",
    "onnx",
    "torch",
    "torchvision",
)


@functools.cache
def code_version() -> str:
    """The package's version and a hash of all its files.

    It changes with every change of the package, committed or not, and with nothing
    else, so that a run is only resumed by the code that began it.
    """
    digest = hashlib.sha256()
    for file in sorted(_PACKAGE.rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            digest.update(f"{file.relative_to(_PACKAGE).as_posix()}\0".encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return f"{midhaul.__version__}+{digest.hexdigest()[:10]}"


@functools.cache
def commit() -> str | None:
    """The commit of the checkout, ``-dirty`` when changed; None outside of one."""
    root = _PACKAGE.parent.parent
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return None
    command = [git, "-C", str(root), "describe", "--always", "--dirty", "--exclude=*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  fixed command
    return done.stdout.strip() or None


def versions() -> dict[str, str]:
    """Version of Python and of each installed library that can change a result."""
    found = {"python": platform.python_version(), "midhaul": midhaul.__version__}
    for name in _LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def machine() -> dict[str, Any]:
    """The machine in the words of a manifest; unknown facts are left out."""
    facts = {
        "cpu": _field(Path("/proc/cpuinfo"), "model name") or platform.processor(),
        "cores": n_cores(),
        "memory_bytes": memory_bytes(),
        "os": _field(Path("/etc/os-release"), "PRETTY_NAME", "=") or platform.system(),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "virtualisation": _virtualisation(),
        "load_at_start": round(os.getloadavg()[0], 2),
    }
    return {key: value for key, value in facts.items() if value not in {None, ""}}


def n_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def memory_bytes() -> int | None:
    """Memory of the machine."""
    text = _field(Path("/proc/meminfo"), "MemTotal")
    return int(text.split()[0]) * 1024 if text else None


def this_process() -> Process:
    """The process that asks."""
    pid = os.getpid()
    return Process(
        pid=pid, host=platform.node(), boot=_boot(), started=start_of(pid) or ""
    )


def is_alive(process: Process) -> bool:
    """Whether a process still runs; one of another machine counts as alive."""
    if process.host != platform.node():
        return True
    return process.boot == _boot() and start_of(process.pid) == process.started


def _boot() -> str:
    return _text(Path("/proc/sys/kernel/random/boot_id")) or ""


def start_of(pid: int) -> str | None:
    """When a process started, in ticks since boot; None when it does not run."""
    stat = _text(Path(f"/proc/{pid}/stat"))
    if stat is None:
        return None
    state, *rest = stat.rpartition(")")[2].split()
    return None if state in {"Z", "X"} else rest[18]


def _virtualisation() -> str | None:
    if Path("/.dockerenv").exists() or Path("/run/.containerenv").exists():
        return "container"
    flags = _field(Path("/proc/cpuinfo"), "flags") or ""
    return "virtual machine" if "hypervisor" in flags.split() else None


def _field(file: Path, key: str, separator: str = ":") -> str | None:
    for line in (_text(file) or "").splitlines():
        name, found, value = line.partition(separator)
        if found and name.strip() == key:
            return value.strip().strip('"')
    return None


def _text(file: Path) -> str | None:
    try:
        return file.read_text().strip()
    except OSError:
        return None
