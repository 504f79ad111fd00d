"""The program for ns-3: compiled once for each version of ns-3 and of its source."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from midhaul.errors import PrerequisiteError, SimulationError
from midhaul.machine.cache import cache_folder

SOURCE = Path(__file__).with_name("program.cc")
HEADER = "ns3/core-module.h"
_INCLUDES = (Path("/usr/include"), Path("/usr/local/include"))
_LIBRARIES = (
    "core",
    "network",
    "internet",
    "point-to-point",
    "traffic-control",
    "bridge",
    "stats",
)
VERSION = "3.37"
_LIMIT_S = 600
_HINT = "apt-get install libns3-dev g++ (Debian 12 has ns-3.37)"


def _version() -> str:
    """The version of ns-3 that is installed; PrerequisiteError if it is not 3.37."""
    if not any((folder / HEADER).is_file() for folder in _INCLUDES):
        message = (
            f"ns-3 is not installed: {HEADER} is in none of "
            f"{', '.join(map(str, _INCLUDES))}"
        )
        raise PrerequisiteError(message, _HINT)
    tool = shutil.which("pkg-config")
    if tool is None:
        return VERSION
    asked = subprocess.run(  # noqa: S603 - a program of the system
        [tool, "--modversion", "ns3-core"],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    found = asked.stdout.strip() or VERSION
    if not found.startswith(VERSION):
        message = (
            f"expected ns-3 {VERSION}, found {found}: other versions differ in TCP"
        )
        raise PrerequisiteError(message, _HINT)
    return found


def program() -> Path:
    """The compiled program, made now if it is not there.

    PrerequisiteError without ns-3 3.37, a compiler or room to keep it; SimulationError
    if that fails.
    """
    version = _version()
    source = SOURCE.read_bytes()
    name = f"program-{version}-{hashlib.sha256(source).hexdigest()[:12]}"
    target = cache_folder() / "ns3" / name
    if target.is_file():
        return target
    compiler = shutil.which(os.environ.get("CXX", "g++")) or shutil.which("c++")
    if compiler is None:
        message = "a C++ compiler is needed once to build the program for ns-3"
        raise PrerequisiteError(message, _HINT)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            _build(compiler, Path(folder) / name).replace(target)
    except OSError as error:
        message = f"the program for ns-3 cannot be kept: {error}"
        hint = "set XDG_CACHE_HOME to a folder that can be written to, and has room"
        raise PrerequisiteError(message, hint) from error
    return target


def _build(compiler: str, target: Path) -> Path:
    """Compile the program into a file; SimulationError if that fails."""
    command = [compiler, "-std=c++17", "-O2", str(SOURCE), "-o", str(target)]
    command += [f"-lns3-{library}" for library in _LIBRARIES]
    try:
        made = subprocess.run(  # noqa: S603 - the compiler, on a file of this package
            command, check=False, capture_output=True, text=True, timeout=_LIMIT_S
        )
    except subprocess.TimeoutExpired as error:
        message = f"{compiler} took more than {_LIMIT_S} s to build the program of ns-3"
        raise SimulationError(message, "try again while the machine is idle") from error
    if made.returncode != 0:
        message = (
            f"{compiler} could not build the program for ns-3:\n{made.stderr[:2000]}"
        )
        raise SimulationError(message, _HINT)
    return target
