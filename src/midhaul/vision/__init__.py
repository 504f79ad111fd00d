"""Images, boxes, detectors and how well they do: what is seen, and who sees it.

Names are imported when they are first used; ``__init__.pyi`` says where they are.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
