"""What a run says about itself in ``manifest.json``: its machine and code among it."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import shutil
import subprocess
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

import midhaul
from midhaul import documents
from midhaul.errors import StoreError, UnknownRunError
from midhaul.model import Verdict

SCHEMA_VERSION = 1
NAME = "manifest.json"
Status = Literal["running", "done", "failed", "interrupted"]


class Process(BaseModel):
    """The process that runs a run, so that its death is noticed.

    ``boot`` and ``started`` keep a later process with the same number apart from it;
    both are empty where the system does not tell them.
    """

    model_config = ConfigDict(frozen=True)

    pid: int
    host: str
    boot: str
    started: str


class Manifest(BaseModel):
    """Who ran what, where and with which end."""

    model_config = ConfigDict(frozen=True)

    schema_version: int = SCHEMA_VERSION
    id: str
    kind: str
    status: Status
    created: datetime
    ended: datetime | None = None
    resumed: tuple[datetime, ...] = ()
    error: str | None = None
    process: Process
    seed: int
    config_hash: str
    code_version: str
    commit: str | None
    versions: dict[str, str]
    machine: dict[str, Any]
    group: str | None = None
    point: dict[str, Any] | None = None
    name: str = ""
    note: str = ""
    tags: tuple[str, ...] = ()
    verdict: Verdict | None = None
    notes: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        """What stands in the file; a verdict also says ``is_valid``."""
        plain = self.model_dump(mode="json")
        if self.verdict is not None:
            plain["verdict"] = {"is_valid": self.verdict.is_valid, **plain["verdict"]}
        return plain

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest of the run in ``folder``.

        UnknownRunError if there is none; StoreError if it holds something else.
        """
        file = folder / NAME
        try:
            data = documents.parse_json(documents.read_text(file))
            if (verdict := data.get("verdict")) is not None:
                verdict.pop("is_valid", None)
            return cls.model_validate(data)
        except FileNotFoundError as error:
            message = f"{folder} is no run: it has no {NAME}"
            raise UnknownRunError(message, "midhaul ls lists the runs") from error
        except (OSError, ValueError, AttributeError, ValidationError) as error:
            message = f"{file} cannot be read: {error}"
            raise StoreError(message) from error


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
