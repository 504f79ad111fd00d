"""Looking things up in the types of a config: keys, defaults, names of types."""

from __future__ import annotations

from pathlib import Path
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    Union,
    cast,
    get_args,
    get_origin,
)

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from midhaul.runs.spec import Spec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Place = tuple[str | int, ...]

_NAMES = {
    str: "text",
    Spec: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    Path: "path",
}


def models(annotation: Any) -> list[type[BaseModel]]:
    """The models that an annotation allows, through optionals, unions and lists."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) is Literal:
        return []
    return [model for inner in get_args(annotation) for model in models(inner)]


def models_at(
    model: type[BaseModel], place: Sequence[str | int]
) -> list[type[BaseModel]]:
    """The models that can stand at a place below ``model``; indices are skipped."""
    found = [model]
    for step in place:
        if isinstance(step, int):
            continue
        fields = [m.model_fields[step] for m in found if step in m.model_fields]
        found = [below for f in fields for below in models(f.annotation)]
    return found


def default_at(model: type[BaseModel], place: Sequence[str | int]) -> object:
    """The default of a key as JSON has it; None when it has none."""
    for owner in models_at(model, place[:-1]):
        field = owner.model_fields.get(str(place[-1]))
        if field is not None and not field.is_required():
            return plain(field.get_default(call_default_factory=True))
    return None


def plain(value: object) -> object:
    """A value of a config as what JSON and TOML can hold."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, tuple | list):
        return [plain(v) for v in cast("Sequence[object]", value)]
    if isinstance(value, Path | Spec):
        return str(value)
    return value


def leaves(value: object, place: Place = ()) -> Iterator[tuple[Place, object]]:
    """Every value of a config that is no model, list or mapping, with its place."""
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from leaves(getattr(value, name), (*place, name))
    elif isinstance(value, dict):
        for key, below in cast("dict[str, object]", value).items():
            yield from leaves(below, (*place, key))
    elif isinstance(value, tuple | list):
        for index, below in enumerate(cast("Sequence[object]", value)):
            yield from leaves(below, (*place, index))
    else:
        yield place, value


def join_dotted_keys(model: type[BaseModel], values: dict[str, Any]) -> None:
    """Write nested tables as dotted keys where a field maps names to plain values.

    TOML reads ``edge.encode = [...]`` as a table ``edge``; where the schema says that
    any name may stand there, the name is ``edge.encode``.
    """
    for name, field in model.model_fields.items():
        value = values.get(name)
        if isinstance(value, dict) and _is_flat_mapping(field.annotation):
            values[name] = dict(_joined(cast("dict[str, Any]", value)))


def _is_flat_mapping(annotation: Any) -> bool:
    if get_origin(annotation) is not dict:
        return False
    inner = get_args(annotation)[1]
    return not models(inner) and get_origin(inner) is not dict


def _joined(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _joined(cast("dict[str, Any]", value), f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def type_name(annotation: Any) -> str:
    """A type in words, as a comment of an experiment file has it."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_name(inner[0]) + bounds(inner[1:])
    if origin is Literal:
        return " | ".join(f'"{c}"' if isinstance(c, str) else str(c) for c in inner)
    if origin in {Union, UnionType}:
        return " or ".join(type_name(a) for a in inner if a is not NoneType)
    if origin in {tuple, list}:
        return f"list of {type_name(inner[0])}"
    known = "table" if models(annotation) else _NAMES.get(annotation)
    if origin is dict:
        known = f"names, each with a {type_name(inner[1])}"
    return known or getattr(annotation, "__name__", str(annotation))


def bounds(metadata: Sequence[Any]) -> str:
    """The limits of a value in words, with a leading comma; empty without any."""
    texts: list[str] = []
    for item in metadata:
        parts: Sequence[Any] = [item]
        if isinstance(item, FieldInfo):
            parts = item.metadata
        for part in parts:
            match part:
                case Ge(ge=limit):
                    texts.append(f"at least {limit}")
                case Gt(gt=limit):
                    texts.append(f"more than {limit}")
                case Le(le=limit):
                    texts.append(f"at most {limit}")
                case Lt(lt=limit):
                    texts.append(f"less than {limit}")
                case MinLen(min_length=limit):
                    texts.append(f"{limit} or more of them")
                case _:
                    pass
    return "".join(f", {text}" for text in texts)
