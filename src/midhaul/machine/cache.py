"""Cache folder of the user: what is made once for all runs, and can be made again."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def cache_folder() -> Path:
    """``midhaul`` in ``XDG_CACHE_HOME``, or in ``~/.cache``; it may not exist yet."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "midhaul"


def cached_text(name: str, make: Callable[[], str]) -> str:
    """A text that takes long to make: read if it was kept whole, else made and kept.

    Its hash stands before it, so that one that was cut or changed is made anew. Where
    nothing can be kept it is made each time. ``name`` says what the text depends on.
    """
    file = cache_folder() / name
    try:
        digest, _, kept = file.read_bytes().partition(b"\n")
        if digest == _digest(kept):
            return kept.decode()
    except OSError:
        pass
    made = make()
    with contextlib.suppress(OSError):
        _keep(file, made.encode())
    return made


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()


def _keep(file: Path, data: bytes) -> None:
    # Several processes may make it at once: each has its draft, and all are the same.
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        draft = Path(folder) / file.name
        draft.write_bytes(_digest(data) + b"\n" + data)
        draft.replace(file)
