"""CDFs of sizes and traffic matrices from files."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from midhaul import documents
from midhaul.errors import ConfigError, DataError
from midhaul.network.workload.sizes import EmpiricalSize

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Float64

_CDF_HINT = "a CDF has a size in bytes and a cumulative share, in %, on each line"
_MATRIX_HINT = (
    "a matrix is a list of rows, which may stand as 'matrix', or as 'inner' within it"
)
_MOST_ROWS = 20_000


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
    try:
        text = documents.read_text(file)
    except (OSError, ValueError) as error:
        message = f"{file}: expected a CDF, {error}"
        raise DataError(message, _CDF_HINT) from error
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
    try:
        text = documents.read_text(file, max_bytes=documents.MAX_TEXT_BYTES)
        found = documents.parse_json(text)
    except (OSError, ValueError) as error:
        message = f"{file}: expected a traffic matrix as JSON, {error}"
        raise DataError(message, "is the file whole?") from error
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
