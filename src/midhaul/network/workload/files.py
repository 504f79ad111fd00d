"""Flows from Parquet or CSV, CDFs of sizes from text, and matrices from JSON."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from midhaul import documents
from midhaul.errors import ConfigError, DataError
from midhaul.model import Flows, Tally
from midhaul.network.workload.arrivals import TraceArrivals
from midhaul.network.workload.sizes import EmpiricalSize

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from jaxtyping import Bool, Float64, Int32

    from midhaul.model import Topology

_HINT = (
    "columns: source and target (names or numbers of nodes), size_bytes, and start_ns "
    "or start_s; label where flows have classes"
)
_STARTS = {"start_ns": 1.0, "start_s": 1e9, "time_s": 1e9}
_MOST_NS = float(1 << 61)
_MOST_BYTES = float(1 << 53)
_MAX_LEFT_OUT = 0.01
_SHOWN = 3
_NO_NODE = -1
_CDF_HINT = "a CDF has a size in bytes and a cumulative share, in %, on each line"
_MATRIX_HINT = (
    "a matrix is a list of rows, which may stand as 'matrix', or as 'inner' within it"
)
_MOST_ROWS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FoundFlows:
    """Flows that were read or drawn.

    Attributes:
        flows: those that can be sent, in the order of the file.
        tallies: what was left out.
    """

    flows: Flows
    tallies: tuple[Tally, ...] = ()


def read_flows(file: Path, topology: Topology) -> FoundFlows:
    """Flows between nodes of a topology, from ``.parquet``, else CSV with a header.

    Rows that no flow can be made of are left out and counted: those without a size of
    at least 1 byte, without a start of at least 0, that end where they begin, or whose
    ends are no hosts of the topology.

    Args:
        file: with the columns ``source``, ``target`` (names of nodes, or their numbers
            where they are all whole numbers), ``size_bytes`` and ``start_ns`` (or
            ``start_s``), and perhaps ``label``.
        topology: whose nodes they name.

    Returns:
        The flows, and what was left out.

    Raises:
        DataError: the file cannot be read, lacks a column, has one of something else,
            or no row is left; the file is named, and a row where there is one.
    """
    table = _table(file)
    _check_columns(file, table, ("source", "target", "size_bytes"))
    start_ns = _starts(file, table)
    size = _numbers(file, table, "size_bytes")
    source = _ends(file, table, "source", topology)
    target = _ends(file, table, "target", topology)
    is_kept = np.ones(table.num_rows, np.bool_)
    tallies: list[Tally] = []
    wrong = {
        "have no size of 1 byte to 9 PB": ~(
            (size >= 1) & (size <= _MOST_BYTES) & (size == np.floor(size))
        ),
        "have no start of 0 to 73 years": ~((start_ns >= 0) & (start_ns <= _MOST_NS)),
        "do not begin and end at hosts of the topology": (source == _NO_NODE)
        | (target == _NO_NODE),
        "end where they begin": (source == target) & (source != _NO_NODE),
    }
    for what, is_wrong in wrong.items():
        tallies += _left_out(file, what, is_wrong)
        is_kept &= ~is_wrong
    if not is_kept.any():
        found = tallies[0].sentence if tallies else "found no row"
        message = f"{file}: expected at least one flow: {found}"
        raise DataError(message, _HINT)
    labels, label = _labels(file, table, is_kept)
    return FoundFlows(
        flows=Flows(
            source=source[is_kept],
            target=target[is_kept],
            size_bytes=size[is_kept].astype(np.int64),
            start_ns=np.rint(start_ns[is_kept]).astype(np.int64),
            label=label,
            labels=labels,
        ),
        tallies=tuple(tallies),
    )


def read_starts(file: Path, *, is_scaled: bool = True) -> TraceArrivals:
    """Starts of flows from a Parquet or CSV file, for flows that are drawn.

    Args:
        file: with the column ``start_ns``, ``start_s`` or ``time_s``, in any order.
        is_scaled: whether they are stretched to a load, see
            :class:`~midhaul.network.workload.arrivals.TraceArrivals`.

    Returns:
        The starts, sorted; a DataError names the file when more are wanted than it has.

    Raises:
        DataError: the file cannot be read, lacks the column, is empty, or a start is
            before 0 or no number; file and row are named.
    """
    table = _table(file)
    starts = _starts(file, table)
    is_good = (starts >= 0) & (starts <= _MOST_NS)
    if not is_good.all() or not len(starts):
        at = int(np.argmin(is_good)) + 1 if len(starts) else 0
        found = f"row {at} has {starts[at - 1]:g} ns" if at else "found no row"
        message = f"{file}: expected starts of at least 0, {found}"
        raise DataError(message)
    return TraceArrivals(
        start_ns=np.sort(np.rint(starts).astype(np.int64)),
        name=str(file),
        is_scaled=is_scaled,
    )


def _table(file: Path) -> pa.Table:
    with documents.expected(
        f"{file}: expected flows,", _HINT, also=(pa.ArrowException,)
    ):
        if file.suffix.lower() == ".parquet":
            table = documents.read_parquet(file)
        else:
            table = pa_csv.read_csv(io.BytesIO(documents.read_bytes(file)))
        _ = table.column_names  # decoded now, while it can be said
        return table


def _check_columns(file: Path, table: pa.Table, wanted: Sequence[str]) -> None:
    missing = [name for name in wanted if name not in table.column_names]
    if missing:
        message = (
            f"{file}: expected the column {missing[0]}, found "
            f"{', '.join(table.column_names)[:200] or 'none'}"
        )
        raise DataError(message, _HINT)


def _numbers(file: Path, table: pa.Table, name: str) -> Float64[np.ndarray, " n"]:
    """A column as numbers; NaN where it says nothing."""
    try:
        values = pc.cast(table.column(name), pa.float64(), safe=False)
    except (ValueError, KeyError, pa.ArrowException) as error:
        message = f"{file}, column {name}: expected numbers, {error}"
        raise DataError(message, _HINT) from error
    return np.asarray(values.to_numpy(zero_copy_only=False), np.float64)


def _starts(file: Path, table: pa.Table) -> Float64[np.ndarray, " n"]:
    """Starts in nanoseconds, of the column that has them."""
    name = next((name for name in _STARTS if name in table.column_names), "start_ns")
    _check_columns(file, table, (name,))
    with np.errstate(over="ignore"):
        return _numbers(file, table, name) * _STARTS[name]


def _ends(
    file: Path, table: pa.Table, name: str, topology: Topology
) -> Int32[np.ndarray, " n"]:
    """Indices of nodes in a column of names or numbers; -1 where it is no host."""
    column = table.column(name)
    n_nodes = len(topology.nodes)
    hosts = set(topology.hosts or topology.nodes)
    if pa.types.is_integer(column.type):
        values = _numbers(file, table, name)
        is_host = np.array([node in hosts for node in topology.nodes], np.bool_)
        is_known = (values >= 0) & (values < n_nodes)
        found = np.where(is_known, values, 0).astype(np.int32)
        return np.where(is_known & is_host[found], found, _NO_NODE).astype(np.int32)
    try:
        words = pc.cast(column, pa.string()).combine_chunks().dictionary_encode()
        which = words.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        names = words.dictionary.to_pylist()
    except (ValueError, AttributeError, pa.ArrowException) as error:
        message = f"{file}, column {name}: expected names of nodes, {error}"
        raise DataError(message, _HINT) from error
    index: dict[Any, int] = {
        node: i for i, node in enumerate(topology.nodes) if node in hosts
    }
    known = [index.get(word, _NO_NODE) for word in names]
    return np.array([*known, _NO_NODE], np.int32)[which]


def _labels(
    file: Path, table: pa.Table, is_kept: Bool[np.ndarray, " n"]
) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of classes, and the class of each row that is kept."""
    if "label" not in table.column_names:
        return ("flows",), np.zeros(0, np.int64)
    try:
        words = pc.cast(table.column("label"), pa.string()).combine_chunks()
        words = words.fill_null("").dictionary_encode()
        which = words.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        names = tuple(word or "flows" for word in words.dictionary.to_pylist())
    except (ValueError, AttributeError, pa.ArrowException) as error:
        message = f"{file}, column label: expected words, {error}"
        raise DataError(message, _HINT) from error
    return names, which[is_kept]


