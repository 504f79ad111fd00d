"""TCP with the ways of Linux: what differs from ns-3, behind ``stack = "linux"``."""

from __future__ import annotations

__all__: list[str] = []  # parts of TCP's kernel
