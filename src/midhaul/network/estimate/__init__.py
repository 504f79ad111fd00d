"""The tail of a network, estimated: the kind network.estimate.

``midhaul.network.estimate(topology, flows, …)`` does the same with values: once this
package is imported, that name is this module, and a call of it is handed to the area.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


class _Estimate(ModuleType):
    """A module that can be called like the function of the area that has its name."""

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Estimate the tail of a network."""
        area = sys.modules[self.__name__.rpartition(".")[0]]
        return area.__getattr__(self.__name__.rpartition(".")[2])(*arguments, **named)


sys.modules[__name__].__class__ = _Estimate
