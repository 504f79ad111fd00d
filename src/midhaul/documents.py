"""Texts that strangers wrote: JSON, TOML and YAML, bounded, whole or refused in words.

Parsers say in a dozen ways that a text is wrong: ``RecursionError`` when it is nested
deeply, ``ValueError`` without a place for a number of 5,000 digits, ``LookupError``,
``OverflowError`` and more. Here it is always a ``ValueError`` whose text says what is
wrong, and an ``OSError`` where a file cannot be had; whoever calls says by
:func:`expected` what the text should have been.
"""

from __future__ import annotations

import json
import math
import os
import stat
import tomllib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from midhaul.errors import DataError, MidhaulError, require

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    import pyarrow as pa

MAX_BYTES = 16_000_000
"""Size of a file that people write; files of data state their own bound."""

MAX_TEXT_BYTES = 500_000_000
"""Size of a table as text, of which every line becomes an object."""

MAX_DATA_BYTES = 8_000_000_000
"""Size of a file of data; the annotations of large data sets have some 500 MB."""

_MAX_DEPTH = 64
_MAX_NODES = 1_000_000
_MAX_ROWS = 500_000_000
_MAX_TABLE_BYTES = 16_000_000_000
_MAX_NUMBER = 1e30
_MAX_COUNT = 10_000_000
"""Of what a key ``n_…`` counts: more of it would never end."""
_MAX_USD = 1e9
"""Money is counted in nano-dollars of 64 bits."""
_INT64 = 1 << 63
_SHOWN = 40


@contextmanager
def expected(
    said: str,
    hint: str = "",
    *,
    raises: type[MidhaulError] = DataError,
    also: tuple[type[Exception], ...] = (),
) -> Generator[None]:
    """Raise what goes wrong below as an error that begins with what was expected.

    That is an OSError or a ValueError, as functions of this module raise them, or one
    of those that a parser has ``also``.
    """
    try:
        yield
    except FileNotFoundError as error:
        message = f"{said} there is no such file"
        raise raises(
            message, "check its name, and from which folder it counts"
        ) from error
    except (OSError, ValueError, *also) as error:
        message = f"{said} {error}"
        raise raises(message, hint) from error


def read_bytes(path: Path, *, max_bytes: int = MAX_DATA_BYTES) -> bytes:
    """The content of a file.

    OSError if it cannot be had; ValueError if it is larger than it may be, or its name
    cannot be one.
    """
    with path.open("rb") as file:
        found = os.fstat(file.fileno())
        is_short = not stat.S_ISREG(found.st_mode) or found.st_size <= max_bytes
        # A pipe or a device says nothing of its size, and may never end.
        data = file.read(max_bytes + 1) if is_short else b""
    if not is_short or len(data) > max_bytes:
        message = f"it may have {max_bytes:,} bytes at most, found more"
        raise ValueError(message)
    return data


def read_text(path: Path, *, max_bytes: int = MAX_BYTES) -> str:
    """The content of a text file in UTF-8, without a byte order mark.

    OSError if it cannot be had; ValueError if it is larger than it may be, no UTF-8, or
    has NUL bytes.
    """
    text = read_bytes(path, max_bytes=max_bytes).decode("utf-8-sig")
    if "\0" in text:
        message = f"it is no text: byte {text.index(chr(0))} is NUL"
        raise ValueError(message)
    return text


def parse_json(data: bytes | str, *, is_checked: bool | None = None) -> Any:
    """What a JSON text holds.

    Every value is looked at where ``is_checked``, see :func:`check`; by default those
    of texts that a person may have written, by their size. ValueError if it is no JSON,
    or nested too deeply.
    """
    value = _told(json.loads, data)
    if is_checked is None:
        is_checked = len(data) <= MAX_BYTES
    if is_checked:
        check(value)
    return value


def parse_toml(text: str) -> dict[str, Any]:
    """What a TOML text holds.

    ValueError if it is no TOML, or holds what :func:`check` refuses.
    """
    value: dict[str, Any] = _told(tomllib.loads, text)
    check(value, is_config=True)
    return value


def parse_yaml(text: str) -> Any:
    """What a YAML text holds; aliases may not make more of it than a million values.

    ValueError if it is no YAML, grows by its aliases, or holds what :func:`check`
    refuses; PrerequisiteError if PyYAML is not installed.
    """
    yaml = require("yaml", "detect")

    def load(text: str) -> object:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            if _size(node, {}) > _MAX_NODES:
                message = f"its aliases stand for more than {_MAX_NODES:,} values"
                raise ValueError(message)
            return loader.construct_document(node)
        finally:
            loader.dispose()

    value = _told(load, text)
    check(value, is_config=True)
    return value


