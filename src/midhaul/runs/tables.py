"""What a table holds: its columns, their types and their meaning.

The tables of a kind are declared once, as values; writing checks rows against them and
the reference page of the documentation is made from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


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
