"""FrugalML and FrugalMCT folders: one label, or several, that each model gave an item.

``Modelk_PredictedLabel.txt`` and ``Modelk_Confidence.txt`` have a line an item.
``Modelk_ImageName.txt`` and ``Modelk_TrueLabel.txt`` often stand beside one model only,
and hold for all of them.

Some files both have in common.

``meta.csv`` lists the models with their prices, in USD for 10,000 calls; what is said
of model k is in files ``Modelk_NAME.txt``, most with a line for each item.

*FrugalMCT* has several labels for each item, in JSON.

``Modelk_PredictedLabel.txt`` maps an item to its labels, ``{"transcription":
"car", "confidence": 0.98}``; ``Modelk_TrueLabel.txt`` is the same without confidences,
beside any of the models. Most of the folders hold rewards alone.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from midhaul.errors import DataError
from midhaul.federation.recordings.parts import (
    ItemIndex,
    WordList,
    demand_items,
    json_of,
    prices_from,
    text_of,
)
from midhaul.federation.recordings.problem import Answers, Recording

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from jaxtyping import Float64, Int64

    from midhaul.federation.recordings.findings import FindingCounter

_LABELS = ("PredictedLabel", "OriginalPredictedLabel")
_PER = 10_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A line of ``meta.csv``.

    Attributes:
        number: as the names of its files have it.
    """

    folder: Path
    number: str
    provider: str
    price_usd: float

    def file(self, name: str) -> Path | None:
        """One of its files; None where it has no such."""
        file = self.folder / f"Model{self.number}_{name}.txt"
        return file if file.is_file() else None

    @property
    def rewards_alone(self) -> str:
        """What is found of it where it has no answers."""
        return f"no predicted labels of Model{self.number}"

    @property
    def label_file(self) -> Path | None:
        """What it answered; None where only rewards are told."""
        return next((f for name in _LABELS if (f := self.file(name))), None)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrugalRewards:
    """How good each provider was on each item, as the authors counted it.

    Attributes:
        rewards: ``(p, n)``: right or wrong (FrugalML), the Jaccard index of the label
            sets (FrugalMCT).
    """

    providers: tuple[str, ...]
    items: tuple[str, ...]
    rewards: Float64[np.ndarray, "p n"]


def read_rewards(folder: Path) -> FrugalRewards:
    """Read what the authors counted for each model, which is often all there is.

    DataError where there is none, or a file has other lines than others.
    """
    files = {m.provider: f for m in read_models(folder) if (f := m.file("Reward"))}
    if not files:
        message = f"{folder} has no file of rewards"
        raise DataError(message, "they are called Modelk_Reward.txt")
    rows = [numbers_of(file) for file in files.values()]
    for file, row in zip(files.values(), rows, strict=True):
        demand_lines(file, len(row), len(rows[0]))
    names = any_file(folder, "ImageName")
    items = [""] * len(rows[0]) if names is None else lines_of(names)
    demand_lines(names or folder, len(items), len(rows[0]))
    return FrugalRewards(
        providers=tuple(files), items=item_ids(items), rewards=np.stack(rows)
    )


def _rows(file: Path) -> list[list[str]]:
    try:
        return list(csv.reader(io.StringIO(text_of(file))))
    except csv.Error as error:
        message = f"{file} cannot be read as CSV: {error}"
        raise DataError(message, "write or download the file again") from error


def read_models(folder: Path) -> list[Model]:
    """The models of ``meta.csv``: index, name, price of 10,000 calls."""
    file = folder / "meta.csv"
    models: list[Model] = []
    for i, row in enumerate(_rows(file), start=1):
        if i == 1 or not any(cell.strip() for cell in row):
            continue
        try:
            number, provider, price = (cell.strip() for cell in row[:3])
            model = Model(
                folder=folder,
                number=str(int(number)),
                provider=provider,
                price_usd=float(price) / _PER,
            )
        except ValueError as error:
            message = f"{file}, line {i}: expected index, name and price, found {row}"
            raise DataError(message, "correct the line") from error
        models.append(model)
    if not models:
        message = f"{file} lists no model"
        raise DataError(message, "a line is index, name, USD for 10,000 calls")
    return models


def any_file(folder: Path, name: str) -> Path | None:
    """The file that stands beside some model and holds for all of them."""
    return next(iter(sorted(folder.glob(f"Model*_{name}.txt"))), None)


def model_prices(
    models: Sequence[Model], given: Mapping[str, float] | None, folder: Path
) -> Float64[np.ndarray, " p"]:
    """The price of a call of each model, unless another one is given."""
    found = {model.provider: model.price_usd for model in models}
    return prices_from(list(found), found, given, None, str(folder / "meta.csv"))


def item_ids(names: Sequence[str]) -> tuple[str, ...]:
    """Ids of items by place and name, as names may come twice."""
    return tuple(f"{i}:{name}" if name else str(i) for i, name in enumerate(names))


def lines_of(file: Path) -> list[str]:
    """The lines of a file, without the comma that ends some."""
    return [line.strip().rstrip(",") for line in text_of(file).splitlines()]


def labels_of(file: Path) -> list[str]:
    """Labels, of which numbers are brought to one spelling: 3.0 is 3."""
    spelled: dict[str, str] = {}
    lines = lines_of(file)
    for line in set(lines):
        try:
            number = float(line)
            spelled[line] = str(int(number)) if number.is_integer() else line
        except ValueError:
            spelled[line] = line
    return [spelled[line] for line in lines]


def numbers_of(file: Path) -> Float64[np.ndarray, " n"]:
    """A number from each line; DataError where one has none."""
    try:
        return np.array(lines_of(file), np.float64)
    except ValueError as error:
        message = f"{file} must hold a number in each line: {error}"
        raise DataError(message, "correct the file") from error


def demand_lines(file: Path, found: int, expected: int) -> None:
    """Demand that a file has as many lines as others, by a DataError."""
    if found != expected:
        message = f"{file} has {found} lines where its model answered {expected} items"
        raise DataError(message, "all files of a model have one line for each item")


def read_frugalmct(
    folder: Path,
    *,
    prices_usd: Mapping[str, float] | None = None,
    tally: FindingCounter,
) -> Recording:
    """Read a folder of FrugalMCT; models with nothing but rewards are left out.

    That is ``dataset/mlserviceperformance_D``. Prices of a call by provider come before
    those of ``meta.csv``; models without labels and items outside of the truth are
    counted. DataError where a file is missing, or cannot be read.
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
