"""Tables that an experiment writes and works with: kept as they are written.

What a run that is resumed has already is read once, at the start. From then on a part
is in memory and on the disk, so that nothing is read back, and what a block of an
experiment costs does not grow with the files that the blocks before it have left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midhaul.runs.run import Run
    from midhaul.runs.tables import Table


class KeptTables:
    """Some tables of a run, in memory as well.

    Others than the ``kept`` cannot be written here. StoreError if a part that is there
    already is damaged.
    """

    def __init__(self, run: Run, *kept: Table) -> None:
        self._run = run
        self._parts: dict[str, dict[int, pa.Table]] = {
            table.name: {n: run.read(table, n) for n in run.parts(table.name)}
            for table in kept
        }

    def write(
        self, table: Table, rows: Sequence[Mapping[str, object]], part: int
    ) -> None:
        """Write one part and keep it; one of the same number is replaced.

        StoreError if it cannot be written; what was written before is kept; ValueError
        if the rows do not fit the table.
        """
        data = table.from_rows(rows)
        self._run.write(table, data, part=part)
        self._parts[table.name][part] = data

    def parts(self, table: Table) -> set[int]:
        """Numbers of the parts that are there."""
        return set(self._parts[table.name])

    def read(self, table: Table, parts: Sequence[int] | None = None) -> pa.Table:
        """All rows of a table, or those of some parts, in the order of the parts.

        Parts that are not there have no rows.
        """
        there = self._parts[table.name]
        chosen = sorted(there if parts is None else there.keys() & set(parts))
        return pa.concat_tables(
            [table.schema.empty_table(), *(there[part] for part in chosen)]
        )
