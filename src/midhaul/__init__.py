"""midhaul: a workbench for inference between the edge and the cloud.

What stands in ``__all__`` is the Python API, with the ``__all__`` of each area. Names
are imported when they are first used; ``__init__.pyi`` says where they are.
"""

from __future__ import annotations

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
