"""The corrector: what a fluid simulation of a path says, made what packets would."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
