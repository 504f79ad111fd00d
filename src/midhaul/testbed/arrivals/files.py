"""Reading a recording of arrivals: text, CSV or Parquet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from midhaul import documents
from midhaul.errors import DataError
from midhaul.testbed.arrivals.recorded import Recorded

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Float64

_HINT = (
    "give a text file with one time in seconds per line, or a CSV or Parquet file "
    "whose column time_s (or only column) holds seconds"
)


def read_arrivals(file: Path, *, loops: bool = False, speed: float = 1.0) -> Recorded:
    """Read planned sends from a file.

    Args:
        file: ``.csv`` with a header, ``.parquet``, or text with a number per line
            (blank lines and lines that begin with ``#`` are skipped).
        loops: start again at its end.
        speed: how many times as fast as recorded.

    Raises:
        DataError: the file cannot be read or holds something else.
    """
    try:
        times = _READERS.get(file.suffix.lower(), _read_text)(file)
        return Recorded(times_s=times, loops=loops, speed=speed)
    except (OSError, ValueError, pa.ArrowException) as error:
        message = f"expected arrival times in {file}: {error}"
        raise DataError(message, _HINT) from error


def _read_text(file: Path) -> Float64[np.ndarray, " n"]:
    times: list[float] = []
    lines = documents.read_text(file, max_bytes=documents.MAX_TEXT_BYTES).splitlines()
    for number, line in enumerate(lines, start=1):
        word = line.strip()
        if not word or word.startswith("#"):
            continue
        try:
            times.append(float(word))
        except ValueError as error:
            message = f"line {number} is no number: {word[:40]!r}"
            raise ValueError(message) from error
    return np.array(times, np.float64)


def _read_csv(file: Path) -> Float64[np.ndarray, " n"]:
    return _column(pa_csv.read_csv(file))


def _read_parquet(file: Path) -> Float64[np.ndarray, " n"]:
    return _column(documents.read_parquet(file))


def _column(table: pa.Table) -> Float64[np.ndarray, " n"]:
    names = table.column_names
    name = names[0] if len(names) == 1 else "time_s"
    if name not in names:
        message = f"no column time_s among {', '.join(names)}"
        raise ValueError(message)
    values = pc.cast(table.column(name), pa.float64())
    return np.asarray(values.to_numpy(zero_copy_only=False), np.float64)


_READERS = {".csv": _read_csv, ".parquet": _read_parquet}
