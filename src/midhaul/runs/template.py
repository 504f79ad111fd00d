"""Writing a config as TOML: complete for a run, or explained for a person."""

from __future__ import annotations

import textwrap
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

import tomlkit
from pydantic import BaseModel

from midhaul.runs import schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pydantic.fields import FieldInfo

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
        below = schema.models(field.annotation)
        is_list = schema.type_name(field.annotation).startswith("list")
        is_leaf = not below
        yield ConfigKey(
            name=prefix + name,
            type=_type(field),
            default="" if default is None or below else _toml(schema.plain(default)),
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
        return bool(schema.models(field.annotation)) and (self.explain or bool(item))

    def _entry(self, name: str, field: FieldInfo, item: object) -> list[str]:
        comment = self._comment(field, brief=False)
        if item is None:
            return (
                [*comment, f"# {name} ="] if self.explain else [f"# {name} is not set"]
            )
        return [*comment, f"{_key(name)} = {_toml(schema.plain(item))}"]

    def _table(self, field: FieldInfo, item: Any, place: tuple[str, ...]) -> list[str]:
        title = ".".join(_key(step) for step in place)
        comment = ["", *self._comment(field, brief=True)]
        if isinstance(item, BaseModel):
            return [*comment, f"[{title}]", *self.model(item, place)]
        if isinstance(item, dict):
            entries = cast("dict[str, object]", item)
            body = [f"{_key(k)} = {_toml(schema.plain(v))}" for k, v in entries.items()]
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
        for inner in schema.models(field.annotation)[:1]:
            for name, below in inner.model_fields.items():
                lines += [f"# {line}" for line in self._comment(below, brief=False)]
                default = _default(below)
                known = default is not None and not below.is_required()
                value = f" {_toml(schema.plain(default))}" if known else ""
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
    return schema.type_name(field.annotation).startswith("list")


def _default(field: FieldInfo) -> object:
    return None if field.is_required() else field.get_default(call_default_factory=True)


def _type(field: FieldInfo) -> str:
    return schema.type_name(field.annotation) + schema.bounds(field.metadata)


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
