"""Recorded answers in Parquet: one row per label or box that a provider answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import DataError
from midhaul.federation.findings import FindingCounter
from midhaul.federation.problem import Answers, Recording
from midhaul.federation.readers.columns import Columns
from midhaul.federation.readers.item_ids import ItemIndex, demand_items
from midhaul.federation.readers.parquet_truth import CORNERS, META, read_truth
from midhaul.federation.readers.parts import Truth, WordList, prices_from

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from jaxtyping import Float32, Float64, Int32, Int64

    from midhaul.federation.problem import Task
    from midhaul.federation.readers.columns import Codes

ANSWERS_FILE, TRUTH_FILE = "answers.parquet", "truth.parquet"
"""Files of a folder that holds a recording."""

_KEYS = ("row", "item", "image_id")
_COLUMNS = ("provider", "label", "score", "price_usd", "latency_s", "is_missing")


def read_parquet(
    file: Path,
    *,
    task: Task,
    truth_file: Path | None = None,
    prices_usd: Mapping[str, float] | None = None,
    price_usd: float | None = None,
    tally: FindingCounter | None = None,
) -> Recording:
    """Read predictions, and the truth where there is one.

    Args:
        file: columns ``item`` (or ``image_id``), ``provider``, ``label``, ``score``;
            ``x1 y1 x2 y2`` in px for boxes; ``price_usd`` of a call, ``latency_s`` and
            ``truth`` (one label an item) where known. A column ``row`` tells items
            apart before ``item`` does. A provider without a row for an item gave an
            empty answer, or none where the task is ``labels``; a row without a label
            says the same, and with ``is_missing`` that there was no answer. A folder
            stands for its files ``answers.parquet`` and ``truth.parquet``.
        task: what an answer is.
        truth_file: columns ``item`` (or ``image_id``) and ``label``, boxes as above,
            ``width``, ``height`` and ``difficult`` where known; or COCO's annotations
            (``.json``). Its items are the items.
        prices_usd: price of a call by provider, before what the file says.
        price_usd: price of a call of everybody who has no other.
        tally: where rows about items that the truth does not have, or calls by the
            names of their files, are counted.

    Raises:
        DataError: a file or a column is missing, or a provider has no price.
    """
    if file.is_dir():
        beside = file / TRUTH_FILE
        truth_file = truth_file or (beside if beside.is_file() else None)
        file /= ANSWERS_FILE
    rows = _read_rows(file, task)
    words = WordList(rows.meta_names("names"))
    truth = None
    if truth_file is not None:
        truth = read_truth(truth_file, task=task, words=words)
    elif rows.columns.has("truth"):
        truth = _truth_of_rows(rows, words)
    items = rows.items.texts if truth is None else truth.items
    tally = tally or FindingCounter()
    tally.take(*(() if truth is None else truth.tallies))
    of_item = _places(rows, truth, tally)
    labels = np.append(words.numbers(rows.labels.texts), -1)[rows.labels.codes]
    providers = tuple(
        dict.fromkeys([*rows.meta_names("providers"), *rows.providers.texts])
    )
    parts = [_rows_of(rows, name, of_item) for name in providers]
    prices = prices_from(
        providers,
        _found_prices(rows, providers, parts),
        prices_usd,
        price_usd,
        str(file),
    )
    recording = Recording(
        task=task,
        items=items,
        names=words.names,
        providers=providers,
        prices_usd=prices,
        answers=tuple(
            _answers(rows, part, of_item, labels, len(items)) for part in parts
        ),
        truth=None if truth is None else truth.answers,
        sizes_px=None if truth is None else truth.sizes_px,
        latencies_s=_latencies(rows, parts, of_item, len(items)),
    )
    return words.in_order(recording)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Rows:
    """The rows of a file of answers."""

    task: Task
    columns: Columns
    items: Codes
    providers: Codes
    labels: Codes
    scores: Float32[np.ndarray, " m"]
    boxes: Float32[np.ndarray, "m 4"] | None

    def meta_names(self, key: str) -> tuple[str, ...]:
        """A list of names that the writer of the file left."""
        return tuple(str(name) for name in self.columns.meta(META).get(key, ()))


def _read_rows(file: Path, task: Task) -> _Rows:
    is_boxes = task == "boxes"
    corners = CORNERS if is_boxes else ()
    columns = Columns(file, (*_KEYS, *_COLUMNS, "truth", *corners))
    columns.require("provider", "label", "score", *corners)
    boxes = None
    if is_boxes:
        boxes = np.empty((len(columns), 4), np.float32)
        for i, name in enumerate(corners):
            boxes[:, i] = columns.numbers(name)
    rows = _Rows(
        task=task,
        columns=columns,
        items=columns.codes(*columns.keys()),
        providers=columns.codes("provider"),
        labels=columns.codes("label"),
        scores=columns.numbers("score").astype(np.float32),
        boxes=boxes,
    )
    for what, codes in (("item", rows.items), ("provider", rows.providers)):
        if (codes.codes < 0).any():
            row = int(np.argmax(codes.codes < 0))
            message = f"{file}, row {row}: the {what} is null"
            raise DataError(message, "every row needs an item and a provider")
    if not len(columns):
        message = f"{file} has no row"
        raise DataError(message, "give a file with answers")
    return rows


def _places(
    rows: _Rows, truth: Truth | None, tally: FindingCounter
) -> Int64[np.ndarray, " m"]:
    """The number of each row's item; -1 where the truth does not have it.

    Raises:
        DataError: it has none of them.
    """
    if truth is None or truth.items is rows.items.texts:
        return rows.items.codes
    index = ItemIndex(truth.items, truth.files)
    of_item = np.full(len(rows.items.codes), -1, np.int64)
    for code, provider in enumerate(rows.providers.texts):
        mine = rows.providers.codes == code
        said = [rows.items.texts[i] for i in rows.items.codes[mine].tolist()]
        of_item[mine] = index.find(said, provider, tally)
    demand_items(
        [of_item],
        said=rows.items.texts,
        items=truth.items,
        file=str(rows.columns.file),
    )
    return of_item


def _rows_of(
    rows: _Rows, provider: str, of_item: Int64[np.ndarray, " m"]
) -> Int64[np.ndarray, " k"]:
    if provider not in rows.providers.texts:
        return np.zeros(0, np.int64)
    code = rows.providers.texts.index(provider)
    return np.flatnonzero((rows.providers.codes == code) & (of_item >= 0))


def _answers(
    rows: _Rows,
    mine: Int64[np.ndarray, " k"],
    of_item: Int64[np.ndarray, " m"],
    labels: Int32[np.ndarray, " m"],
    n_items: int,
) -> Answers:
    said = mine[labels[mine] >= 0]
    missing = np.zeros(n_items, bool)
    flags = rows.columns.flags("is_missing")
    missing[of_item[mine[flags[mine]]]] = True
    said = said[~flags[said]]
    if rows.task == "labels":
        missing |= np.bincount(of_item[said], minlength=n_items) == 0
    return Answers.of_rows(
        of_item[said],
        n_items,
        labels[said],
        rows.scores[said],
        None if rows.boxes is None else rows.boxes[said],
        is_missing=missing,
    )


def _found_prices(
    rows: _Rows, providers: Sequence[str], parts: Sequence[Int64[np.ndarray, " k"]]
) -> dict[str, float]:
    if not rows.columns.has("price_usd"):
        return {}
    column = rows.columns.numbers("price_usd")
    found: dict[str, float] = {}
    for name, mine in zip(providers, parts, strict=True):
        stated = column[mine]
        stated = stated[np.isfinite(stated)]
        if not len(stated):
            continue
        if stated.min() < 0 or stated.min() != stated.max():
            low, high = stated.min(), stated.max()
            message = (
                f"{rows.columns.file}: the price of {name} is {low:g} to {high:g} USD"
            )
            raise DataError(message, "give one price of a call, not below 0")
        found[name] = float(stated[0])
    return found


def _latencies(
    rows: _Rows,
    parts: Sequence[Int64[np.ndarray, " k"]],
    of_item: Int64[np.ndarray, " m"],
    n_items: int,
) -> Float64[np.ndarray, "p n"] | None:
    if not rows.columns.has("latency_s"):
        return None
    column = rows.columns.numbers("latency_s")
    latencies = np.full((len(parts), n_items), np.nan)
    for latency, mine in zip(latencies, parts, strict=True):
        latency[of_item[mine]] = column[mine]
    return latencies


def _truth_of_rows(rows: _Rows, words: WordList) -> Truth:
    """The truth that stands beside the answers, one label an item."""
    truth = rows.columns.codes("truth")
    n = len(rows.items.texts)
    first = np.full(n, -1, np.int64)
    stated = np.flatnonzero(truth.codes >= 0)
    first[rows.items.codes[stated]] = truth.codes[stated]
    others = truth.codes[stated] != first[rows.items.codes[stated]]
    if others.any():
        row = int(stated[np.argmax(others)])
        item = rows.items.texts[int(rows.items.codes[row])]
        message = f"{rows.columns.file}: item {item} has two truths"
        raise DataError(message, "a column truth holds one label for each item")
    known = np.flatnonzero(first >= 0)
    labels = words.numbers(truth.texts)[first[known]]
    return Truth(
        items=rows.items.texts,
        answers=Answers.of_rows(
            known, n, labels, np.ones(len(known), np.float32), is_missing=first < 0
        ),
    )
