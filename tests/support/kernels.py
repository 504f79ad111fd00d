"""Numba kernels: what one process of ``make test`` compiles, no other does."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import Any

from numba.core import dispatcher
from numba.core.compiler_lock import global_compiler_lock


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
