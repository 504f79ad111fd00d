"""How functions of the TCP simulator become machine code, and arrays pointers.

Each function that Numba compiles on its own is optimised
with all that it calls, so a chain of small ones takes minutes: those with one caller
are merged. Signatures are those of the annotations: without them there would be a
function for each constant it is called with. Arrays are passed as pointers, one word
each, that know nothing of lengths and of negative indices and are not counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

from numba import (
    config,
    njit,  # pyright: ignore[reportUnknownVariableType]
    types,
)
from numba.extending import intrinsic

if TYPE_CHECKING:
    from collections.abc import Callable

Kernel = TypeVar("Kernel", bound="Callable[..., Any]")

_TYPES = {
    "Cells": types.CPointer(types.int64),
    "FloatCells": types.CPointer(types.float64),
    "Heap": types.CPointer(types.int64),
    "Array": types.int64[::1],
    "FloatArray": types.float64[::1],
    "int": types.int64,
    "float": types.float64,
    "bool": types.boolean,
    "np.uint64": types.uint64,
    "None": types.void,
}


def _signature(function: Callable[..., Any]) -> Any:
    """What a function takes and returns, for Numba."""
    names = dict(function.__annotations__)
    returns = _TYPES[names.pop("return")]
    return returns(*(_TYPES[name] for name in names.values()))


def entry(function: Kernel) -> Kernel:
    """Compile a function that Python calls; its plain Python is ``py_func``."""
    how = njit(  # pyright: ignore[reportCallIssue]
        _signature(function), cache=True, error_model="numpy", _nrt=False
    )
    return cast("Kernel", how(function))


def compiled(function: Kernel) -> Kernel:
    """Compile a function that only kernels call."""
    how = njit(  # pyright: ignore[reportCallIssue]
        _signature(function),
        cache=True,
        error_model="numpy",
        _nrt=False,
        no_cpython_wrapper=True,
        no_cfunc_wrapper=True,
    )
    return cast("Kernel", how(function))


def inlined(function: Kernel) -> Kernel:
    """Compile a short function into the machine code of those that call it."""
    how = njit(  # pyright: ignore[reportCallIssue]
        _signature(function),
        cache=True,
        error_model="numpy",
        _nrt=False,
        no_cpython_wrapper=True,
        no_cfunc_wrapper=True,
        forceinline=True,
    )
    return cast("Kernel", how(function))


def merged(function: Kernel) -> Kernel:
    """Make a function part of its callers before they are compiled."""
    how = njit(  # pyright: ignore[reportCallIssue]
        cache=True, error_model="numpy", _nrt=False, inline="always"
    )
    return cast("Kernel", how(function))


def _pointer(_context: Any, array: Any) -> Any:
    """Where the first number of an array is."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return context.make_array(signature.args[0])(context, builder, given[0]).data

    return types.CPointer(array.dtype)(array), generate


def _same(array: Any) -> Any:
    """The array itself, where nothing is compiled."""
    return array


pointer: Any = _same if getattr(config, "DISABLE_JIT", 0) else intrinsic(_pointer)
