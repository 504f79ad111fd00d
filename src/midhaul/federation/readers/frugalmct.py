"""The folders of FrugalMCT: several labels for each item, in JSON.

``Modelk_PredictedLabel.txt`` maps an item to its labels, ``{"transcription":
"car", "confidence": 0.98}``; ``Modelk_TrueLabel.txt`` is the same without confidences,
beside any of the models. Most of the folders hold rewards alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from midhaul.errors import DataError
from midhaul.federation.problem import Answers, Recording
from midhaul.federation.readers.frugal_files import any_file, model_prices, read_models
from midhaul.federation.readers.item_ids import ItemIndex, demand_items
from midhaul.federation.readers.parts import WordList, json_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from jaxtyping import Int64

    from midhaul.federation.findings import FindingCounter
    from midhaul.federation.readers.frugal_files import Model


def read_frugalmct(
    folder: Path,
    *,
    prices_usd: Mapping[str, float] | None = None,
    tally: FindingCounter,
) -> Recording:
    """Read a folder of FrugalMCT; models with nothing but rewards are left out.

    Args:
        folder: ``dataset/mlserviceperformance_D``.
        prices_usd: price of a call by provider, before those of ``meta.csv``.
        tally: where models without labels, and items outside of the truth are counted.

    Raises:
        DataError: a file is missing, or cannot be read.
    """
    found: dict[Model, dict[str, Any]] = {}
    for model in read_models(folder):
        if file := model.label_file:
            found[model] = _label_lists(file)
        else:
            tally.add(model.provider, "file without a use", 1, [model.rewards_alone])
    if not found:
        message = f"no model of {folder} has predicted labels"
        raise DataError(message, "read its rewards alone with read_rewards")
    true = any_file(folder, "TrueLabel")
    truth = None if true is None else _label_lists(true)
    listed = [truth] if truth is not None else list(found.values())
    items = tuple(dict.fromkeys(item for one in listed for item in one))
    words = WordList(_label_map(folder))
    index = ItemIndex(items)
    places = {
        model: index.find(list(lists), model.provider, tally)
        for model, lists in found.items()
    }
    demand_items(
        list(places.values()),
        said=[item for lists in found.values() for item in lists],
        items=items,
        file=str(folder),
    )
    answers = tuple(
        _tags(lists, places[model], items, words, model.provider, tally)
        for model, lists in found.items()
    )
    judged = None
    if truth is not None:
        everything = np.arange(len(items))
        judged = _tags(truth, everything, items, words, "truth", tally)
    recording = Recording(
        task="tags",
        items=items,
        names=words.names,
        providers=tuple(model.provider for model in found),
        prices_usd=model_prices(list(found), prices_usd, folder),
        answers=answers,
        truth=judged,
    )
    return words.in_order(recording)


def _label_map(folder: Path) -> tuple[str, ...]:
    """The label set in the order of its numbers; empty where the folder has none."""
    file = folder / "labelmap.json"
    if not file.is_file():
        return ()
    table = _object(json_of(file, "a map from labels to numbers"), file)
    if not all(isinstance(number, int) for number in table.values()):
        message = f"{file} must map labels to whole numbers"
        raise DataError(message, "correct or remove the file")
    return tuple(sorted(table, key=lambda name: (table[name], name)))


def _label_lists(file: Path) -> dict[str, Any]:
    return _object(json_of(file, "labels of each item"), file)


def _object(value: Any, file: Path) -> dict[str, Any]:
    if not isinstance(value, dict):
        message = f"expected a JSON object in {file}, found something else"
        raise DataError(message, "FrugalML's folders hold one label a line instead")
    return cast("dict[str, Any]", value)


def _tags(
    lists: Mapping[str, Any],
    places: Int64[np.ndarray, " k"],
    items: Sequence[str],
    words: WordList,
    provider: str,
    tally: FindingCounter,
) -> Answers:
    """One's answers, of which each is about the item at its place."""
    of_item: list[int] = []
    labels: list[int] = []
    scores: list[float] = []
    missing = np.ones(len(items), bool)
    for i, (item, entries) in zip(places.tolist(), lists.items(), strict=True):
        if i < 0 or not isinstance(entries, list):
            continue
        missing[i] = False
        for entry in cast("list[Any]", entries):
            try:
                label = str(entry["transcription"])
                score = float(entry.get("confidence", 1.0))
            except (TypeError, KeyError, ValueError, AttributeError):
                tally.see(provider, entries=1)
                tally.add(provider, "unreadable entry", 1, [f"{item}: {entry!r}"])
                continue
            of_item.append(i)
            labels.append(words.number(label))
            scores.append(score)
    return Answers.of_rows(
        np.array(of_item, np.int64),
        len(items),
        np.array(labels, np.int32),
        np.array(scores, np.float32),
        is_missing=missing,
    )
