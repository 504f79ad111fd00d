"""Bounds of fields, as ``Annotated[float, Gt(0)]`` states them, kept by values.

A section of a config that is made from a dataclass has them too, with the line of the
file. Whoever makes the value in Python meets them here.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

from midhaul.errors import ConfigError


class _Bound(NamedTuple):
    """From where to where a field may be; ``is_above`` if the first is too little."""

    name: str
    least: float
    most: float
    is_above: bool


def check_bounds(value: object) -> None:
    """Refuse a field that is outside of its bounds, or no number.

    None is not looked at. ConfigError names the field and what it may be.
    """
    for bound in _bounds(type(value)):
        name, least, most, is_above = bound
        found = getattr(value, name)
        if found is None:
            continue
        if not least <= found <= most or (is_above and found == least):
            words = f"{'above' if is_above else 'at least'} {least:g}"
            if most < math.inf:
                words += f" and at most {most:g}"
            message = f"{name} of {type(value).__name__} must be {words}, found {found}"
            raise ConfigError(message)


@lru_cache(maxsize=64)
def _bounds(kind: type) -> tuple[_Bound, ...]:
    """The bounds of the fields of a dataclass that have some."""
    found: list[_Bound] = []
    for name, hint in get_type_hints(kind, include_extras=True).items():
        marks: tuple[Any, ...] = ()
        if get_origin(hint) is Annotated:
            marks = get_args(hint)[1:]
        least, most, is_above = -math.inf, math.inf, False
        for mark in marks:
            if hasattr(mark, "le"):
                most = float(mark.le)
            else:
                is_above = hasattr(mark, "gt")
                least = float(mark.gt if is_above else mark.ge)
        if marks:
            found.append(_Bound(name, least, most, is_above))
    return tuple(found)
