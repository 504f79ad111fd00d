"""Experiment files (TOML), with ``--set`` laid over them.

Order: the kind's defaults, the file, then each ``--set a.b=value`` in turn. A value is
written as in TOML; what is no TOML is taken as text. A step of the key is a key, the
index of a list entry or the ``name`` of one: ``nodes.edge1.detector``.

A relative path is taken from the folder of the file; one given with ``--set`` from the
current folder. Environment variables are not expanded.

On which line each key stands is known, so that a mistake has its place.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pydantic import ValidationError
from pydantic_core import to_json

from midhaul import documents
from midhaul.errors import ConfigError, suggestion
from midhaul.runs import schema
from midhaul.runs.config import Config, plain_values
from midhaul.runs.config_errors import Mistake, config_error, mistakes
from midhaul.runs.spec import Spec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pydantic import BaseModel

    Plain = dict[str, Any]

_HEADER = re.compile(r"\s*(\[\[?)\s*(.+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(
    r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*="""
)

_MAX_PARSED = 5_000_000
"""Characters that are parsed again to see where values end."""

Place = tuple[str | int, ...]


def key_lines(text: str) -> dict[Place, int]:
    """Line numbers, from 1, of the keys of a valid TOML text.

    Keys inside of inline tables are not listed; look for the key that holds them.
    Entries of ``[[lists]]`` are numbered from 0. Of a text that nobody writes by hand
    just the first keys are found.
    """
    found: dict[Place, int] = {}
    counts: dict[Place, int] = {}
    table: Place = ()
    open_value = ""
    n_parsed = 0
    for number, line in enumerate(text.splitlines(), start=1):
        if n_parsed > _MAX_PARSED:
            break
        if open_value:
            open_value = _still_open(f"{open_value}\n{line}")
            n_parsed += len(open_value)
        elif header := _HEADER.match(line):
            table = _table(header, counts)
            found.setdefault(table, number)
        elif key := _KEY.match(line):
            found[table + _steps(key[1])] = number
            open_value = _still_open(line)
    return found


def _still_open(text: str) -> str:
    try:
        tomllib.loads(text)
    except (ValueError, RecursionError):
        return text
    return ""


def _table(header: re.Match[str], counts: dict[Place, int]) -> Place:
    place: Place = ()
    steps = _steps(header[2])
    for step in steps[:-1]:
        place = (*place, step)
        if place in counts:
            place = (*place, counts[place])
    place = (*place, steps[-1])
    if header[1] == "[[":
        counts[place] = counts.get(place, -1) + 1
        return (*place, counts[place])
    return place


def _steps(key: str) -> tuple[str, ...]:
    node: Any = tomllib.loads(f"{key} = 0")
    steps: list[str] = []
    while isinstance(node, dict):
        (step, node), *_ = cast("dict[str, Any]", node).items()
        steps.append(step)
    return tuple(steps)


