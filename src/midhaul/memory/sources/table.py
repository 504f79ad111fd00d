"""Samples out of tables: any Parquet or CSV with named columns, and their own files.

*Sample files* are Parquet with a column for each input and each bin, and a version in
the metadata; there are no pickles in them.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from midhaul import documents
from midhaul.errors import ConfigError, DataError
from midhaul.memory.samples import Bins, Samples
from midhaul.memory.sources.streams import StreamSet
from midhaul.model import Tally

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from jaxtyping import Bool, Float64, Int64

_MAX_LEFT_OUT = 0.01
_N_BINS = 21
_VERSION = 1
_KEY = b"midhaul.samples"
_SINGLE = ("y", "weight", "time_s", "group", "cluster", "model_version")
_WHOLE = ("group", "cluster", "model_version")
_WIDE = {"x": "x", "prediction": "p"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleColumns:
    """Which columns of a table are what of a sample.

    Attributes:
        x: the inputs.
        y: the output; an empty cell is one that is not known yet.
        group: what is never cut, such as a session; each row is one where empty.
        cluster: what groups share; each group is one where empty.
        time_s: when it was; rows came one a second where empty.
        period: the period of each row, whose values are sorted; where empty, groups are
            cut into equal parts in the order in which they come.
    """

    x: tuple[str, ...]
    y: str
    group: str = ""
    cluster: str = ""
    time_s: str = ""
    period: str = ""


def table_stream(
    file: Path,
    columns: SampleColumns,
    *,
    n_periods: int = 1,
    bins: Bins | None = None,
) -> StreamSet:
    """A stream of samples out of a table.

    Args:
        file: Parquet where it ends so, CSV with a header else.
        columns: what is what.
        n_periods: into which groups are cut where no column says it.
        bins: of the output; 21 that are equally full in the first period if None.

    Returns:
        The periods. Rows that lack an input or a time are left out and counted; those
        that are not in the order of time are put so.

    Raises:
        DataError: the file cannot be read, lacks a column, has no row that is whole, or
            a group is in two periods.
        ConfigError: no input is named, or there are more periods than groups.
    """
    if not columns.x or not columns.y or n_periods < 1:
        message = f"expected inputs, an output and periods, found {columns}"
        raise ConfigError(message, 'SampleColumns(x=("a", "b"), y="c")')
    table = _table(file)
    x = np.stack([_numbers(file, table, name) for name in columns.x], axis=1)
    y = _numbers(file, table, columns.y)
    is_good = np.isfinite(x).all(axis=1) & ~np.isinf(y)
    is_good &= np.abs(x).max(axis=1, initial=0) < np.finfo(np.float32).max
    time_s = np.arange(len(y), dtype=np.float64)
    if columns.time_s:
        time_s = _numbers(file, table, columns.time_s)
        is_good &= np.isfinite(time_s)
    if not is_good.any():
        message = f"{file}: expected rows with all inputs, found none"
        raise DataError(message, "each input is a number, and so is the time")
    group = _coded(table, columns.group, lambda: np.arange(len(y)), file)
    cluster = _coded(table, columns.cluster, group.copy, file)
    rows = np.flatnonzero(is_good)
    order = rows[np.argsort(time_s[rows], kind="stable")]
    whole = Samples.of(
        x[order], y[order], time_s=time_s[order], group=group[order],
        cluster=cluster[order],
    )  # fmt: skip
    period = _coded(table, columns.period, lambda: np.full(len(y), -1), file)[order]
    if not columns.period:
        period = _equal_parts(file, whole.group, n_periods)
    periods = _periods(file, whole, period)
    n_late = int((np.diff(time_s[rows]) < 0).sum())
    n_unknown = int(np.isnan(whole.y).sum())
    return StreamSet(
        name=file.stem,
        periods=periods,
        bins=bins or equal_bins(periods[0].y, file),
        inputs=columns.x,
        tallies=(
            _tally(f"rows of {file.name} lack a number, and were left out", ~is_good),
            Tally(
                what=f"rows of {file.name} were earlier than the one before",
                n=n_late,
                of=len(rows),
                max_share=1.0,
                advice="Nothing: they were put into the order of time.",
            ),
            Tally(
                what=f"samples of {file.name} have no output yet",
                n=n_unknown,
                of=len(whole),
                max_share=1.0,
                advice="Give the outputs when they are known.",
            ),
        ),
    )


def equal_bins(y: Float64[np.ndarray, " n"], where: object, n: int = _N_BINS) -> Bins:
    """Bins that are equally full, as far as outputs differ.

    DataError if no output is known.
    """
    known = y[np.isfinite(y)]
    if not len(known):
        message = f"{where}: expected outputs in the first period, found none"
        raise DataError(message, "name the bins, or give outputs")
    edges = np.unique(np.quantile(known, np.linspace(0, 1, n + 1)[1:-1]))
    return Bins(edges=np.array([-np.inf, *edges, np.inf]))


def write_samples(file: Path, samples: Samples) -> None:
    """Write samples into a file of their own, whole or not at all.

    Args:
        file: where; its folder exists.
        samples: any.

    Raises:
        DataError: it cannot be written.
    """
    columns: dict[str, Any] = {name: getattr(samples, name) for name in _SINGLE}
    for name, short in _WIDE.items():
        rows = getattr(samples, name)
        columns |= {f"{short}{i}": rows[:, i] for i in range(rows.shape[1])}
    widths = (samples.x.shape[1], samples.prediction.shape[1])
    said = f"{_VERSION} {len(samples)} {widths[0]} {widths[1]}".encode()
    table = pa.table(columns).replace_schema_metadata({_KEY: said})
    part = file.with_name(f"{file.name}.part")
    with documents.expected(f"{file} cannot be written:", also=(pa.ArrowException,)):
        pq.write_table(table, part, compression="zstd")
        part.replace(file)


def read_samples(file: Path) -> Samples:
    """Read samples that :func:`write_samples` wrote.

    Args:
        file: of them.

    Returns:
        The same samples, bit by bit.

    Raises:
        DataError: it cannot be read, was cut short, is no such file or of another
            version, or holds what no sample can.
    """
    with documents.expected(
        f"{file}: expected samples,",
        "write them with write_samples",
        also=(pa.ArrowException, KeyError, OverflowError, MemoryError),
    ):
        table = documents.read_parquet(file)
        said = (table.schema.metadata or {}).get(_KEY, b"").split()
        if not said or int(said[0]) != _VERSION:
            found = said[0].decode(errors="replace")[:20] if said else "none"
            message = f"of version {_VERSION}, found {found}"
            raise ValueError(message)
        n, *widths = (int(word) for word in said[1:4])
        names = [*_SINGLE]
        for short, width in zip(_WIDE.values(), widths, strict=True):
            names += [f"{short}{i}" for i in range(min(width, len(table.column_names)))]
        if len(table) != n or sorted(names) != sorted(table.column_names):
            message = f"{n} rows of {len(names)} columns, found {table.shape}"
            raise ValueError(message)
        columns = {
            name: _strictly(table.column(name), np.int64 if name in _WHOLE else float)
            for name in _SINGLE
        }
        for (name, short), width in zip(_WIDE.items(), widths, strict=True):
            wide = [_strictly(table.column(f"{short}{i}"), float) for i in range(width)]
            columns[name] = (
                np.stack(wide, axis=1) if wide else np.zeros((n, 0))
            ).astype(np.float32)
    found = Samples(**columns)
    found.check()
    return found


def _strictly(column: Any, kind: type) -> np.ndarray:
    if column.null_count or not (
        pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    ):
        message = f"a column of type {column.type} or with nulls"
        raise ValueError(message)
    return np.asarray(column.to_numpy()).astype(kind)


def _table(file: Path) -> pa.Table:
    with documents.expected(
        f"{file}: expected a table of samples,", also=(pa.ArrowException,)
    ):
        if file.suffix.lower() == ".parquet":
            table = documents.read_parquet(file)
        else:
            table = pa_csv.read_csv(io.BytesIO(documents.read_bytes(file)))
        _ = table.column_names  # decoded now, while it can be said
        return table


def _column(file: Path, table: pa.Table, name: str) -> Any:
    if name not in table.column_names:
        found = ", ".join(table.column_names)[:200] or "none"
        message = f"{file}: expected the column {name!r}, found {found}"
        raise DataError(message, "columns are named in SampleColumns")
    return table.column(name)


def _numbers(file: Path, table: pa.Table, name: str) -> Float64[np.ndarray, " n"]:
    column = _column(file, table, name)
    with documents.expected(
        f"{file}, column {name}: expected numbers,", also=(pa.ArrowException,)
    ):
        values = pc.cast(column, pa.float64(), safe=False)
    return np.asarray(values.to_numpy(), np.float64)


def _coded(
    table: pa.Table, name: str, default: Callable[[], np.ndarray], file: Path
) -> Int64[np.ndarray, " n"]:
    """Numbers of the different values of a column, in their order."""
    if not name:
        return default()
    column = _column(file, table, name)
    with documents.expected(
        f"{file}, column {name}: expected names or numbers,", also=(pa.ArrowException,)
    ):
        ranks = pc.rank(column.combine_chunks(), tiebreaker="dense")
    return np.asarray(ranks.to_numpy(), np.int64) - 1


def _equal_parts(
    file: Path, group: Int64[np.ndarray, " n"], n: int
) -> Int64[np.ndarray, " n"]:
    """Groups in equal parts, in the order of their first rows."""
    firsts = np.unique(group, return_index=True)[1]
    if len(firsts) < n:
        message = f"{file}: expected a group for each of {n} periods, found "
        message += f"{len(firsts)}"
        raise ConfigError(message, "ask for fewer periods")
    rank = np.argsort(np.argsort(firsts))
    return (rank * n // len(firsts))[np.unique(group, return_inverse=True)[1]]


def _periods(
    file: Path, whole: Samples, period: Int64[np.ndarray, " n"]
) -> tuple[Samples, ...]:
    pairs = np.unique(np.stack([whole.group, period]), axis=1)
    groups, counts = np.unique(pairs[0], return_counts=True)
    if (counts > 1).any():
        message = f"{file}: {int((counts > 1).sum())} of {len(groups)} groups are in "
        message += "more than one period"
        raise DataError(message, "a group is never cut between training and test")
    return tuple(whole.take(period == one) for one in np.unique(period))


def _tally(what: str, is_it: Bool[np.ndarray, " n"]) -> Tally:
    return Tally(
        what=what,
        n=int(is_it.sum()),
        of=len(is_it),
        max_share=_MAX_LEFT_OUT,
        advice="Look for what wrote these rows.",
    )
