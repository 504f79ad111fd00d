"""COMBINE: several priced inference providers behind one policy.

Problem types and what judges them stand here; whom to ask in ``policies``, how answers
become one in ``fusion``, who is asked in ``providers``, who answers in ``serving``,
and what packets tell in ``latency``. Names are imported when they are first used,
because configs must load where the libraries that learn are not installed;
``__init__.pyi`` says where they are.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
