"""Fitted things on disk: arrays and JSON values in one .npz, never a pickle."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul import documents
from midhaul.errors import DataError

if TYPE_CHECKING:
    import zipfile
    from collections.abc import Mapping
    from pathlib import Path

State = dict[str, Any]
"""Names to arrays, JSON values, or more of the same."""

_META = "meta.json"
_MAX_META = 16_000_000
_MAX_BYTES = 2_000_000_000


def write_state(file: Path, state: Mapping[str, Any]) -> None:
    """Write a state, all of it or nothing.

    Args:
        file: ends in ``.npz``.
        state: nested dicts whose leaves are arrays or JSON values.
    """
    arrays: dict[str, np.ndarray] = {}
    meta = _without_arrays(state, arrays)
    text = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    partial = file.with_name(f".{file.name}.partial")
    with partial.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **{_META: text}, **arrays)
    partial.replace(file)


def read_state(file: Path) -> State:
    """Read what :func:`write_state` wrote.

    Raises:
        DataError: the file is missing or no such file.
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
        message = f"{file} is no saved federation: {error}"
        raise DataError(message, "federation.train writes one") from error
    if not isinstance(state, dict):
        message = f"{file} is no saved federation: it holds no names"
        raise DataError(message, "federation.train writes one")
    return state


def _check_size(stored: zipfile.ZipFile) -> None:
    """Refuse what would be far larger in memory than any state is.

    Both what the archive says of its members, which bounds what zipfile reads, and
    what the head of each array says, for which numpy makes room before it reads.

    Raises:
        ValueError: it is too large.
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
