"""TCP, packet by packet, as ns-3.37 does it: NewReno, Cubic, DCTCP, BBR."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
