"""Armol's learners: SAC, TD3 and PPO over subsets of providers."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