def check(value: object, *, is_config: bool = False) -> None:
    """Refuse values that would break what is done with them later.

    A config has, too, no numbers that no key of an experiment can mean, and no NUL,
    which the name of no file has. ValueError if something is nested too deeply, or a
    text has halves of surrogate pairs, which no file can hold; its place is named.
    """
    waiting: list[tuple[object, int, tuple[object, ...]]] = [(value, 0, ())]
    while waiting:
        one, depth, place = waiting.pop()
        if isinstance(one, str):
            _check_text(one, place, is_config=is_config)
        elif isinstance(one, dict | list):
            if depth > _MAX_DEPTH:
                message = f"{_name(place)}: it is nested more than {_MAX_DEPTH} deep"
                raise ValueError(message)
            for key, below in _entries(cast("dict[Any, Any] | list[Any]", one)):
                if isinstance(key, str):
                    _check_text(key, place, is_config=is_config)
                waiting.append((below, depth + 1, (*place, key)))
        elif is_config and isinstance(one, int | float):
            _check_number(one, place)


def _entries(one: dict[Any, Any] | list[Any]) -> Iterator[tuple[object, object]]:
    return iter(one.items() if isinstance(one, dict) else enumerate(one))


def _check_text(text: str, place: tuple[object, ...], *, is_config: bool) -> None:
    if text.isascii() and not (is_config and "\0" in text):
        return
    odd = next(
        (c for c in text if "\ud800" <= c <= "\udfff" or (is_config and c == "\0")),
        None,
    )
    if odd is not None:
        message = f"{_name(place)}: {text[:_SHOWN]!a} has the character {odd!a}"
        raise ValueError(message)


def _check_number(number: float, place: tuple[object, ...]) -> None:
    if isinstance(number, int) and not -_INT64 <= number < _INT64:
        message = f"{_name(place)}: a whole number has 64 bits at most, found more"
        raise ValueError(message)
    key = str(place[-1]) if place else ""
    if key.startswith("n_") and number > _MAX_COUNT:
        message = f"{_name(place)}: {_MAX_COUNT:,} of anything are the most, found more"
        raise ValueError(message)
    if key.endswith("_usd") and math.isfinite(number) and number > _MAX_USD:
        message = f"{_name(place)}: {_MAX_USD:,.0f} USD are the most, found {number:g}"
        raise ValueError(message)
    if math.isfinite(number) and abs(number) > _MAX_NUMBER:
        message = f"{_name(place)}: {number:g} is larger than anything measured here"
        raise ValueError(message)


def _name(place: tuple[object, ...]) -> str:
    steps = [str(step)[:_SHOWN] for step in place[:6]]
    return ".".join(steps) + ("…" if len(place) > len(steps) else "") or "the text"


def _size(node: Any, known: dict[int, float]) -> float:
    """Values that a node stands for when each alias is written out; inf in a circle."""
    if id(node) in known:
        return known[id(node)]
    known[id(node)] = math.inf  # until it is known: whoever meets it is inside of it
    size = 1.0
    if isinstance(node.value, list):
        for entry in node.value:
            for one in entry if isinstance(entry, tuple) else (entry,):
                size += _size(one, known)
    known[id(node)] = size
    return size


def _told(parse: Callable[[Any], Any], data: object) -> Any:
    """Call a parser; whatever it raises is a ValueError with a text."""
    try:
        return parse(data)
    except RecursionError as error:
        message = "it is nested too deeply"
        raise ValueError(message) from error
    except OSError:
        raise
    except (ValueError, MemoryError) as error:
        said = str(error) or "it is too large"
        if "integer string conversion" in said:
            said = "it has a whole number of thousands of digits"
        raise ValueError(said) from error
    except Exception as error:
        # What a parser did not foresee is a fault of the text all the same.
        message = f"{type(error).__name__}: {error}"
        raise ValueError(message) from error


def read_parquet(path: Path, columns: list[str] | None = None) -> pa.Table:
    """The rows of a Parquet file.

    Args:
        path: of the file.
        columns: those that are wanted; all when it is None.

    Raises:
        OSError: it cannot be had.
        ValueError: it is damaged, no Parquet, or far larger than it looks.
    """
    import pyarrow.parquet as pq  # noqa: PLC0415  not needed by those who read texts

    def load(path: Path) -> pa.Table:
        with pq.ParquetFile(path) as file:
            found = file.metadata
            groups = (found.row_group(i) for i in range(found.num_row_groups))
            n_bytes = sum(group.total_byte_size for group in groups)
            if found.num_rows > _MAX_ROWS or n_bytes > _MAX_TABLE_BYTES:
                message = f"{found.num_rows:,} rows with {n_bytes:,} bytes are too many"
                raise ValueError(message)
            return file.read(columns)

    return _told(load, path)
