"""The errors a user can meet.

::

    MidhaulError                 message + hint; shown as two lines, never a traceback
    ├── ConfigError              an experiment file or an option is wrong   (exit 2)
    ├── DataError                a file of images, labels or predictions is (exit 2)
    ├── PrerequisiteError        something must be installed first          (exit 3)
    ├── NodeError                a node does not start, answer or stop      (exit 1)
    ├── ProviderError            an inference provider failed               (exit 1)
    ├── SimulationError          a simulator failed                         (exit 1)
    └── StoreError               a run cannot be written or read            (exit 1)
        └── UnknownRunError      there is no run of that name               (exit 2)

Expected outcomes (an infeasible placement, a request that timed out, "do not retrain")
are values, not exceptions.
"""

from __future__ import annotations

import importlib
from difflib import get_close_matches
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import ModuleType


_LONGEST = 4000


class MidhaulError(Exception):
    """A problem that the user can mend.

    Args:
        message: what was expected, what was found, and where; what of it is longer
            than anybody reads is cut, as a file may be the cause of it.
        hint: the command or the key that mends it; empty when there is none.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, hint: str = "") -> None:
        if len(message) > _LONGEST:
            n_more = len(message) - _LONGEST
            message = f"{message[:_LONGEST]} … ({n_more:,} more characters)"
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        """Message and hint, as a log shows them."""
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class ConfigError(MidhaulError):
    """An experiment file, a ``--set`` or an option does not fit its schema."""

    exit_code = 2


class DataError(MidhaulError):
    """An input file is missing, unreadable or holds something else than expected."""

    exit_code = 2


class PrerequisiteError(MidhaulError):
    """Something has to be installed or started first."""

    exit_code = 3


class NodeError(MidhaulError):
    """A node of the testbed does not start, answer or stop."""


class ProviderError(MidhaulError):
    """An inference provider failed."""


class SimulationError(MidhaulError):
    """A simulator failed."""


class StoreError(MidhaulError):
    """A run cannot be written or read."""


class UnknownRunError(StoreError):
    """A name stands for no run, or for more than one."""

    exit_code = 2


def require(module: str, extra: str) -> ModuleType:
    """Import an optional library, or say in one line how to install it.

    ``extra`` brings it. The hint of the PrerequisiteError is the command that installs
    it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != module.partition(".")[0]:
            raise
        message = f"this needs {module}, which is not installed"
        hint = f"pip install 'midhaul[{extra}]'"
        raise PrerequisiteError(message, hint) from error


_LONGEST_WORD = 60
_SHOWN = 3
"""How many of many things an error message names."""


def name_some(what: str, items: Sequence[object]) -> str:
    """The first few of many things, and how many they are, for a message."""
    shown = ", ".join(str(i) for i in items[:_SHOWN])
    if len(items) == 1:
        return f"{what} {shown}"
    many = f"{what}es" if what.endswith("x") else f"{what}s"
    more = ", …" if len(items) > _SHOWN else ""
    return f"{len(items)} {many} ({shown}{more})"


def nearest(found: str, known: Iterable[str]) -> str:
    """The known word that was probably meant; empty where none is near."""
    near = get_close_matches(found[:_LONGEST_WORD], list(known), n=1)
    return near[0] if near else ""


def suggestion(found: str, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` for the end of a message, or nothing."""
    near = nearest(found, known)
    return f"; did you mean {near!r}?" if near else ""


def choice_hint(found: str, known: Iterable[str]) -> str:
    """``did you mean x?`` for a hint, or all that there is."""
    known = tuple(known)
    if near := nearest(found, known):
        return f"did you mean {near}?"
    return f"choose one of: {', '.join(known)}" if known else ""
