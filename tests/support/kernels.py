"""Numba kernels: what one process of ``make test`` compiles, no other does.

``python -m tests.support.kernels`` compiles those of networks, which takes two minutes.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path
from typing import Any

from numba.core import dispatcher
from numba.core.compiler_lock import global_compiler_lock

ROOT = Path(__file__).parents[2]


def compile_meanwhile() -> subprocess.Popen[bytes]:
    """Begin to compile those that take long, before all processes wait for them."""
    command = [sys.executable, "-m", "tests.support.kernels"]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)


def compile_once() -> None:
    """Have this process wait for others that compile functions of the same file.

    It then finds their machine code in the cache. Files do not import each other in a
    circle, so that no two processes wait for each other.
    """
    held: set[Path] = set()
    kernels: Any = dispatcher.Dispatcher
    compiles = kernels.compile

    def compile_or_load(kernel: Any, signature: Any) -> Any:
        file = Path(kernel.py_func.__code__.co_filename)
        with global_compiler_lock:
            if file in held or not file.is_file():
                return compiles(kernel, signature)
            held.add(file)
            try:
                with file.open("rb") as source:
                    fcntl.flock(source, fcntl.LOCK_EX)
                    return compiles(kernel, signature)
            finally:
                held.remove(file)

    kernels.compile = compile_or_load


def main() -> None:
    """Compile the kernels of all simulators, where that was not done before."""
    from midhaul.network import simulators  # noqa: PLC0415  it compiles when imported

    compile_once()
    transports = [
        simulators.transport_named(name) for name in simulators.OF_EACH_FAMILY
    ]
    for name in simulators.KERNELS:
        simulators.warm(name, transports, say=print)


if __name__ == "__main__":
    main()
