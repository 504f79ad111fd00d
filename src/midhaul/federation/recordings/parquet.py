"""Parquet recordings: one row per label or box that a provider answered.

Columns are read by name, as codes and numbers, not as texts. The truth of
people has a file of its own: Parquet, or COCO's annotations. What is written here has
everything that the reader gives back.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from midhaul import documents
from midhaul.errors import DataError
from midhaul.federation.recordings.findings import FindingCounter
from midhaul.federation.recordings.parts import (
    ItemIndex,
    Truth,
    WordList,
    demand_items,
    prices_from,
)
from midhaul.federation.recordings.problem import Answers, Recording

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from jaxtyping import Float32, Float64, Int32, Int64

    from midhaul.federation.recordings.problem import Task


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Codes:
    """A column of texts.

    Attributes:
        codes: ``(m,)`` indices into ``texts``; -1 for null.
        texts: the different texts, in the order in which they come.
    """

    codes: Int64[np.ndarray, " m"]
    texts: tuple[str, ...]


class Columns:
    """Those of the wanted columns that a Parquet file has.

    DataError where it cannot be read.
    """

    def __init__(self, file: Path, wanted: Iterable[str]) -> None:
        self.file = file
        try:
            opened = pq.ParquetFile(file)
            found: list[str] = opened.schema_arrow.names
            self._names = tuple(found)
            columns = [name for name in wanted if name in found]
            self._table = opened.read(columns=columns)
            self._metadata: dict[bytes, bytes] = opened.schema_arrow.metadata or {}
        except FileNotFoundError as error:
            message = f"{file} does not exist"
            raise DataError(message, "give the file of the answers") from error
        except (OSError, pa.ArrowException) as error:
            message = f"{file} cannot be read as Parquet: {error}"
            raise DataError(message, "write it again, or give another file") from error

    def __len__(self) -> int:
        """Number of rows."""
        return self._table.num_rows

    def meta(self, key: bytes) -> dict[str, Any]:
        """What the writer left under a key of the metadata.

        DataError where it is no JSON object.
        """
        try:
            meta: dict[str, Any] = documents.parse_json(self._metadata.get(key, b"{}"))
            return dict(meta)
        except (ValueError, TypeError) as error:
            message = f"{self.file} has odd metadata: {error}"
            raise DataError(message, "write the file again") from error

    def has(self, name: str) -> bool:
        """True when the file has such a column."""
        return name in self._names

    def require(self, *names: str) -> None:
        """Demand columns; DataError where one is missing."""
        if missing := [name for name in names if not self.has(name)]:
            found = ", ".join(self._names)
            message = f"{self.file} has no column {', '.join(missing)}, only {found}"
            raise DataError(message, "rename its columns, or give another file")

    def keys(self) -> tuple[str, ...]:
        """The columns that tell items apart; DataError where there is none."""
        if self.has("row") and self.has("item"):
            return ("row", "item")
        if not self.has("item") and not self.has("image_id"):
            self.require("item")
        return ("item",) if self.has("item") else ("image_id",)

    def codes(self, *names: str) -> Codes:
        """A column of texts or whole numbers; of several, their texts with ``:``."""
        self.require(*names)
        columns = [self._texts(name) for name in names]
        joined = columns[0]
        if len(columns) > 1:
            joined = pc.binary_join_element_wise(*columns, ":")
        encoded = joined.dictionary_encode()
        filled = pc.fill_null(encoded.indices, -1)
        codes = filled.to_numpy(zero_copy_only=False).astype(np.int64)
        return Codes(codes=codes, texts=tuple(encoded.dictionary.to_pylist()))

    def numbers(self, name: str) -> Float64[np.ndarray, " m"]:
        """A column of numbers; NaN for null.

        DataError where it is missing, or holds something else.
        """
        self.require(name)
        column = self._table.column(name)
        try:
            return pc.cast(column, pa.float64()).to_numpy().astype(np.float64)
        except (pa.ArrowException, TypeError) as error:
            message = f"{self.file}: {name} must hold numbers, found {column.type}"
            raise DataError(message, "write the column as numbers") from error

    def flags(self, name: str) -> np.ndarray:
        """A column of truth values or of 0 and 1; false for null, or without it."""
        if not self.has(name):
            return np.zeros(len(self), bool)
        return np.nan_to_num(self.numbers(name)) > 0

    def _texts(self, name: str) -> Any:
        column = self._table.column(name).combine_chunks()
        kind = column.type
        if pa.types.is_dictionary(kind):
            column, kind = pc.cast(column, kind.value_type), kind.value_type
        if pa.types.is_floating(kind):
            message = (
                f"{self.file}: {name} must hold texts or whole numbers, not {kind}"
            )
            raise DataError(message, "write the column as text")
        try:
            return pc.cast(column, pa.string())
        except pa.ArrowException as error:
            message = f"{self.file}: {name} must hold texts, found {kind}"
            raise DataError(message, "write the column as text") from error


META = b"midhaul.recording"
"""Key of a file's metadata for what rows cannot say, such as the order of names."""

