"""The types of a config looked into: keys, defaults, names; and a config as TOML.

TOML is complete for a run, or explained for a person.
"""

from __future__ import annotations

import textwrap
from dataclasses import asdict, dataclass
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

import tomlkit
from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from midhaul.runs.spec import Spec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Place = tuple[str | int, ...]
    from collections.abc import Mapping

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
                    texts.append(f"at least {_limit(limit)}")
                case Gt(gt=limit):
                    texts.append(f"more than {_limit(limit)}")
                case Le(le=limit):
                    texts.append(f"at most {_limit(limit)}")
                case Lt(lt=limit):
                    texts.append(f"less than {_limit(limit)}")
                case MinLen(min_length=limit):
                    texts.append(f"{limit} or more of them")
                case _:
                    pass
    return "".join(f", {text}" for text in texts)


def _limit(limit: Any) -> str:
    return f"{limit:g}" if isinstance(limit, float) else str(limit)


_WIDTH = 88


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigKey:
    """One key of an experiment file.

    Attributes:
        name: dotted, ``[]`` after the name of a list of tables.
        type: its type in words, with its limits.
        default: its default as TOML; ``""`` when there is none.
        is_required: true when a file must have it.
        description: what it means.
    """

    name: str
    type: str
    default: str
    is_required: bool
    description: str

    def plain(self) -> dict[str, object]:
        """The fields by name."""
        return asdict(self)


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[ConfigKey]:
    """Every key of a config, depth first; tables themselves are listed too."""
    for name, field in model.model_fields.items():
        default = _default(field)
        below = models(field.annotation)
        is_list = type_name(field.annotation).startswith("list")
        is_leaf = not below
        yield ConfigKey(
            name=prefix + name,
            type=_type(field),
            default="" if default is None or below else _toml(plain(default)),
            is_required=field.is_required(),
            description=field.description or "",
        )
        if not is_leaf:
            for inner in below:
                yield from keys(inner, f"{prefix}{name}{'[]' if is_list else ''}.")


def dump_config(config: BaseModel) -> str:
    """A config as TOML, all defaults visible."""
    return "\n".join(_Writer(explain=False).model(config, ())) + "\n"


def template(config: BaseModel) -> str:
    """A config as TOML with every key explained; keys without a value commented out."""
    head = textwrap.wrap(_summary(type(config)), _WIDTH - 2)
    lines = [f"# {line}" for line in head] + [""]
    return "\n".join([*lines, *_Writer(explain=True).model(config, ())]) + "\n"


@dataclass(frozen=True, slots=True)
class _Writer:
    explain: bool

    def model(
        self, value: BaseModel, place: tuple[str, ...], *, brief: bool = False
    ) -> list[str]:
        """The keys of a table, plain ones first; ``brief`` leaves out defaults."""
        lines: list[str] = []
        tables: list[str] = []
        for name, field in type(value).model_fields.items():
            item = getattr(value, name)
            if brief and self.explain and item == _default(field):
                continue
            if self._is_table(field, item):
                tables += self._table(field, item, (*place, name))
            else:
                lines += self._entry(name, field, item)
        return lines + tables

    def _is_table(self, field: FieldInfo, item: object) -> bool:
        """Whether a value takes a heading; an absent table only for its explanation."""
        if isinstance(item, BaseModel | dict):
            return True
        return bool(models(field.annotation)) and (self.explain or bool(item))

    def _entry(self, name: str, field: FieldInfo, item: object) -> list[str]:
        comment = self._comment(field, brief=False)
        if item is None:
            return (
                [*comment, f"# {name} ="] if self.explain else [f"# {name} is not set"]
            )
        return [*comment, f"{_key(name)} = {_toml(plain(item))}"]

    def _table(self, field: FieldInfo, item: Any, place: tuple[str, ...]) -> list[str]:
        title = ".".join(_key(step) for step in place)
        comment = ["", *self._comment(field, brief=True)]
        if isinstance(item, BaseModel):
            return [*comment, f"[{title}]", *self.model(item, place)]
        if isinstance(item, dict):
            entries = cast("dict[str, object]", item)
            body = [f"{_key(k)} = {_toml(plain(v))}" for k, v in entries.items()]
            mark = "# " if self.explain and not entries else ""
            return [*comment, f"{mark}[{title}]", *body]
        if not item:
            return self._absent(field, title, comment)
        lines = list(comment)
        for index, entry in enumerate(item):
            lines += [""] * (index > 0) + [f"[[{title}]]"]
            lines += self.model(entry, place, brief=index > 0)
        return lines

    def _absent(self, field: FieldInfo, title: str, comment: list[str]) -> list[str]:
        mark = ("[[", "]]") if item_is_list(field) else ("[", "]")
        lines = [*comment, f"# {mark[0]}{title}{mark[1]}"]
        for inner in models(field.annotation)[:1]:
            for name, below in inner.model_fields.items():
                lines += [f"# {line}" for line in self._comment(below, brief=False)]
                default = _default(below)
                known = default is not None and not below.is_required()
                value = f" {_toml(plain(default))}" if known else ""
                lines.append(f"# {name} ={value}")
        return lines

    def _comment(self, field: FieldInfo, *, brief: bool) -> list[str]:
        if not self.explain:
            return []
        text = field.description or ""
        if not brief:
            needed = ", required" if field.is_required() else ""
            text = f"{text} ({_type(field)}{needed})"
        return [f"# {line}" for line in textwrap.wrap(text, _WIDTH - 2)]


def item_is_list(field: FieldInfo) -> bool:
    """Whether a field holds a list of tables rather than one."""
    return type_name(field.annotation).startswith("list")


def _default(field: FieldInfo) -> object:
    return None if field.is_required() else field.get_default(call_default_factory=True)


def _type(field: FieldInfo) -> str:
    return type_name(field.annotation) + bounds(field.metadata)


def _summary(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").partition("\n\n")[0].strip()


def _key(name: str) -> str:
    return tomlkit.key(name).as_string()


def _toml(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_toml(v) for v in cast('Sequence[object]', value))}]"
    if isinstance(value, dict):
        pairs = cast("Mapping[str, object]", value).items()
        return "{" + ", ".join(f"{_key(k)} = {_toml(v)}" for k, v in pairs) + "}"
    return tomlkit.item(value).as_string()
