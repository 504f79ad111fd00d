"""The folders of FrugalML: the one label that each model gave to each item.

``Modelk_PredictedLabel.txt`` and ``Modelk_Confidence.txt`` have a line an item.
``Modelk_ImageName.txt`` and ``Modelk_TrueLabel.txt`` often stand beside one model only,
and hold for all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import DataError
from midhaul.federation.problem import Answers, Recording
from midhaul.federation.readers.frugal_files import (
    any_file,
    demand_lines,
    item_ids,
    labels_of,
    lines_of,
    model_prices,
    numbers_of,
    read_models,
)
from midhaul.federation.readers.parts import WordList

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from jaxtyping import Float64, Int64

    from midhaul.federation.findings import FindingCounter
    from midhaul.federation.readers.frugal_files import Model


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Said:
    """What a model said, a line an item, and what its items are called."""

    labels: list[str]
    scores: Float64[np.ndarray, " k"]
    truth: list[str] | None
    names: list[str] | None


def read_frugalml(
    folder: Path,
    *,
    prices_usd: Mapping[str, float] | None = None,
    tally: FindingCounter,
) -> Recording:
    """Read a folder of FrugalML.

    Items are called by their place and name, as names may come twice. Models that name
    other items than others, or in another order, are brought together by name; who did
    not answer an item is missing there. Without confidences, scores are 1.

    Args:
        folder: ``dataset/mlserviceperformance_D``.
        prices_usd: price of a call by provider, before those of ``meta.csv``.
        tally: where models without answers are counted.

    Raises:
        DataError: a file is missing, cannot be read, or has other lines than others, or
            two models disagree on the truth.
    """
    models = read_models(folder)
    said = {m: found for m in models if (found := _read_model(m)) is not None}
    for model in models:
        if model not in said:
            tally.add(model.provider, "file without a use", 1, [model.rewards_alone])
    if not said:
        message = f"no model of {folder} has predicted labels"
        raise DataError(message, "FrugalMCT's folders may hold rewards alone")
    names, places = _together(said, folder)
    n = len(names)
    words = WordList()
    answers: list[Answers] = []
    for model, found in said.items():
        place = places[model]
        is_missing = np.ones(n, bool)
        is_missing[place] = False
        answers.append(
            Answers.of_rows(
                place,
                n,
                words.numbers(found.labels),
                found.scores.astype(np.float32),
                is_missing=is_missing,
            )
        )
    recording = Recording(
        task="labels",
        items=item_ids(names),
        names=words.names,
        providers=tuple(model.provider for model in said),
        prices_usd=model_prices(list(said), prices_usd, folder),
        answers=tuple(answers),
        truth=_truth(said, places, n, words, folder),
    )
    return words.in_order(recording)


def _read_model(model: Model) -> _Said | None:
    file = model.label_file
    if file is None:
        return None
    labels = labels_of(file)
    scores = np.ones(len(labels))
    if confidence := model.file("Confidence"):
        scores = numbers_of(confidence)
        demand_lines(confidence, len(scores), len(labels))
    truth = names = None
    if true := model.file("TrueLabel"):
        truth = labels_of(true)
        demand_lines(true, len(truth), len(labels))
    if named := model.file("ImageName"):
        names = lines_of(named)
        demand_lines(named, len(names), len(labels))
    return _Said(labels=labels, scores=scores, truth=truth, names=names)


def _together(
    said: Mapping[Model, _Said], folder: Path
) -> tuple[list[str], dict[Model, Int64[np.ndarray, " k"]]]:
    """The names of all items, and the place of each model's lines among them."""
    first = next((one.names for one in said.values() if one.names is not None), None)
    if first is None:
        n = len(next(iter(said.values())).labels)
        named = any_file(folder, "ImageName")
        first = [""] * n if named is None else lines_of(named)
    if all(one.names in (None, first) for one in said.values()):
        names, is_same = first, True
    else:
        lists = [first if one.names is None else one.names for one in said.values()]
        names, is_same = (
            list(dict.fromkeys(name for one in lists for name in one)),
            False,
        )
    index = {name: i for i, name in enumerate(names)}
    places: dict[Model, Int64[np.ndarray, " k"]] = {}
    for model, one in said.items():
        own = first if one.names is None else one.names
        if len(own) != len(one.labels):
            message = (
                f"{model.provider} has {len(one.labels)} answers in {folder}, but "
                f"{len(own)} items are named"
            )
            raise DataError(message, "give it an ImageName file of its own")
        if not is_same and len(set(own)) != len(own):
            message = f"{model.provider} names items twice, and others than its peers"
            raise DataError(message, "items can be brought together by unique names")
        place = np.arange(len(own))
        places[model] = (
            place if is_same else np.array([index[n] for n in own], np.int64)
        )
    return names, places


def _truth(
    said: Mapping[Model, _Said],
    places: Mapping[Model, Int64[np.ndarray, " k"]],
    n: int,
    words: WordList,
    folder: Path,
) -> Answers | None:
    labels = np.full(n, -1, np.int64)
    for model, one in said.items():
        if one.truth is None:
            continue
        own = words.numbers(one.truth)
        known = labels[places[model]]
        if ((known >= 0) & (known != own)).any():
            message = f"{model.provider} has another truth than its peers in {folder}"
            raise DataError(message, "an item has one true label")
        labels[places[model]] = own
    if (labels < 0).all() and (file := any_file(folder, "TrueLabel")):
        beside = words.numbers(labels_of(file))
        demand_lines(file, len(beside), n)
        labels = beside.astype(np.int64)
    known = np.flatnonzero(labels >= 0)
    if not len(known):
        return None
    return Answers.of_rows(
        known,
        n,
        labels[known].astype(np.int32),
        np.ones(len(known), np.float32),
        is_missing=labels < 0,
    )
