"""Tables of federation.record, and a recording that can be learned from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from midhaul.federation.recordings.parquet import ANSWERS_FILE, META, TRUTH_FILE
from midhaul.runs import store
from midhaul.runs.summary import CONFIGURATION, SUMMARY
from midhaul.runs.tables import BOOL, FLOAT, INT, INT32, STRING, Column, Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from midhaul.federation.record.caller import JournalCall
    from midhaul.vision.data.dataset import Dataset

_ITEM = Column("item", STRING, "Id of the image.")
_PASS = Column("pass", INT32, "Number of the pass over the image set, from 0.")

CONFIGURATIONS = Table(
    "configurations",
    "A provider.",
    (
        CONFIGURATION,
        Column("name", STRING, "Its name."),
        Column("spec", STRING, "What it is."),
        Column("price_usd", FLOAT, "List price of a call behind the free ones."),
        Column("n_calls", INT, "Calls that the run is to make."),
        Column("forecast_usd", FLOAT, "What they were expected to cost."),
        Column("n_free", INT, "Those of them that were expected to be free."),
    ),
)

CALLS = Table(
    "calls",
    "A call to a provider.",
    (
        CONFIGURATION,
        _ITEM,
        _PASS,
        Column("slice", INT32, "Number of the slice of the image set, from 0."),
        Column("planned_s", FLOAT, "When its slice was to begin, since 1970 UTC."),
        Column("sent_s", FLOAT, "When it was made, since 1970 UTC."),
        Column(
            "status",
            STRING,
            "ok, timeout, throttled, unavailable, unreachable, refused, denied, "
            "malformed; not_sent where the budget was spent, skipped where its "
            "provider could not be had, unfinished where a kill cut it off.",
        ),
        Column("message", STRING, "What went wrong; empty for nothing."),
        Column(
            "latency_s", FLOAT, "From the call to the decoded answer; null without."
        ),
        Column("price_usd", FLOAT, "What was charged."),
        Column("upload_bytes", INT, "Bytes of the image."),
        Column("n_answers", INT, "Boxes or labels of the answer; null without."),
        Column("n_asked", INT32, "How often it was asked, this call included."),
        Column(
            "n_dropped",
            INT,
            "Boxes or labels of the answer that could not be read and are not there.",
        ),
    ),
)

PREDICTIONS = Table(
    "predictions",
    "A box or a label that a provider answered, in its own words.",
    (
        CONFIGURATION,
        _ITEM,
        _PASS,
        Column("provider", STRING, "Name of the provider."),
        Column("label", STRING, "The label."),
        Column("score", FLOAT, "Its score."),
        Column("x1", FLOAT, "Left, px; null for a label without a box."),
        Column("y1", FLOAT, "Top, px."),
        Column("x2", FLOAT, "Right, px."),
        Column("y2", FLOAT, "Bottom, px."),
    ),
)

RECORD_TABLES = (CONFIGURATIONS, CALLS, PREDICTIONS, SUMMARY)

_CORNERS = ("x1", "y1", "x2", "y2")
_ANSWERS = pa.schema(
    [
        ("item", STRING),
        ("provider", STRING),
        ("label", STRING),
        ("score", pa.float32()),
        *((corner, pa.float32()) for corner in _CORNERS),
        ("price_usd", FLOAT),
        ("latency_s", FLOAT),
        ("is_missing", BOOL),
    ]
)
_TRUTH = pa.schema(
    [
        ("item", STRING),
        ("label", STRING),
        *((corner, pa.float32()) for corner in _CORNERS),
        ("width", INT32),
        ("height", INT32),
        ("difficult", BOOL),
    ]
)


def call_row(call: JournalCall, configuration: int) -> dict[str, object]:
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


def prediction_rows(call: JournalCall, configuration: int) -> list[dict[str, object]]:
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
    calls: Iterable[JournalCall],
    dataset: Dataset,
    prices_usd: Mapping[str, float],
) -> None:
    """Write a recording that ``readers.parquet.read_parquet`` reads, with the truth.

    Of several passes the first answer of a provider to an image counts. Who did not
    answer is missing, which is not the same as an empty answer. Prices of a call are by
    provider, in their order.
    """
    best: dict[tuple[str, str], JournalCall] = {}
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
    call: JournalCall | None, provider: str, item: str, price_usd: float
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
