"""Simulators that are not ours, or no simulators at all: what ours are held against."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
