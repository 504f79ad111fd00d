"""PLACE: what runs on which gateway, and how much uplink each analytic gets.

Problem types stand here; algorithms in ``placement``, ``rates``, ``joint`` and
``eviction``; what carries a plan out in ``registry``, ``enforcement`` and ``exports``.
Names are imported when they are first used, because configs must load where the
libraries that plan are not installed; ``__init__.pyi`` says where they are.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
