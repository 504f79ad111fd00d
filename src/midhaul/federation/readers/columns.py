"""Columns of a Parquet file, by name: as codes and numbers, not as texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from midhaul import documents
from midhaul.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from jaxtyping import Float64, Int64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Codes:
    """A column of texts.

    Attributes:
        codes: ``(m,)`` indices into ``texts``; -1 for null.
        texts: the different texts, in the order in which they come.
    """

    codes: Int64[np.ndarray, " m"]
    texts: tuple[str, ...]


class Columns:
    """Some columns of a Parquet file.

    Args:
        file: where.
        wanted: columns to read, where the file has them.

    Raises:
        DataError: the file cannot be read.
    """

    def __init__(self, file: Path, wanted: Iterable[str]) -> None:
        self.file = file
        try:
            opened = pq.ParquetFile(file)
            found: list[str] = opened.schema_arrow.names
            self._names = tuple(found)
            columns = [name for name in wanted if name in found]
            self._table = opened.read(columns=columns)
            self._metadata: dict[bytes, bytes] = opened.schema_arrow.metadata or {}
        except FileNotFoundError as error:
            message = f"{file} does not exist"
            raise DataError(message, "give the file of the answers") from error
        except (OSError, pa.ArrowException) as error:
            message = f"{file} cannot be read as Parquet: {error}"
            raise DataError(message, "write it again, or give another file") from error

    def __len__(self) -> int:
        """Number of rows."""
        return self._table.num_rows

    def meta(self, key: bytes) -> dict[str, Any]:
        """What the writer of the file left under a key of its metadata, in JSON.

        Raises:
            DataError: it is no JSON object.
        """
        try:
            meta: dict[str, Any] = documents.parse_json(self._metadata.get(key, b"{}"))
            return dict(meta)
        except (ValueError, TypeError) as error:
            message = f"{self.file} has odd metadata: {error}"
            raise DataError(message, "write the file again") from error

    def has(self, name: str) -> bool:
        """True when the file has such a column."""
        return name in self._names

    def require(self, *names: str) -> None:
        """Demand columns.

        Raises:
            DataError: one is missing.
        """
        if missing := [name for name in names if not self.has(name)]:
            found = ", ".join(self._names)
            message = f"{self.file} has no column {', '.join(missing)}, only {found}"
            raise DataError(message, "rename its columns, or give another file")

    def keys(self) -> tuple[str, ...]:
        """The columns that tell items apart.

        Raises:
            DataError: there is none.
        """
        if self.has("row") and self.has("item"):
            return ("row", "item")
        if not self.has("item") and not self.has("image_id"):
            self.require("item")
        return ("item",) if self.has("item") else ("image_id",)

    def codes(self, *names: str) -> Codes:
        """A column of texts or whole numbers; of several, their texts with ``:``."""
        self.require(*names)
        columns = [self._texts(name) for name in names]
        joined = columns[0]
        if len(columns) > 1:
            joined = pc.binary_join_element_wise(*columns, ":")
        encoded = joined.dictionary_encode()
        filled = pc.fill_null(encoded.indices, -1)
        codes = filled.to_numpy(zero_copy_only=False).astype(np.int64)
        return Codes(codes=codes, texts=tuple(encoded.dictionary.to_pylist()))

    def numbers(self, name: str) -> Float64[np.ndarray, " m"]:
        """A column of numbers; NaN for null.

        Raises:
            DataError: it is missing, or holds something else.
        """
        self.require(name)
        column = self._table.column(name)
        try:
            return pc.cast(column, pa.float64()).to_numpy().astype(np.float64)
        except (pa.ArrowException, TypeError) as error:
            message = f"{self.file}: {name} must hold numbers, found {column.type}"
            raise DataError(message, "write the column as numbers") from error

    def flags(self, name: str) -> np.ndarray:
        """A column of truth values or of 0 and 1; false for null, or without it."""
        if not self.has(name):
            return np.zeros(len(self), bool)
        return np.nan_to_num(self.numbers(name)) > 0

    def _texts(self, name: str) -> Any:
        column = self._table.column(name).combine_chunks()
        kind = column.type
        if pa.types.is_dictionary(kind):
            column, kind = pc.cast(column, kind.value_type), kind.value_type
        if pa.types.is_floating(kind):
            message = (
                f"{self.file}: {name} must hold texts or whole numbers, not {kind}"
            )
            raise DataError(message, "write the column as text")
        try:
            return pc.cast(column, pa.string())
        except pa.ArrowException as error:
            message = f"{self.file}: {name} must hold texts, found {kind}"
            raise DataError(message, "write the column as text") from error