def _left_out(file: Path, what: str, is_wrong: Bool[np.ndarray, " n"]) -> list[Tally]:
    rows = np.flatnonzero(is_wrong)
    if not len(rows):
        return []
    return [
        Tally(
            what=f"flows {what} and were left out",
            n=len(rows),
            of=len(is_wrong),
            max_share=_MAX_LEFT_OUT,
            advice="Correct the rows, or leave them out of the file.",
            places=tuple(f"{file}, row {i + 1}" for i in rows[:_SHOWN].tolist()),
        )
    ]


def read_sizes(file: Path) -> EmpiricalSize:
    """Sizes of flows from a text with two columns: bytes and cumulative share.

    Columns are separated by blanks, tabs or commas; empty lines and those that begin
    with ``#`` are passed over. Shares are per cent where they end at 100, else parts of
    one.

    Args:
        file: the file.

    Returns:
        The sizes.

    Raises:
        DataError: the file cannot be read, a line has something else, numbers do not
            rise, or shares do not end at 100 % as those of a file that was cut short;
            file and line are named.
    """
    with documents.expected(f"{file}: expected a CDF,", _CDF_HINT):
        text = documents.read_text(file)
    points: list[tuple[float, float]] = []
    for i, line in enumerate(text.splitlines(), 1):
        words = line.replace(",", " ").split()
        if not words or words[0].startswith("#"):
            continue
        points.append(_point(words, f"{file}, line {i}", points))
    if not points:
        message = f"{file}: expected a CDF, found no line of it"
        raise DataError(message, _CDF_HINT)
    sizes, shares = np.array(points).T
    top = float(shares[-1])
    whole = 100.0 if top > 1.5 else 1.0  # noqa: PLR2004  per cent, or parts of one
    if not math.isclose(top, whole, rel_tol=1e-6):
        message = f"{file}: expected shares that end at 100 %, found {top / whole:.4%}"
        raise DataError(message, "is the file whole?")
    try:
        return EmpiricalSize(
            size_bytes=sizes.copy(), share=np.minimum(shares / top, 1.0)
        )
    except ConfigError as error:
        message = f"{file}: {error.message}"
        raise DataError(message, _CDF_HINT) from error