_Config = TypeVar("_Config", bound=Config)


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """One value laid over the file.

    Attributes:
        key: the steps of its key.
        value: what TOML made of it.
        folder: where its relative paths begin.
    """

    key: tuple[str, ...]
    value: object
    folder: Path

    @property
    def name(self) -> str:
        """The key with points between its steps."""
        return ".".join(self.key)

    @classmethod
    def parse(cls, text: str) -> Override:
        """Read ``a.b=value`` as ``--set`` gives it.

        Raises:
            ConfigError: it has no key or no ``=``.
        """
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            message = f"--set expects KEY=VALUE, found {text!r}"
            raise ConfigError(message, "for example --set load.rate_hz=20")
        return cls(key=parse_key(key), value=parse_value(value), folder=Path.cwd())


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentFile:
    """An experiment file as it is written, not yet held against a kind's schema.

    Attributes:
        path: where it lies.
        values: all of it but ``sweep``.
        sweep: values by dotted key, from its table ``sweep``.
        lines: line of each key, as far as they are known.
        name: what messages call it; its path when empty.
    """

    path: Path
    values: Plain
    sweep: Mapping[str, list[object]] = field(default_factory=dict[str, list[object]])
    lines: Mapping[Place, int] = field(default_factory=dict["Place", int])
    name: str = ""

    @property
    def title(self) -> str:
        """What messages call it."""
        return self.name or str(self.path)

    @property
    def kind(self) -> str:
        """The kind that it names.

        Raises:
            ConfigError: it names none.
        """
        kind = self.values.get("kind")
        if not isinstance(kind, str):
            message = f"{self.title}: expected a key kind, a text, found {kind!r}"
            hint = 'begin the file with kind = "...", see midhaul new --help'
            raise ConfigError(message, hint)
        return kind

    def config(self, model: type[_Config], overrides: Sequence[Override]) -> _Config:
        """The complete config of a kind.

        Raises:
            ConfigError: all mistakes of the file and the overrides at once.
        """
        values = cast("Plain", _copy(self.values))
        found: list[Mistake] = []
        placed: dict[Place, Path] = {}
        for override in overrides:
            try:
                placed[_lay(values, model, override)] = override.folder
            except ConfigError as error:
                found.append(Mistake(f"--set {override.name}", None, error.message))
        try:
            documents.check(values, is_config=True)
        except ValueError as error:
            message = f"{self.title} and --set: {error}"
            raise ConfigError(message) from error
        schema.join_dotted_keys(model, values)
        config = self._validate(model, values, found, set(placed))
        if not _resolve(config, values, placed, self.path.parent):
            return config
        return self._validate(model, values, found, set(placed))

    def _validate(
        self,
        model: type[_Config],
        values: Plain,
        found: list[Mistake],
        placed: set[Place],
    ) -> _Config:
        try:
            config = model.model_validate_json(
                to_json(values, inf_nan_mode="constants")
            )
        except ValidationError as error:
            lines = {k: n for k, n in self.lines.items() if k not in placed}
            found = [*found, *mistakes(model, error, values, lines)]
        else:
            if not found:
                return config
        raise config_error(self.title, found, self.kind)


def read_file(path: Path) -> ExperimentFile:
    """Read an experiment file.

    Raises:
        ConfigError: it is missing, unreadable or no TOML.
    """
    try:
        text = documents.read_text(path)
    except FileNotFoundError as error:
        message = f"there is no experiment file {path}"
        raise ConfigError(message, f"midhaul new KIND --out {path}") from error
    except (OSError, ValueError) as error:
        message = f"experiment file {path} cannot be read: {error}"
        raise ConfigError(message) from error
    try:
        values = documents.parse_toml(text)
    except ValueError as error:
        if error.__cause__ is None:  # it is TOML, with a value that no key can mean
            message = f"{path} cannot be used: {error}"
            raise ConfigError(message, "give that key another value") from error
        message = f"{path} is no TOML: {error}"
        raise ConfigError(message, "texts need quotes, and = stands in each") from error
    return _with_sweep(ExperimentFile(path=path, values=values, lines=key_lines(text)))


def file_of_values(
    values: Mapping[str, Any], name: str = "the config"
) -> ExperimentFile:
    """What an experiment file would be that holds these values of Python.

    Relative paths begin in the current folder. ConfigError if a value is of a type that
    no file could hold.
    """
    path = Path.cwd() / "config.toml"
    found = ExperimentFile(path=path, values=plain_values(values), name=name)
    return _with_sweep(found)


