"""MEASURE: nodes, links, load and accuracy of edge-to-cloud inference.

Experiments are run by ``midhaul.run``; everything below them can be used alone. Names
are imported when they are first used, because configs must load where the libraries
that measure are not installed; ``__init__.pyi`` says where they are.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