def read_matrix(file: Path) -> Float64[np.ndarray, "g g"]:
    """Weights between groups, such as racks, from JSON.

    Args:
        file: with a list of rows; or a table that has it as ``matrix``, or as ``inner``
            of its ``matrix``, as published rack matrices do.

    Returns:
        ``(g, g)`` weights from a group (row) to a group (column), for
        :func:`~midhaul.network.workload.matrices.by_groups`.

    Raises:
        DataError: the file cannot be read, is no square matrix, or has an entry that is
            no number of at least 0; file, row and column are named.
    """
    with documents.expected(
        f"{file}: expected a traffic matrix as JSON,", "is the file whole?"
    ):
        text = documents.read_text(file, max_bytes=documents.MAX_TEXT_BYTES)
        found = documents.parse_json(text)
    for key in ("matrix", "inner"):
        if isinstance(found, dict):
            found = cast("dict[str, Any]", found).get(key, found)
    if not isinstance(found, list) or not found:
        message = f"{file}: expected a traffic matrix, found {type(found).__name__}"
        raise DataError(message, _MATRIX_HINT)
    rows = cast("list[Any]", found)
    n = len(rows)
    if n > _MOST_ROWS:
        message = f"{file}: a matrix has {_MOST_ROWS:,} rows at most, found {n:,}"
        raise DataError(message)
    weights = np.zeros((n, n))
    for i, row in enumerate(rows):
        if not isinstance(row, list) or len(cast("list[Any]", row)) != n:
            width = len(cast("list[Any]", row)) if isinstance(row, list) else "none"
            message = f"{file}, row {i + 1}: expected {n} entries, found {width}"
            raise DataError(message, _MATRIX_HINT)
        weights[i] = [
            _weight(entry, f"{file}, row {i + 1}, column {j + 1}")
            for j, entry in enumerate(cast("list[Any]", row))
        ]
    if not weights.any():
        message = f"{file}: expected an entry above 0, found none"
        raise DataError(message)
    return weights


def _point(
    words: list[str], place: str, before: list[tuple[float, float]]
) -> tuple[float, float]:
    try:
        size, share = (float(word) for word in words)
    except ValueError:
        size = share = math.nan
    if not (0 <= size < math.inf and 0 <= share < math.inf):
        message = (
            f"{place}: expected a size and a share, found {' '.join(words)[:40]!r}"
        )
        raise DataError(message, _CDF_HINT)
    if before and (size < before[-1][0] or share < before[-1][1]):
        message = f"{place}: expected numbers that rise, found {size:g} {share:g}"
        raise DataError(message, _CDF_HINT)
    return size, share


def _weight(found: object, place: str) -> float:
    is_number = isinstance(found, int | float) and not isinstance(found, bool)
    try:
        value = float(cast("float", found)) if is_number else math.nan
    except OverflowError:
        value = math.inf
    if not 0 <= value < math.inf:
        message = f"{place}: expected a number of at least 0, found {str(found)[:40]}"
        raise DataError(message)
    return value
