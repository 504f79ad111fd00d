"""What a live run needs of the machine, asked for all at once."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys

from midhaul.errors import PrerequisiteError

_PROGRAMS = {
    "ip": "iproute2",
    "tc": "iproute2",
    "docker-registry": "docker-registry",
    "mosquitto": "mosquitto",
}
_SEARCHED = "/usr/local/sbin:/usr/sbin:/sbin"
_LIBRARIES = ("aiohttp", "numba", "highspy", "onnxruntime", "cv2")
_SIMULATE = 'simulate instead, which needs none of this: kind = "deploy.simulate"'


def check_machine() -> None:
    """Refuse, in words, where no live run can be.

    Raises:
        PrerequisiteError: something is missing; all of it is named.
    """
    missing, packages = missing_here()
    if not missing:
        return
    hints = [f"apt-get install {' '.join(packages)}"] if packages else []
    message = f"deploy.live needs {'; '.join(missing)}"
    raise PrerequisiteError(message, "; or ".join([*hints, _SIMULATE]))


def missing_here() -> tuple[list[str], list[str]]:
    """What is missing, in words, and the Debian packages that bring it."""
    missing: list[str] = []
    if sys.platform != "linux":
        missing.append(f"Linux (this is {sys.platform})")
    elif os.geteuid() != 0:
        missing.append("root, for network namespaces and tc (run it with sudo)")
    programs = [name for name in _PROGRAMS if not _has(name)]
    if programs:
        missing.append(f"the programs {', '.join(programs)}")
    libraries = [n for n in _LIBRARIES if importlib.util.find_spec(n) is None]
    if libraries:
        names = ", ".join(libraries)
        missing.append(f"the libraries {names} (pip install 'midhaul[deploy,detect]')")
    return missing, sorted({_PROGRAMS[name] for name in programs})


def _has(program: str) -> bool:
    if program != "mosquitto":  # which is found outside of PATH as well
        return shutil.which(program) is not None
    return bool(shutil.which(program) or shutil.which(program, path=_SEARCHED))
