"""What was recorded, as rows of tables and as a recording that can be learned from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from midhaul.federation.readers.parquet import ANSWERS_FILE, META, TRUTH_FILE
from midhaul.runs import store

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from midhaul.federation.record.journal import Call
    from midhaul.vision.data import Dataset

_CORNERS = ("x1", "y1", "x2", "y2")
_ANSWERS = pa.schema(
    [
        ("item", pa.string()),
        ("provider", pa.string()),
        ("label", pa.string()),
        ("score", pa.float32()),
        *((corner, pa.float32()) for corner in _CORNERS),
        ("price_usd", pa.float64()),
        ("latency_s", pa.float64()),
        ("is_missing", pa.bool_()),
    ]
)
_TRUTH = pa.schema(
    [
        ("item", pa.string()),
        ("label", pa.string()),
        *((corner, pa.float32()) for corner in _CORNERS),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("difficult", pa.bool_()),
    ]
)


def call_row(call: Call, configuration: int) -> dict[str, object]:
    """A call as a row of its table."""
    return {
        "configuration": configuration,
        "item": call.key.item,
        "pass": call.key.number,
        "slice": call.slice,
        "planned_s": call.planned_s,
        "sent_s": call.sent_s,
        "status": call.status,
        "message": call.message,
        "latency_s": call.latency_s,
        "price_usd": call.price_usd,
        "upload_bytes": call.upload_bytes,
        "n_answers": None if call.found is None else len(call.found),
        "n_asked": call.n_asked,
        "n_dropped": call.n_dropped,
    }


def prediction_rows(call: Call, configuration: int) -> list[dict[str, object]]:
    """The answer to a call as rows of their table."""
    return [
        {
            "configuration": configuration,
            "item": call.key.item,
            "pass": call.key.number,
            "provider": call.key.provider,
            **found._asdict(),
        }
        for found in call.found or ()
    ]


def write_recording(
    folder: Path,
    calls: Iterable[Call],
    dataset: Dataset,
    prices_usd: Mapping[str, float],
) -> None:
    """Write a recording that ``readers.parquet.read_parquet`` reads, with the truth.

    Of several passes the first answer of a provider to an image counts. Who did not
    answer is missing, which is not the same as an empty answer.

    Args:
        folder: where; it is there.
        calls: all calls.
        dataset: the images with what people marked on them.
        prices_usd: list price of a call by provider, in the order of the providers.
    """
    best: dict[tuple[str, str], Call] = {}
    for call in sorted(calls, key=lambda call: call.key.number):
        if call.status == "ok":
            best.setdefault((call.key.provider, call.key.item), call)
    rows: list[dict[str, object]] = []
    for provider, price_usd in prices_usd.items():
        for item in dataset.image_ids:
            rows += _answer_rows(best.get((provider, item)), provider, item, price_usd)
    meta = {META: json.dumps({"providers": list(prices_usd)}).encode()}
    answers = pa.Table.from_pylist(rows, schema=_ANSWERS.with_metadata(meta))
    truth = pa.Table.from_pylist(_truth_rows(dataset), schema=_TRUTH)
    for name, table in ((ANSWERS_FILE, answers), (TRUTH_FILE, truth)):

        def write(path: Path, table: pa.Table = table) -> None:
            pq.write_table(table, path, compression="zstd")

        store.write_whole(folder / name, write)


def _answer_rows(
    call: Call | None, provider: str, item: str, price_usd: float
) -> list[dict[str, object]]:
    common: dict[str, object] = {
        "item": item,
        "provider": provider,
        "price_usd": price_usd,
        "latency_s": None if call is None else call.latency_s,
        "is_missing": call is None,
    }
    found: Sequence[Mapping[str, object]] = [
        one._asdict() for one in (call.found if call is not None else None) or ()
    ]
    return [{**common, **row} for row in found] or [common]


def _truth_rows(dataset: Dataset) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for item in dataset.image_ids:
        width, height = dataset.size(item)
        truth = dataset.truth[item]
        size: dict[str, object] = {"item": item, "width": width, "height": height}
        boxes = np.asarray(truth.boxes, np.float64)
        marked: list[dict[str, object]] = [
            {
                **size,
                "label": truth.names[label],
                **dict(zip(_CORNERS, map(float, box), strict=True)),
                "difficult": bool(is_crowd),
            }
            for label, box, is_crowd in zip(
                truth.labels, boxes, truth.is_crowd, strict=True
            )
        ]
        rows += marked or [size]
    return rows
