"""Arrow streams of plain columns, read from bytes that anybody may have sent.

A reader of the part of Arrow's IPC format (Columnar.rst, "Serialization and
interprocess communication"; ``Schema.fbs``, ``Message.fbs``) that batches of samples
need: whole and floating-point numbers, and lists of them of a fixed size. Arrow's own
reader trusts lengths that a stream states of itself, and ends the process where it
cannot have the memory. Here every offset is held against the bytes that are there.

Not read are dictionaries and compressed buffers, which could grow to any size.
"""

from __future__ import annotations

import functools
import math
import struct
from dataclasses import dataclass
from typing import NoReturn, cast

import numpy as np

_SCHEMA, _BATCH = 1, 3
_INT, _FLOAT, _LIST = 2, 3, 16
_FLOATS = {1: "<f4", 2: "<f8"}
_INTS = {8, 16, 32, 64}
_MOST_COLUMNS = 64
_MOST_WIDTH = 1 << 20
_CONTINUED = 0xFFFFFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    """A column of a schema; ``width`` is None where it is no list."""

    name: str
    dtype: np.dtype
    width: int | None


def read_stream(data: bytes, *, most: int) -> dict[str, np.ndarray]:
    """The columns of a stream, lists as matrices; nulls of numbers are NaN.

    Args:
        data: the whole stream.
        most: rows at most.

    Raises:
        ValueError: it is no such stream, ends early, or has more rows.
    """
    schema: tuple[_Column, ...] | None = None
    parts: list[list[np.ndarray]] = []
    n_rows, at = 0, 0
    owned = memoryview(bytearray(data))  # arrays on bytes could not be written to
    while at < len(data):
        head, at = _message(data, at)
        if head is None:
            break
        table = _Table(head, _offset(head, 0))
        kind = table.number(1, "B")
        size = table.number(3, "q")
        _demand(0 <= size <= len(data) - at, "a message ends before its body does")
        if kind == _SCHEMA and schema is None:
            schema = _schema(head)
        elif kind == _BATCH and schema is not None:
            body = owned[at : at + size]
            n, columns = _batch(table.table(2), schema, body)
            parts.append(columns)
            n_rows += n
            _demand(n_rows <= most, f"it has more than {most:,} rows")
        else:
            _fail(f"a message of kind {kind} is not expected there")
        at += size
    if schema is None:
        _fail("it has no schema")
    if not parts:
        empty = np.zeros(0)
        return {one.name: empty for one in schema}
    if len(parts) == 1:
        return {one.name: parts[0][i] for i, one in enumerate(schema)}
    return {
        one.name: np.concatenate([part[i] for part in parts])
        for i, one in enumerate(schema)
    }


def _message(data: bytes, at: int) -> tuple[bytes | None, int]:
    """The metadata of a message, and where its body begins; None at the end."""
    (size,) = _unpack("<I", data, at)
    at += 4
    if size == _CONTINUED:
        (size,) = _unpack("<I", data, at)
        at += 4
    if not size:
        return None, at
    _demand(size <= len(data) - at, "a message ends before its metadata does")
    return data[at : at + size], at + size


@functools.lru_cache(maxsize=8)
def _schema(head: bytes) -> tuple[_Column, ...]:
    """The columns of a schema; a client sends the same one again and again."""
    table = _Table(head, _offset(head, 0)).table(2)
    _demand(table.number(0, "h") == 0, "its numbers are big-endian")
    found = tuple(_column(one) for one in table.tables(1))
    names = [one.name for one in found]
    _demand(len(set(names)) == len(names), "two columns have the same name")
    return found


def _column(field: _Table) -> _Column:
    name = field.text(0)
    _demand(not field.has(4), f"{name} is a dictionary")
    if field.number(2, "B") == _LIST:
        width = field.table(3).number(0, "i")
        children = field.tables(5)
        _demand(
            len(children) == 1 and 0 <= width <= _MOST_WIDTH,
            f"{name} is a list of {width} values",
        )
        return _Column(name=name, dtype=_dtype(children[0], name), width=width)
    return _Column(name=name, dtype=_dtype(field, name), width=None)


def _dtype(field: _Table, name: str) -> np.dtype:
    kind, of = field.number(2, "B"), field.table(3)
    found = ""
    if kind == _FLOAT:
        found = _FLOATS.get(of.number(0, "h"), "")
    elif kind == _INT and (bits := of.number(0, "i")) in _INTS:
        found = f"<{'i' if of.number(1, '?') else 'u'}{bits // 8}"
    _demand(found != "", f"{name} is no number, and no list of numbers")
    return np.dtype(found)


