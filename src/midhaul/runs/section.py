"""Sections of a config made from the dataclasses that they fill: keys are said once.

``class RetryConfig(section(RetrySettings))`` has a key for each field of the dataclass:
its type with the bounds that ``Annotated[float, Gt(0)]`` gives, its default, and as its
description the first sentence of what ``Attributes:`` says of it. What follows that
sentence is for whoever reads the code.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    TypeVar,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from pydantic import Field, create_model

from midhaul.runs.config import Section

if TYPE_CHECKING:
    from collections.abc import Collection
    from dataclasses import Field as DataclassField

T = TypeVar("T")

_ATTRIBUTE = re.compile(r"^    (\w+): ((?:.+\n?)(?:^ {8,}.+\n?)*)", re.MULTILINE)
_NEXT_SENTENCE = re.compile(r"(?<=\.)\s+(?=[A-Z])")


def section(
    value: type[Any],
    *,
    without: Collection[str] = (),
    sections: Mapping[type[Any], type[Any]] | None = None,
) -> type[Any]:
    """A section with the fields of a dataclass, to be the base of one with a name.

    ``Attributes:`` of the dataclass describe each field. ``without`` are no keys;
    ``sections`` has the section in place of each dataclass that a field holds. Who
    checks types cannot know the keys.
    """
    held = sections or {}
    keys = {
        one.name: (_as_in_a_file(_type(value, one), held), key(value, one.name))
        for one in fields(value)
        if one.name not in without
    }
    name = f"{value.__name__}Section"
    return create_model(name, __base__=Section, **cast("Any", keys))


def key(value: type[Any], name: str) -> Any:
    """The default, the bounds and the description of a field, for a key of its name.

    For sections that have keys of several dataclasses, or keys of their own between.
    """
    one = next(one for one in fields(value) if one.name == name)
    said = _NEXT_SENTENCE.split(attributes_of(value)[name])[0]
    told: dict[str, Any] = {"description": said}
    if one.default is not MISSING:
        told["default"] = one.default
    elif one.default_factory is not MISSING:
        told["default_factory"] = one.default_factory
    hint = _type(value, one)
    for mark in get_args(hint)[1:] if get_origin(hint) is Annotated else ():
        if isinstance(mark, re.Pattern):
            told["pattern"] = cast("re.Pattern[str]", mark).pattern
        else:
            told |= asdict(mark)
    return Field(**told)


def value_of(value: type[T], config: Section, **more: Any) -> T:
    """The dataclass that a section fills.

    The config has keys of the names of its fields, among others; ``more`` are fields
    that are no keys, or are made of them.
    """
    names = [one.name for one in fields(value) if one.init]  # type: ignore[arg-type]
    model = type(config).model_fields
    told = {name: getattr(config, name) for name in names if name in model}
    return value(**told | more)


def attributes_of(value: type[Any]) -> dict[str, str]:
    """What ``Attributes:`` of a docstring says of each, as sentences."""
    text = inspect.getdoc(value) or ""
    block = text.partition("\nAttributes:\n")[2].partition("\n\n")[0]
    found = {name: " ".join(said.split()) for name, said in _ATTRIBUTE.findall(block)}
    return {name: said[:1].upper() + said[1:] for name, said in found.items()}


def _type(value: type[Any], one: DataclassField[Any]) -> Any:
    """The type of one field; those of others may be of libraries that are not there."""
    holder = type("One", (), {"__annotations__": {"it": one.type}})
    names = vars(sys.modules[value.__module__])
    return get_type_hints(holder, names, include_extras=True)["it"]


def _as_in_a_file(hint: Any, sections: Mapping[type[Any], type[Any]]) -> Any:
    """A type as a file has it: a dictionary for a mapping, a section for a value."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _as_in_a_file(inner[0], sections)
    if origin is Mapping:
        return cast("Any", dict)[inner]
    if origin is tuple:
        return cast("Any", tuple)[tuple(_as_in_a_file(one, sections) for one in inner)]
    return sections.get(hint, hint)
