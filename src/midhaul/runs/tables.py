"""Tables: columns, types and meaning, and Parquet parts that are whole or not there.

The tables of a kind are declared once, as values; writing checks rows against them and
the reference page of the documentation is made from them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from midhaul import documents
from midhaul.errors import StoreError
from midhaul.runs import store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


BOOL, FLOAT, STRING = pa.bool_(), pa.float64(), pa.string()
INT, INT32 = pa.int64(), pa.int32()


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        name: its name; a quantity ends in its unit (``_ns``, ``_bytes``, ``_usd``).
        type: its Arrow type.
        doc: what it means, in a sentence.
        is_newer: true where parts that were written before it was thought of lack it;
            there it reads as null.
    """

    name: str
    type: pa.DataType
    doc: str
    is_newer: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A named set of columns.

    Attributes:
        name: folder name below ``tables/`` of a run.
        doc: what one row is, in a sentence.
        columns: in the order in which they are written.
    """

    name: str
    doc: str
    columns: tuple[Column, ...]

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema, with each column's meaning in its metadata."""
        return pa.schema(
            [pa.field(c.name, c.type, metadata={"doc": c.doc}) for c in self.columns]
        )

    def from_rows(self, rows: Sequence[Mapping[str, object]]) -> pa.Table:
        """Rows as an Arrow table; a missing value is null.

        Args:
            rows: one mapping per row, keyed by column name.

        Raises:
            ValueError: a row has a key that is no column of this table.
        """
        known = {c.name for c in self.columns}
        for row in rows:
            if unknown := set(row) - known:
                message = f"table {self.name} has no column {sorted(unknown)}"
                raise ValueError(message)
        return pa.Table.from_pylist([dict(row) for row in rows], schema=self.schema)


_PART = re.compile(r"part-(\d{4,})\.parquet")


def file_of(folder: Path, part: int) -> Path:
    """The file of a part of the table in ``folder``."""
    return folder / f"part-{part:04d}.parquet"


def numbers(folder: Path) -> list[int]:
    """Numbers of the parts in ``folder``, ascending; temporary files are none."""
    if not folder.is_dir():
        return []
    found = (_PART.fullmatch(file.name) for file in folder.iterdir())
    return sorted(int(match[1]) for match in found if match)


def write(
    file: Path, table: Table, rows: Sequence[Mapping[str, object]] | pa.Table
) -> None:
    """Write one part, in the columns and types of its table.

    Raises:
        StoreError: it cannot be written.
        ValueError: the rows do not fit the table.
    """
    data = rows if isinstance(rows, pa.Table) else table.from_rows(rows)
    if not data.schema.equals(table.schema):
        data = data.select([c.name for c in table.columns]).cast(table.schema)
    store.write_whole(file, lambda path: pq.write_table(data, path, compression="zstd"))


def read(file: Path, table: Table) -> pa.Table:
    """The rows of one part; StoreError if it is damaged, or of another table."""
    try:
        data = documents.read_parquet(file)
        for column in table.columns:
            if column.is_newer and column.name not in data.column_names:
                nothing = pa.array([None] * len(data), column.type)
                data = data.append_column(column.name, nothing)
        return data.select([c.name for c in table.columns]).cast(table.schema)
    except (OSError, ValueError, pa.ArrowException, KeyError) as error:
        message = f"{file} cannot be read as table {table.name}: {error}"
        raise StoreError(message, "delete that file to read the others") from error


def read_undeclared(files: Sequence[Path]) -> pa.Table:
    """The rows of all parts of a table whose columns nobody declares.

    StoreError if a part is damaged.
    """
    with documents.expected(
        f"{files[0].parent} cannot be read:",
        raises=StoreError,
        also=(pa.ArrowException,),
    ):
        found = [documents.read_parquet(file) for file in files]
        return pa.concat_tables(found, promote_options="default")


def count(file: Path) -> int:
    """The number of rows of one part, from the file's end.

    StoreError if it is damaged.
    """
    try:
        return pq.read_metadata(file).num_rows
    except (OSError, pa.ArrowException) as error:
        message = f"{file} cannot be read: {error}"
        raise StoreError(message, "delete that file to read the others") from error


def query(text: str, files: Mapping[str, Sequence[Path]]) -> pa.Table:
    """The answer of DuckDB to a query.

    A column that a query names again gets a number behind its name, ``gateway_1``, as
    DuckDB does in a subquery: names of columns are the keys of rows. ``files`` are the
    parts of each table, by the name that the query knows it by. SyntaxError if the
    query is wrong or gives no rows; ValueError if a part is damaged.
    """
    try:
        with duckdb.connect() as database:
            for name, parts in files.items():
                relation = database.read_parquet([str(file) for file in parts])
                relation.create_view(name)
            answer = database.sql(text)
            if answer is None:  # pyright: ignore[reportUnnecessaryComparison]
                message = "it gives no rows"
                raise SyntaxError(message)
            found = answer.to_arrow_table()
            return found.rename_columns(_different(found.column_names))
    except (
        duckdb.BinderException,
        duckdb.CatalogException,
        duckdb.ParserException,
    ) as error:
        raise SyntaxError(str(error)) from error
    except duckdb.Error as error:
        raise ValueError(str(error)) from error


def _different(names: Sequence[str]) -> list[str]:
    """The names in their order; those that were there before get a number."""
    taken, found = set(names), dict[str, None]()
    for name in names:
        new, number = name, 0
        while new in found or (number and new in taken):
            number += 1
            new = f"{name}_{number}"
        found[new] = None
    return list(found)
