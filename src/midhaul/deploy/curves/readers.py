"""QoS curves from files: tables of anybody, AWStream's profiles, runs of the testbed.

Steps that are dominated are kept and counted (:attr:`QosCurve.n_dominated`). What
cannot be a measurement is refused, with its file and row.
"""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul import documents
from midhaul.deploy.curves.qos_curve import QosCurve
from midhaul.errors import DataError
from midhaul.runs.run import Run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_TABLE = ("knob", "rate_bps", "quality")
_AWSTREAM = ("bandwidth", "width", "skip", "quant", "accuracy")


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredCurve:
    """A curve whose knobs are indices of settings in words."""

    curve: QosCurve
    settings: tuple[str, ...]

    def setting(self, knob: float) -> str:
        """What a knob of the curve stands for."""
        return self.settings[int(knob)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """One row of a file, and where it is, for messages."""

    where: str
    values: Mapping[str, Any]

    def number(self, column: str, largest: float = math.inf) -> float:
        """A number of at least 0; a DataError where it is something else."""
        found = self.values[column]
        try:
            number = float(found)
        except (TypeError, ValueError):
            number = math.nan
        if not (math.isfinite(number) and 0 <= number <= largest):
            limits = "at least 0" if largest == math.inf else f"0 to {largest:g}"
            message = f"{self.where}: expected {column} of {limits}, found {found!r}"
            raise DataError(message)
        return number


def read_table(file: Path, curve: str = "", *, message_hz: float = 0.0) -> QosCurve:
    """A curve from a CSV or Parquet file.

    Args:
        file: with the columns ``knob``, ``rate_bps`` (payload, bit/s) and ``quality``
            (0 to 1); ``curve`` where it holds several, and ``message_hz``. CSV has a
            row of names first.
        curve: which one; the first by default.
        message_hz: messages per second; 0 for the file's.

    Raises:
        DataError: the file cannot be read, is empty, lacks a column or the curve, or
            holds a value that cannot be; file and row are named.
    """
    rows = list(_rows(file, _TABLE))
    names = list(dict.fromkeys(str(r.values.get("curve") or "") for r in rows))
    name = curve or names[0]
    if name not in names:
        message = f"{file}: expected a curve {name}, found: {', '.join(names)}"
        raise DataError(message, "its column curve names them")
    own = [row for row in rows if str(row.values.get("curve") or "") == name]
    if not message_hz and own[0].values.get("message_hz") is not None:
        message_hz = own[0].number("message_hz")
    return QosCurve.of(
        name or file.stem,
        np.array([row.number("knob") for row in own]),
        np.array([row.number("rate_bps") for row in own]),
        np.array([row.number("quality", 1.0) for row in own]),
        message_hz=message_hz,
    )


def read_awstream(file: Path, *, message_hz: float = 0.0) -> MeasuredCurve:
    """A profile of AWStream (Zhang et al., SIGCOMM 2018) as its authors publish them.

    Args:
        file: CSV with the columns ``bandwidth`` (Mbit/s), ``width`` (px), ``skip``
            (frames), ``quant`` (of the encoder) and ``accuracy``.
        message_hz: messages per second; the profile does not tell.

    Returns:
        A curve whose knob is the number of the row, from 0.

    Raises:
        DataError: as for :func:`read_table`.
    """
    rows = list(_rows(file, _AWSTREAM))
    settings = [
        ", ".join(f"{name} {row.number(name):g}" for name in _AWSTREAM[1:4])
        for row in rows
    ]
    curve = QosCurve.of(
        file.stem,
        np.arange(len(rows), dtype=np.float64),
        np.array([row.number("bandwidth") * 1e6 for row in rows]),
        np.array([row.number("accuracy", 1.0) for row in rows]),
        message_hz=message_hz,
    )
    return MeasuredCurve(curve=curve, settings=tuple(settings))


def read_run(
    folder: Path, *, message_hz: float, detector: str = "", metric: str = "f1"
) -> MeasuredCurve:
    """A curve from a run of ``testbed.accuracy`` or ``testbed.measure``.

    A step is a configuration: its rate is the mean size of a prepared image times the
    images per second, its quality a metric of the answers.

    Args:
        folder: of the run.
        message_hz: images per second that an analytic sends; above 0.
        detector: whose configurations; the first one's by default.
        metric: of the table ``summary``, 0 to 1.

    Returns:
        A curve whose knob numbers the configurations of the detector, from 0.

    Raises:
        DataError: there are no images per second, no such detector or metric, or a
            value cannot be; run and configuration are named.
        StoreError: there is no run in the folder, or it lacks the tables.
    """
    if not (math.isfinite(message_hz) and message_hz > 0):
        message = f"{folder}: expected images per second above 0, found {message_hz}"
        raise DataError(message, "a run tells bytes per image; give message_hz")
    run = Run.open(folder)
    found: list[dict[str, Any]] = run.sql(
        "SELECT configuration, name, detector, metric, value FROM configurations "
        "JOIN summary USING (configuration) ORDER BY configuration"
    ).to_pylist()
    detectors = list(dict.fromkeys(row["detector"] for row in found))
    chosen = detector or (detectors[0] if detectors else "")
    if chosen not in detectors:
        names = ", ".join(map(str, detectors)) or "none"
        message = f"run {run.id}: expected the detector {chosen!r}, found: {names}"
        raise DataError(message)
    rows = _configurations(
        [row for row in found if row["detector"] == chosen], run.id, metric
    )
    curve = QosCurve.of(
        f"{chosen} {metric}",
        np.arange(len(rows), dtype=np.float64),
        np.array([row.number("prepared_bytes") * 8 * message_hz for row in rows]),
        np.array([row.number(metric, 1.0) for row in rows]),
        message_hz=message_hz,
    )
    settings = tuple(str(row.values["name"]) for row in rows)
    return MeasuredCurve(curve=curve, settings=settings)


def _configurations(
    found: Sequence[Mapping[str, Any]], run: str, metric: str
) -> list[_Row]:
    """One row for each configuration, with its metrics as columns."""
    by_number: dict[int, dict[str, Any]] = {}
    for row in found:
        values = by_number.setdefault(row["configuration"], {"name": row["name"]})
        values[row["metric"]] = row["value"]
    for number, values in by_number.items():
        for name in ("prepared_bytes", metric):
            if name not in values:
                known = ", ".join(sorted(values.keys() - {"name"}))
                message = (
                    f"run {run}, configuration {number}: expected the metric {name}, "
                    f"found: {known}"
                )
                raise DataError(message)
    return [
        _Row(where=f"run {run}, configuration {number}", values=values)
        for number, values in by_number.items()
    ]


def _rows(file: Path, columns: Sequence[str]) -> Iterator[_Row]:
    """The rows of a CSV or Parquet file that has these columns, at least one."""
    names, rows = _parquet(file) if file.suffix == ".parquet" else _csv(file)
    missing = [column for column in columns if column not in names]
    if missing:
        message = (
            f"{file}: expected the columns {', '.join(columns)}, found "
            f"{', '.join(names) or 'none'}"
        )
        raise DataError(message, f"add {', '.join(missing)}")
    if not rows:
        message = f"{file}: expected at least one row below the names, found none"
        raise DataError(message)
    for number, values in enumerate(rows, 1):
        yield _Row(where=f"{file}, row {number}", values=values)


def _csv(file: Path) -> tuple[list[str], list[dict[str, Any]]]:
    with documents.expected(f"{file}: expected a CSV file,", also=(csv.Error,)):
        lines = io.StringIO(
            documents.read_text(file, max_bytes=documents.MAX_TEXT_BYTES), newline=""
        )
        reader = csv.DictReader(lines, skipinitialspace=True, strict=True)
        rows = [_stripped(row) for row in reader]
        names = [name.strip() for name in reader.fieldnames or ()]
    return names, rows


def _stripped(row: Mapping[str | Any, Any]) -> dict[str, Any]:
    """A row without blanks; what stands beyond the names is left out."""
    return {
        name.strip(): value.strip() if isinstance(value, str) else value
        for name, value in row.items()
        if isinstance(name, str)
    }


def _parquet(file: Path) -> tuple[list[str], list[dict[str, Any]]]:

    with documents.expected(f"{file}: expected a Parquet file,"):
        table = documents.read_parquet(file)
    return table.column_names, table.to_pylist()
