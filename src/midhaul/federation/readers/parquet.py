"""Recorded answers in Parquet: one row per label or box that a provider answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from midhaul.errors import DataError
from midhaul.federation.problem import Answers, Recording

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from midhaul.federation.problem import Task

_CORNERS = ("x1", "y1", "x2", "y2")


def read_parquet(
    file: Path,
    *,
    task: Task,
    truth_file: Path | None = None,
    prices_usd: Mapping[str, float] | None = None,
) -> Recording:
    """Read predictions, and the truth where there is one.

    Args:
        file: columns ``item`` (or ``image_id``), ``provider``, ``label``, ``score``;
            ``x1 y1 x2 y2`` in px for boxes; ``price_usd`` of a call and ``truth`` (one
            label an item) where known. A provider without a row for an item gave an
            empty answer. A column ``row`` tells items apart before ``item`` does.
        task: what an answer is.
        truth_file: columns ``item`` (or ``image_id``) and ``label``, boxes as above,
            ``width``, ``height`` and ``difficult`` where known. Its items are the
            items.
        prices_usd: price of a call by provider, before what the file says.

    Raises:
        DataError: a file or a column is missing, or a provider has no price.
    """
    table = _Columns(file)
    truth = None if truth_file is None else _Columns(truth_file)
    keys = table.items()
    items = list(dict.fromkeys(keys if truth is None else truth.items()))
    words = table.texts("label")
    if truth is not None:
        words = words + truth.texts("label")
    elif table.has("truth"):
        words = words + table.texts("truth")
    names = sorted(set(words), key=lambda word: (len(word), word))
    providers = list(dict.fromkeys(table.texts("provider")))
    places = {item: i for i, item in enumerate(items)}
    of_item = np.array([places.get(key, -1) for key in keys], np.int64)
    index = {name: i for i, name in enumerate(names)}
    labels = np.array([index[word] for word in table.texts("label")], np.int32)
    of = np.array([providers.index(x) for x in table.texts("provider")], np.int64)
    boxes = table.boxes(task)
    answers: list[Answers] = []
    for p in range(len(providers)):
        mine = (of == p) & (of_item >= 0)
        answers.append(
            Answers.of_rows(
                of_item[mine],
                len(items),
                labels[mine],
                table.numbers("score")[mine].astype(np.float32),
                None if boxes is None else boxes[mine],
            )
        )
    return Recording(
        task=task,
        items=tuple(items),
        names=tuple(names),
        providers=tuple(providers),
        prices_usd=_prices(table, providers, of, prices_usd or {}),
        answers=tuple(answers),
        truth=_truth(table if truth is None else truth, places, index, task, of_item),
        sizes_px=None if truth is None else _sizes(truth, places),
    )


class _Columns:
    """A table whose columns are asked for by name."""

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            self._table = pq.read_table(file)
        except (OSError, pa.ArrowException) as error:
            message = f"{file} cannot be read as Parquet: {error}"
            raise DataError(message) from error

    def has(self, name: str) -> bool:
        return name in self._table.column_names

    def texts(self, name: str) -> list[str]:
        return [str(value) for value in self._column(name).to_pylist()]

    def numbers(self, name: str) -> np.ndarray:
        return np.asarray(self._column(name).to_numpy(), np.float64)

    def items(self) -> list[str]:
        if self.has("row") and self.has("item"):
            pairs = zip(self.texts("row"), self.texts("item"), strict=True)
            return [f"{row}:{item}" for row, item in pairs]
        return self.texts("item" if self.has("item") else "image_id")

    def boxes(self, task: Task) -> np.ndarray | None:
        if task != "boxes":
            return None
        columns = [self.numbers(name) for name in _CORNERS]
        return np.stack(columns, axis=1).astype(np.float32)

    def _column(self, name: str) -> Any:
        if not self.has(name):
            found = ", ".join(self._table.column_names)
            message = f"{self.file} has no column {name}, only {found}"
            raise DataError(message)
        return self._table.column(name)


def _prices(
    table: _Columns,
    providers: Sequence[str],
    of: np.ndarray,
    given: Mapping[str, float],
) -> np.ndarray:
    found = table.numbers("price_usd") if table.has("price_usd") else None
    prices = np.zeros(len(providers))
    for p, name in enumerate(providers):
        if name in given:
            prices[p] = given[name]
        elif found is not None:
            prices[p] = found[of == p][0]
        else:
            message = f"provider {name} has no price in {table.file}"
            raise DataError(message, "give its price of a call in USD")
    return prices


def _truth(
    table: _Columns,
    places: Mapping[str, int],
    index: Mapping[str, int],
    task: Task,
    of_item: np.ndarray,
) -> Answers | None:
    if table.has("truth"):
        words = table.texts("truth")
        first = np.unique(of_item, return_index=True)[1]
        labels = np.array([index[words[i]] for i in first], np.int32)
        ones = np.ones(len(first), np.float32)
        return Answers.of_rows(of_item[first], len(places), labels, ones)
    if table.has("score"):
        return None
    of_item = np.array([places[key] for key in table.items()], np.int64)
    labels = np.array([index[word] for word in table.texts("label")], np.int32)
    difficult = table.has("difficult")
    return Answers.of_rows(
        of_item,
        len(places),
        labels,
        np.ones(len(labels), np.float32),
        table.boxes(task),
        is_ignored=table.numbers("difficult") > 0 if difficult else None,
    )


def _sizes(truth: _Columns, places: Mapping[str, int]) -> np.ndarray | None:
    if not truth.has("width"):
        return None
    sizes = np.full((len(places), 2), np.nan, np.float32)
    rows = np.array([places[key] for key in truth.items()], np.int64)
    sizes[rows, 0] = truth.numbers("width")
    sizes[rows, 1] = truth.numbers("height")
    return sizes