def _batch(
    table: _Table, schema: tuple[_Column, ...], body: memoryview
) -> tuple[int, list[np.ndarray]]:
    """The columns of a record batch."""
    _demand(not table.has(3), "its buffers are compressed")
    n = table.number(0, "q")
    nodes = iter(table.structs(1))
    buffers = iter(table.structs(2))
    found: list[np.ndarray] = []
    try:
        for column in schema:
            length, n_null = next(nodes)
            valid = next(buffers)
            _demand(length == n, f"{column.name} has {length} rows of {n}")
            if column.width is not None:
                _demand(not n_null, f"{column.name} has nulls")
                length, n_null = next(nodes)
                valid = next(buffers)
                _demand(length == n * column.width, f"{column.name} has other rows")
            values = _array(body, next(buffers), column.dtype, length)
            if n_null:
                _demand(column.width is None, f"{column.name} has nulls")
                values = _with_nan(values, _bits(body, valid, n))
            if column.width is not None:
                values = values.reshape(n, column.width)
            found.append(values)
    except StopIteration:
        _fail("it has fewer buffers than its schema needs")
    return n, found


def _array(
    body: memoryview, where: tuple[int, int], dtype: np.dtype, n: int
) -> np.ndarray:
    start, size = where
    _demand(
        0 <= start <= len(body) and 0 <= n * dtype.itemsize <= len(body) - start,
        f"a buffer of {n} numbers at {start} is not there, it has {size} bytes",
    )
    found = np.frombuffer(body, dtype, n, start)
    return found if found.flags.aligned else found.copy()


def _bits(body: memoryview, where: tuple[int, int], n: int) -> np.ndarray:
    packed = _array(body, where, np.dtype(np.uint8), math.ceil(n / 8))
    return np.unpackbits(packed, count=n, bitorder="little").astype(np.bool_)


def _with_nan(values: np.ndarray, is_valid: np.ndarray) -> np.ndarray:
    return np.where(is_valid, values.astype(np.float64), np.nan)


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of a flatbuffer: its fields by number."""

    data: bytes
    at: int

    def has(self, number: int) -> bool:
        """Whether a field is there."""
        return self._field(number) != 0

    def number(self, number: int, code: str) -> int:
        """A number, 0 where it is not there."""
        at = self._field(number)
        return _unpack(f"<{code}", self.data, at)[0] if at else 0

    def table(self, number: int) -> _Table:
        """A table within."""
        return _Table(self.data, self._target(number))

    def text(self, number: int) -> str:
        """A text."""
        at = self._target(number)
        (size,) = _unpack("<I", self.data, at)
        _demand(size <= len(self.data) - at, "a text is longer than its message")
        return self.data[at + 4 : at + 4 + size].decode("utf-8")

    def tables(self, number: int) -> list[_Table]:
        """Tables of a vector."""
        at, n = self._vector(number, _MOST_COLUMNS)
        return [_Table(self.data, _offset(self.data, at + 4 * i)) for i in range(n)]

    def structs(self, number: int) -> list[tuple[int, int]]:
        """Pairs of whole numbers of a vector."""
        at, n = self._vector(number, 4 * _MOST_COLUMNS)
        pairs = [_unpack("<qq", self.data, at + 16 * i) for i in range(n)]
        return cast("list[tuple[int, int]]", pairs)

    def _vector(self, number: int, most: int) -> tuple[int, int]:
        at = self._target(number)
        (n,) = _unpack("<I", self.data, at)
        _demand(n <= most, f"a vector has {n} entries")
        return at + 4, n

    def _target(self, number: int) -> int:
        at = self._field(number)
        _demand(at != 0, f"field {number} of a table is missing")
        return _offset(self.data, at)

    def _field(self, number: int) -> int:
        (back,) = _unpack("<i", self.data, self.at)
        vtable = self.at - back
        (size,) = _unpack("<H", self.data, vtable)
        slot = 4 + 2 * number
        if slot + 2 > size:
            return 0
        (offset,) = _unpack("<H", self.data, vtable + slot)
        return self.at + offset if offset else 0


def _offset(data: bytes, at: int) -> int:
    return at + _unpack("<I", data, at)[0]


def _unpack(code: str, data: bytes, at: int) -> tuple[int, ...]:
    """Numbers at a place; ``struct`` would count a negative one from the end."""
    _demand(0 <= at <= len(data), "an offset leads out of its message")
    try:
        return struct.unpack_from(code, data, at)
    except struct.error:
        message = "an offset leads out of its message"
        raise ValueError(message) from None


def _demand(is_so: bool, said: str) -> None:  # noqa: FBT001 - an assertion
    if not is_so:
        _fail(said)


def _fail(said: str) -> NoReturn:
    raise ValueError(said)