CORNERS = ("x1", "y1", "x2", "y2")
"""Columns of a box."""

_FLAGS = ("difficult", "is_ignored", "is_missing")


def read_truth(file: Path, *, task: Task, words: WordList) -> Truth:
    """Read a truth.

    Args:
        file: Parquet with columns ``item`` (or ``image_id``) and ``label``; ``x1 y1 x2
            y2`` in px for boxes; ``width``, ``height``, ``difficult`` (or
            ``is_ignored``) where known. A row without a label stands for an item that
            nothing is on, and with ``is_missing`` for one that nobody judged. Or COCO's
            annotations, whose name ends in ``.json``.
        task: what an answer is.
        words: the label set, which grows by the words of the truth.

    Raises:
        DataError: the file or a column is missing.
    """
    if file.suffix == ".json":
        return _read_coco(file, task, words)
    has_truth = Columns(file, ()).meta(META).get("has_truth") is not False
    corners = CORNERS if task == "boxes" and has_truth else ()
    columns = Columns(
        file, ("row", "item", "image_id", "label", "width", "height", *_FLAGS, *corners)
    )
    columns.require("label", *corners)
    items = columns.codes(*columns.keys())
    labels = columns.codes("label")
    if (items.codes < 0).any():
        message = f"{file}: an item is null"
        raise DataError(message, "every row of a truth needs its item")
    n = len(items.texts)
    if not has_truth:
        return Truth(items=items.texts, sizes_px=_sizes(columns, items.codes, n))
    missing = np.zeros(n, bool)
    missing[items.codes[columns.flags("is_missing")]] = True
    said = np.flatnonzero(labels.codes >= 0)
    boxes = None
    if corners:
        boxes = np.stack([columns.numbers(name)[said] for name in corners], axis=1)
        boxes = boxes.astype(np.float32)
    ignored = columns.flags("difficult") | columns.flags("is_ignored")
    return Truth(
        items=items.texts,
        answers=Answers.of_rows(
            items.codes[said],
            n,
            words.numbers(labels.texts)[labels.codes[said]],
            np.ones(len(said), np.float32),
            boxes,
            is_missing=missing,
            is_ignored=ignored[said],
        ),
        sizes_px=_sizes(columns, items.codes, n),
    )


def _sizes(columns: Columns, codes: np.ndarray, n: int) -> np.ndarray | None:
    if not (columns.has("width") and columns.has("height")):
        return None
    sizes = np.full((n, 2), np.nan, np.float32)
    sizes[codes, 0] = columns.numbers("width")
    sizes[codes, 1] = columns.numbers("height")
    return sizes


def _read_coco(file: Path, task: Task, words: WordList) -> Truth:
    """Boxes of COCO's annotations; as tags, the labels that are on an image."""
    from midhaul.vision.data.coco import read_annotations  # noqa: PLC0415 - needs Pillow

    if task == "labels":
        message = f"{file} has any number of labels for an image, not one"
        raise DataError(message, "set the task to boxes or tags")
    found = read_annotations(file)
    words.fix(found.names)
    table = words.numbers(found.names)
    items = tuple(found.truth)
    truths = list(found.truth.values())
    of_item = np.repeat(np.arange(len(items)), [len(truth) for truth in truths])
    labels = table[np.concatenate([truth.labels for truth in truths])]
    boxes = np.concatenate([truth.boxes for truth in truths])
    ignored = np.concatenate([truth.is_crowd for truth in truths])
    if task == "tags":
        first = np.unique(of_item * len(table) + labels, return_index=True)[1]
        of_item, labels, boxes = of_item[first], labels[first], None
        ignored = np.zeros(len(first), bool)
    return Truth(
        items=items,
        answers=Answers.of_rows(
            of_item,
            len(items),
            labels,
            np.ones(len(labels), np.float32),
            boxes,
            is_ignored=ignored,
        ),
        sizes_px=np.array([found.sizes[item] for item in items], np.float32),
        files=tuple(found.places[item][1] for item in items),
        tallies=found.tallies,
    )


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
    """The number of each row's item; -1 without, DataError where all are."""
    if truth is None or truth.items is rows.items.texts:
        return rows.items.codes
    index = ItemIndex(truth.items, truth.files)
    of_item = np.full(len(rows.items.codes), -1, np.int64)
    for code, provider in enumerate(rows.providers.texts):
        mine = rows.providers.codes == code
        said = [rows.items.texts[i] for i in rows.items.codes[mine].tolist()]
        of_item[mine] = index.find(said, provider, tally)
    demand_items(
        [of_item], said=rows.items.texts, items=truth.items, file=str(rows.columns.file)
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
