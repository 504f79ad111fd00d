"""COCO's results files, one JSON list for each provider, beside COCO's annotations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from midhaul.errors import DataError
from midhaul.federation.problem import Answers, Recording
from midhaul.federation.readers.parts import json_of, prices_from

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from midhaul.federation.findings import FindingCounter
    from midhaul.vision.coco import Annotations

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

    Args:
        folder: of the results files.
        truth_file: COCO's annotations; its images are the items, its categories the
            label set.
        prices_usd: price of a call by provider.
        price_usd: price of a call of everybody else.
        tally: where entries that cannot be read, or are about other images or
            categories, are counted.

    Raises:
        DataError: a file is missing or no such list, or a provider has no price.
    """
    from midhaul.vision.coco import read_annotations  # noqa: PLC0415 - needs Pillow

    truth = read_annotations(truth_file)
    files = {
        file.stem: file
        for file in sorted(folder.glob("*.json"))
        if file.resolve() != truth_file.resolve()
    }
    if not files:
        message = f"{folder} has no results file"
        raise DataError(message, "there is one for each provider, PROVIDER.json")
    items = tuple(truth.truth)
    place = {item: i for i, item in enumerate(items)}
    marked = [truth.truth[item] for item in items]
    return Recording(
        task="boxes",
        items=items,
        names=truth.names,
        providers=tuple(files),
        prices_usd=prices_from(tuple(files), {}, prices_usd, price_usd, str(folder)),
        answers=tuple(
            _read_results(file, place, truth, tally) for file in files.values()
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


def _read_results(
    file: Path, place: Mapping[str, int], truth: Annotations, tally: FindingCounter
) -> Answers:
    listed = json_of(file, "a list of results")
    if not isinstance(listed, list):
        message = f"expected a list of results in {file}, found something else"
        raise DataError(message, "a results file is a list of boxes; the truth is not")
    provider = file.stem
    items: list[int] = []
    labels: list[int] = []
    numbers: list[list[float]] = []
    for i, entry in enumerate(cast("list[Any]", listed)):
        read = _entry(entry)
        if read is None:
            tally.add(provider, "unreadable entry", 1, [f"{file.name}[{i}]"])
            continue
        item, category, values = read
        if item not in place:
            tally.add(provider, "item not in the truth", 1, [item])
        elif category not in truth.label_of:
            tally.add(provider, "unknown label", 1, [f"category {category}"])
        else:
            items.append(place[item])
            labels.append(truth.label_of[category])
            numbers.append(values)
    rows = np.array(numbers, np.float64).reshape(-1, 5)
    corners = rows[:, 1:].copy()
    corners[:, 2:] += corners[:, :2]
    return Answers.of_rows(
        np.array(items, np.int64),
        len(place),
        np.array(labels, np.int32),
        rows[:, 0].astype(np.float32),
        corners.astype(np.float32),
    )


def _entry(entry: Any) -> tuple[str, str, list[float]] | None:
    """Image, category, and the score before the box; None where they are not there."""
    try:
        box = [float(value) for value in entry["bbox"]]
        score = float(entry["score"])
        item, category = str(entry["image_id"]), str(entry["category_id"])
    except (TypeError, KeyError, ValueError):
        return None
    return (item, category, [score, *box]) if len(box) == _N_CORNERS else None
