"""Workloads: which flows a network is given, drawn, read or made of a pattern."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
