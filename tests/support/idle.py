"""Work that never ends, for programs that are to be ended; it imports nothing large."""

from __future__ import annotations

import contextlib
import sys
from typing import NoReturn


def said(text: str) -> None:
    """Tell the test something."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def idle(number: int) -> NoReturn:
    """Work that never ends and hears nothing: it is in C, as a solver would be."""
    del number
    sys.setswitchinterval(1e9)
    words = ["ready"]
    while True:
        with contextlib.suppress(KeyboardInterrupt):  # it may come before the call
            if words:
                said(words.pop())
            sum(range(10**13))  # never lets go of Python
