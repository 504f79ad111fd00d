"""Experiments as files, runs as folders.

An experiment file is read into a :class:`Config`; running it fills the folder of a
:class:`Run`. Nothing here knows what an experiment is about. Names are imported when
they are first used; ``__init__.pyi`` says where they are.

``midhaul.runs()`` lists the runs there are: once this package is imported, that name is
this module, and a call of it is handed to the facade.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


class _Runs(ModuleType):
    """A module that can be called like the function of the facade that has its name."""

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """List the runs there are."""
        facade = sys.modules[self.__name__.rpartition(".")[0]]
        return facade.__getattr__(self.__name__.rpartition(".")[2])(*arguments, **named)


sys.modules[__name__].__class__ = _Runs
