"""A recording as Parquet, with everything that its reader gives back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from midhaul.federation.recordings.parquet import (
    ANSWERS_FILE,
    CORNERS,
    META,
    TRUTH_FILE,
)

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Int64

    from midhaul.federation.recordings.problem import Answers, Recording


def write_parquet(recording: Recording, folder: Path) -> None:
    """Write ``answers.parquet``, and ``truth.parquet`` with the items' truth and sizes.

    An empty answer is a row without a label, a missing one says so, and so does an item
    that nobody judged: what is read again equals what was written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    meta: dict[str, object] = {
        "names": recording.names,
        "providers": recording.providers,
    }
    parts = [_answer_rows(recording, p) for p in range(recording.n_providers)]
    _write(pa.concat_tables(parts), meta, folder / ANSWERS_FILE)
    has_truth = recording.truth is not None
    _write(_truth_rows(recording), {"has_truth": has_truth}, folder / TRUTH_FILE)


def _answer_rows(recording: Recording, p: int) -> pa.Table:
    answers = recording.answers[p]
    rows, columns = _rows(recording, answers)
    columns["score"] = _padded(answers.scores, len(rows))
    columns["provider"] = pa.array([recording.providers[p]] * len(rows))
    columns["price_usd"] = pa.array(np.full(len(rows), recording.prices_usd[p]))
    if recording.latencies_s is not None:
        columns["latency_s"] = pa.array(recording.latencies_s[p][rows])
    return pa.table(columns)


def _truth_rows(recording: Recording) -> pa.Table:
    truth = recording.truth
    if truth is None:
        columns: dict[str, Any] = {"item": pa.array(recording.items)}
        columns["label"] = pa.nulls(len(recording), pa.string())
        rows = np.arange(len(recording))
    else:
        rows, columns = _rows(recording, truth)
        columns["is_ignored"] = _padded(truth.is_ignored, len(rows))
        rows_in_order = np.argsort(rows, kind="stable")
        columns = {n: column.take(rows_in_order) for n, column in columns.items()}
        rows = rows[rows_in_order]
    if recording.sizes_px is not None:
        columns["width"] = pa.array(recording.sizes_px[rows, 0])
        columns["height"] = pa.array(recording.sizes_px[rows, 1])
    return pa.table(columns)


def _rows(
    recording: Recording, answers: Answers
) -> tuple[Int64[np.ndarray, " r"], dict[str, Any]]:
    """The item of each row, entries first, and the columns that all files have."""
    silent = np.flatnonzero(answers.counts == 0)
    rows = np.concatenate([answers.items, silent])
    n_silent = len(silent)
    is_missing = np.zeros(len(rows), bool)
    is_missing[len(answers.labels) :] = answers.is_missing[silent]
    labels: Any = pa.array(
        np.append(answers.labels, np.zeros(n_silent, np.int32)),
        mask=np.arange(len(rows)) >= len(answers.labels),
    )
    columns: dict[str, Any] = {
        "item": pa.array(recording.items, pa.string()).take(rows),
        "label": pa.array(recording.names, pa.string()).take(labels),
        "is_missing": pa.array(is_missing),
    }
    if recording.task == "boxes":
        for i, name in enumerate(CORNERS):
            columns[name] = _padded(answers.boxes[:, i], len(rows))
    return rows, columns


def _padded(values: np.ndarray, n_rows: int) -> Any:
    """A column with nulls behind the values of the entries."""
    whole = np.append(values, np.zeros(n_rows - len(values), values.dtype))
    return pa.array(whole, mask=np.arange(n_rows) >= len(values))


def _write(table: pa.Table, meta: dict[str, object], file: Path) -> None:
    table = table.replace_schema_metadata({META: json.dumps(meta).encode()})
    partial = file.with_name(f".{file.name}.partial")
    pq.write_table(table, partial, compression="zstd")
    partial.replace(file)