def _with_sweep(file: ExperimentFile) -> ExperimentFile:
    """The same with its table ``sweep`` set apart from its values."""
    values = dict(file.values)
    sweep = values.pop("sweep", {})
    path = file.title
    if not isinstance(sweep, dict):
        message = f"{path}: sweep must be a table of lists, found {sweep!r}"
        raise ConfigError(message, '[sweep] and below it "load.rate_hz" = [5, 10]')
    lists = dict(_dotted(cast("Plain", sweep)))
    for key, value in lists.items():
        if not isinstance(value, list) or not value:
            message = f"{path}: sweep.{key} must be a list of values, found {value!r}"
            raise ConfigError(message, f'"{key}" = [first, second]')
    found = cast("dict[str, list[object]]", lists)
    return replace(file, values=values, sweep=found)


def parse_key(text: str) -> tuple[str, ...]:
    """The steps of a dotted key; a step in quotes may have points in it.

    ConfigError if it is no key.
    """
    try:
        node: object = documents.parse_toml(f"{text.strip()} = 0")
    except ValueError as error:
        message = f"expected a key such as load.rate_hz, found {text!r}"
        raise ConfigError(message) from error
    steps: list[str] = []
    while isinstance(node, dict):
        (step, node), *_ = cast("dict[str, object]", node).items()
        steps.append(step)
    return tuple(steps)


def parse_value(text: str) -> object:
    """A value as TOML writes it; anything else is the text itself."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    value = parsed["value"]
    if len(parsed) > 1 or isinstance(value, date | datetime | time):
        return text
    return value


def _copy(value: object) -> object:
    if isinstance(value, dict):
        return {k: _copy(v) for k, v in cast("Plain", value).items()}
    if isinstance(value, list):
        return [_copy(v) for v in cast("list[object]", value)]
    return value


def _dotted(values: Plain, prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _dotted(cast("Plain", value), f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _lay(values: Plain, model: type[BaseModel], override: Override) -> Place:
    """Put one override into the values; defaults that it goes through come along."""
    node: Plain | list[object] = values
    place: Place = ()
    for depth, text in enumerate(override.key):
        step = _step(node, text, place)
        place = (*place, step)
        if depth + 1 == len(override.key):
            node[step] = override.value  # type: ignore[index, call-overload]
            break
        if isinstance(node, dict) and step not in node:
            default = schema.default_at(model, place)
            node[cast("str", step)] = (
                default if isinstance(default, list | dict) else {}
            )
        below = node[step]  # type: ignore[index, call-overload]
        if not isinstance(below, dict | list):
            message = f"{_text(place)} is {below!r}, it has nothing below it"
            raise ConfigError(message)
        node = cast("Plain | list[object]", below)
    return place


def _step(node: Plain | list[object], text: str, place: Place) -> str | int:
    if isinstance(node, dict):
        return text
    if text.isdecimal() and int(text) < len(node):
        return int(text)
    entries = [e for e in node if isinstance(e, dict)]
    names = [cast("Plain", entry).get("name") for entry in entries]
    if text in names:
        return names.index(text)
    known = [name for name in names if isinstance(name, str)]
    shown = ", ".join(known) or f"0 to {len(node) - 1}"
    message = f"{_text(place)} has no entry {text!r}, there is {shown}"
    raise ConfigError(message + suggestion(text, known))


def _text(place: Place) -> str:
    return ".".join(str(step) for step in place)


def _resolve(
    config: BaseModel, values: Plain, placed: Mapping[Place, Path], folder: Path
) -> bool:
    """Make the paths in ``values`` absolute; True when there were any."""
    changed = False
    for place, value in schema.leaves(config):
        if not isinstance(value, Path | Spec):
            continue
        holder: Any = values
        try:
            for step in place[:-1]:
                holder = holder[step]
            written = holder[place[-1]]
        except (KeyError, IndexError, TypeError):
            continue  # a default
        base = next((f for p, f in placed.items() if place[: len(p)] == p), folder)
        absolute = _absolute(value, base)
        if written != absolute:
            holder[place[-1]] = absolute
            changed = True
    return changed


def _absolute(value: Path | Spec, folder: Path) -> str:
    if isinstance(value, Spec):
        return str(value.resolved(folder))
    return str((folder / value.expanduser()).resolve())
