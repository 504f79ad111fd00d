"""What an experiment is asked to do: the base of every kind's config.

A config is a frozen pydantic model. It is strict (``"3"`` is no number), knows its keys
(an unknown one is an error) and describes each of them. Reading one from a file is in
:mod:`midhaul.runs.experiment_file`; one made in Python is held to the same, so that it
takes lists and paths, and its mistakes are told in the same words.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import to_json

from midhaul.errors import ConfigError
from midhaul.runs.config_errors import config_error, mistakes

_HASH_LENGTH = 12
_LABELS = {"name", "note", "tags"}


def plain_values(values: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    """Python's values as what TOML can hold: lists, texts, tables.

    ConfigError if a value is of a type that no experiment file could hold.
    """
    found: dict[str, Any] = {}
    for key, value in values.items():
        if not isinstance(key, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            message = (
                f"{place or 'a config'}: expected keys that are texts, found {key!r}"
            )
            raise ConfigError(message)
        found[key] = _plain(value, f"{place}.{key}" if place else key)
    return found


def _plain(value: Any, place: str) -> Any:
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return plain_values(cast("Mapping[str, Any]", value), place)
    if hasattr(value, "tolist"):  # numpy's
        return _plain(value.tolist(), place)
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, bytes):
        entries = cast("Sequence[Any]", value)
        return [_plain(entry, f"{place}.{i}") for i, entry in enumerate(entries)]
    message = f"{place}: no experiment file can hold a {type(value).__name__}"
    raise ConfigError(message, "use numbers, texts, paths, lists and tables")


def setting(default: Any, said: str, **bounds: Any) -> Any:
    """A key: its default, what it means, and further words of pydantic's ``Field``.

    The default is ``...`` where there is none, and a class or a function where one is
    made of it.
    """
    if callable(default):
        return Field(default_factory=default, description=said, **bounds)
    return Field(default, description=said, **bounds)


class Section(BaseModel):
    """A part of a config: strict, frozen and without unknown keys."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        validate_default=True,
        use_attribute_docstrings=False,
        ser_json_inf_nan="constants",
    )

    if not TYPE_CHECKING:  # whoever checks types sees the fields

        def __init__(self, /, **values: Any) -> None:
            """Make one of Python's values, as if they stood in a file.

            Raises:
                ConfigError: all mistakes at once.
            """
            plain = plain_values(values)
            text = to_json(plain, inf_nan_mode="constants")
            try:
                self.__pydantic_validator__.validate_json(text, self_instance=self)
            except ValidationError as error:
                model = type(self)
                field = (
                    model.model_fields.get("kind")
                    if issubclass(model, Config)
                    else None
                )
                kind = None if field is None else field.default
                found = mistakes(model, error, plain, {})
                raise config_error(model.__name__, found, kind) from None

        # Says that validation need not call it: only Python's own values come here.
        __init__.__pydantic_base_init__ = True


class Config(Section):
    """What every kind of experiment can be told; each kind adds its own keys."""

    kind: str = Field(description="What kind of experiment this is.")
    seed: int = Field(
        default=0, ge=0, description="Seed of everything that is left to chance."
    )
    name: str = Field(
        default="",
        max_length=80,
        pattern=r"^[^\x00-\x1f/]*$",
        description="What you call it: in `midhaul ls`, in the report's title, and in "
        "place of a run's id.",
    )
    note: str = Field(default="", description="What you want to remember of it.")
    tags: tuple[str, ...] = Field(
        default=(), description="Words to find it by: `midhaul ls --tag WORD`."
    )

    def plain(self) -> dict[str, Any]:
        """All keys, defaults included, as what JSON and TOML can hold."""
        return self.model_dump(mode="json")

    def hash(self) -> str:
        """Twelve hex digits that change when any key does, defaults included.

        Name, note and tags do not count: they change nothing of what is found.
        """
        plain = {k: v for k, v in self.plain().items() if k not in _LABELS}
        text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:_HASH_LENGTH]
