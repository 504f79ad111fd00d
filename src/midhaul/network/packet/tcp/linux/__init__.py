"""TCP with the ways of Linux: what differs from ns-3, behind ``stack = "linux"``."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
