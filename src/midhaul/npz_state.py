"""Fitted things on disk: arrays and JSON values in one .npz, never a pickle.

What is fitted is a frozen dataclass: its fields are its state, in their order, and
their types say how they are read again (:class:`SavedFields`).
"""

from __future__ import annotations

import functools
import json
import math
import os
import types
from dataclasses import fields, is_dataclass
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Literal,
    Self,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

import numpy as np

from midhaul import documents
from midhaul.errors import DataError

if TYPE_CHECKING:
    import zipfile
    from collections.abc import Mapping
    from pathlib import Path

State = dict[str, Any]
"""Names to arrays, JSON values, or more of the same."""

T = TypeVar("T")

_META = "meta.json"
_MAX_META = 16_000_000
_MAX_BYTES = 2_000_000_000


class SavedFields:
    """A dataclass whose state is its fields; a base class.

    Attributes:
        tag: the key under which a state says of which ``kind`` it is; empty for none.
        kind: of the class, where it has a tag.
        flat: fields, dataclasses themselves, whose fields stand among the others.
    """

    __slots__ = ()

    tag: ClassVar[str] = ""
    kind: ClassVar[str] = ""
    flat: ClassVar[tuple[str, ...]] = ()

    def state(self) -> State:
        """Everything, for :meth:`from_state`."""
        head: State = {self.tag: self.kind} if self.tag else {}
        return head | state_of(self, flat=self.flat)

    @classmethod
    def from_state(cls, state: State) -> Self:
        """What :meth:`state` gave."""
        return from_state(cls, state, flat=cls.flat)


def state_of(value: Any, *, flat: tuple[str, ...] = ()) -> State:
    """The fields of a dataclass, those within by their own states.

    Fields of ``flat`` ones stand among the others.
    """
    state: State = {}
    for field in fields(value):
        if field.init:
            found = _plain(getattr(value, field.name))
            state |= found if field.name in flat else {field.name: found}
    return state


def from_state(
    kind: type[T],
    state: State,
    *,
    flat: tuple[str, ...] = (),
    given: Mapping[str, Any] | None = None,
) -> T:
    """A dataclass from what :func:`state_of` gave, and fields that are ``given``."""
    hints = _hints(kind)
    values: dict[str, Any] = {**(given or {})}
    for field in fields(cast("Any", kind)):
        if field.init and field.name not in values:
            name = field.name
            value = state if name in flat else state[name]
            values[name] = _read(hints[name], value)
    return kind(**values)


_hints = functools.cache(get_type_hints)


def _plain(value: Any) -> Any:
    if hasattr(value, "state"):
        return value.state()
    if is_dataclass(value):
        return state_of(value)
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in cast("tuple[Any, ...]", value)]
    return value


def _read(hint: Any, value: Any) -> Any:
    """A value of the type that a field has."""
    origin = get_origin(hint)
    if origin in {Union, types.UnionType}:  # with None
        (inner,) = (one for one in get_args(hint) if one is not type(None))
        return None if value is None else _read(inner, value)
    if origin is tuple:
        return tuple(_read(get_args(hint)[0], one) for one in value)
    if hasattr(hint, "dtypes"):  # an array, as jaxtyping says it
        return np.asarray(value, hint.dtypes[0])
    if hasattr(hint, "from_state"):
        return hint.from_state(value)
    if is_dataclass(hint):
        return from_state(cast("type[Any]", hint), value)
    return value if origin is Literal else hint(value)


def write_state(file: Path, state: Mapping[str, Any]) -> None:
    """Write nested dicts of arrays and JSON values, all of it or nothing."""
    arrays: dict[str, np.ndarray] = {}
    meta = _without_arrays(state, arrays)
    text = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    partial = file.with_name(f".{file.name}.partial")
    with partial.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **{_META: text}, **arrays)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(file)


def read_state(
    file: Path,
    what: str = "saved federation",
    hint: str = "federation.train writes one",
) -> State:
    """Read what :func:`write_state` wrote.

    DataError where the file is missing, or is not ``what`` it should be.
    """
    try:
        # Opened here, as numpy leaves a broken file open that it opened itself.
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            _check_size(stored.zip)
            meta = documents.parse_json(stored[_META][:_MAX_META].tobytes())
            arrays = {name: stored[name] for name in stored.files if name != _META}
        state = _with_arrays(meta, arrays)
    except FileNotFoundError as error:
        message = f"{file} does not exist"
        raise DataError(message) from error
    except Exception as error:
        # Numpy, zipfile and zlib have a dozen ways to say that a file is broken.
        message = f"{file} is no {what}: {error}"
        raise DataError(message, hint) from error
    if not isinstance(state, dict):
        message = f"{file} is no {what}: it holds no names"
        raise DataError(message, hint)
    return state


def _check_size(stored: zipfile.ZipFile) -> None:
    """Refuse what would be far larger in memory than any state is.

    Both what the archive says of its members, which bounds what zipfile reads, and what
    the head of each array says, for which numpy makes room before it reads. ValueError
    where it is too large.
    """
    n_bytes = sum(member.file_size for member in stored.infolist())
    if n_bytes > _MAX_BYTES:
        message = f"it would be {n_bytes:,} bytes in memory, at most {_MAX_BYTES:,} may"
        raise ValueError(message)
    for member in stored.infolist():
        with stored.open(member) as stream:
            version = np.lib.format.read_magic(stream)
            read = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, _, dtype = read(stream)
        if math.prod(shape) * dtype.itemsize > member.file_size:
            message = f"{member.filename} has no room for an array of {shape}"
            raise ValueError(message)


def _without_arrays(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, np.ndarray):
        # Numbered, as keys may hold any character, also what would join two of them.
        name = f"array-{len(arrays)}"
        arrays[name] = value
        return {"$array": name}
    if isinstance(value, dict):
        return {k: _without_arrays(v, arrays) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_arrays(v, arrays) for v in value]
    if isinstance(value, np.generic):
        return value.item()
    return value


def _with_arrays(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(value, dict):
        if set(value) == {"$array"}:
            return arrays[value["$array"]]
        return {k: _with_arrays(v, arrays) for k, v in value.items()}
    if isinstance(value, list):
        return [_with_arrays(v, arrays) for v in value]
    return value
