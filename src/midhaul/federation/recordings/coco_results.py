"""COCO's results files, one JSON list for each provider, beside COCO's annotations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from midhaul.errors import DataError
from midhaul.federation.recordings.parts import (
    ItemIndex,
    demand_items,
    json_of,
    prices_from,
)
from midhaul.federation.recordings.problem import Answers, Recording

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from jaxtyping import Float64, Int64

    from midhaul.federation.recordings.findings import FindingCounter
    from midhaul.vision.data.coco import Annotations

_N_CORNERS = 4


def read_coco_results(
    folder: Path,
    *,
    truth_file: Path,
    prices_usd: Mapping[str, float] | None = None,
    price_usd: float | None = None,
    tally: FindingCounter,
) -> Recording:
    """Read ``PROVIDER.json`` of each provider.

    An entry is ``{"image_id", "category_id", "bbox": [x, y, width, height], "score"}``.
    The images of the truth, COCO's annotations, are the items, its categories the label
    set. Entries that cannot be read, or are about other images or categories, are
    counted. DataError where a file is missing or no such list, or a provider has no
    price.
    """
    from midhaul.vision.data.coco import read_annotations  # noqa: PLC0415 - needs Pillow

    truth = read_annotations(truth_file)
    tally.take(*truth.tallies)
    files = {
        file.stem: file
        for file in sorted(folder.glob("*.json"))
        if file.resolve() != truth_file.resolve()
    }
    if not files:
        message = f"{folder} has no results file"
        raise DataError(message, "there is one for each provider, PROVIDER.json")
    items = tuple(truth.truth)
    results = {name: _read_results(file, tally) for name, file in files.items()}
    index = ItemIndex(items, [truth.places[item][1] for item in items])
    places = {name: index.find(one.items, name, tally) for name, one in results.items()}
    demand_items(
        list(places.values()),
        said=[item for one in results.values() for item in one.items],
        items=items,
        file=str(folder),
    )
    marked = [truth.truth[item] for item in items]
    return Recording(
        task="boxes",
        items=items,
        names=truth.names,
        providers=tuple(files),
        prices_usd=prices_from(tuple(files), {}, prices_usd, price_usd, str(folder)),
        answers=tuple(
            _answers(name, one, places[name], truth, tally)
            for name, one in results.items()
        ),
        truth=Answers.of_rows(
            np.repeat(np.arange(len(items)), [len(one) for one in marked]),
            len(items),
            np.concatenate([one.labels for one in marked]),
            np.ones(sum(len(one) for one in marked), np.float32),
            np.concatenate([one.boxes for one in marked]),
            is_ignored=np.concatenate([one.is_crowd for one in marked]),
        ),
        sizes_px=np.array([truth.sizes[item] for item in items], np.float32),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Results:
    """The entries of a results file that can be read."""

    items: list[str]
    categories: list[str]
    numbers: Float64[np.ndarray, "m 5"]


def _read_results(file: Path, tally: FindingCounter) -> _Results:
    listed = json_of(file, "a list of results")
    if not isinstance(listed, list):
        message = f"expected a list of results in {file}, found something else"
        raise DataError(message, "a results file is a list of boxes; the truth is not")
    entries = [_entry(entry) for entry in cast("list[Any]", listed)]
    read = [entry for entry in entries if entry is not None]
    odd = [f"{file.name}[{i}]" for i, entry in enumerate(entries) if entry is None]
    tally.see(file.stem, entries=len(odd))
    tally.add(file.stem, "unreadable entry", len(odd), odd, of=len(entries))
    return _Results(
        items=[entry[0] for entry in read],
        categories=[entry[1] for entry in read],
        numbers=np.array([entry[2] for entry in read], np.float64).reshape(-1, 5),
    )


def _answers(
    provider: str,
    results: _Results,
    places: Int64[np.ndarray, " m"],
    truth: Annotations,
    tally: FindingCounter,
) -> Answers:
    labels = np.array(
        [truth.label_of.get(category, -1) for category in results.categories], np.int64
    )
    odd = np.flatnonzero((labels < 0) & (places >= 0)).tolist()
    tally.see(provider, entries=len(odd))
    tally.add(
        provider,
        "unknown category id",
        len(odd),
        [f"category {results.categories[i]}" for i in odd],
        of=len(labels),
    )
    keep = (labels >= 0) & (places >= 0)
    corners = results.numbers[keep, 1:]
    corners[:, 2:] += corners[:, :2]
    return Answers.of_rows(
        places[keep],
        len(truth.truth),
        labels[keep].astype(np.int32),
        results.numbers[keep, 0].astype(np.float32),
        corners.astype(np.float32),
    )


def _entry(entry: Any) -> tuple[str, str, list[float]] | None:
    """Image, category, and the score before the box; None where they are not there."""
    try:
        box = [float(value) for value in entry["bbox"]]
        score = float(entry["score"])
        item, category = _id(entry["image_id"]), _id(entry["category_id"])
    except (TypeError, KeyError, ValueError, OverflowError):
        return None
    return (item, category, [score, *box]) if len(box) == _N_CORNERS else None


def _id(value: Any) -> str:
    """An id as text: a whole number is one however JSON writes it."""
    is_whole = isinstance(value, float) and value.is_integer()
    return str(int(value)) if is_whole else str(value)
