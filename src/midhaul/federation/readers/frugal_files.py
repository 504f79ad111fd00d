"""The files that folders of FrugalML and FrugalMCT have in common.

``meta.csv`` lists the models with their prices, in USD for 10,000 calls; what is said
of model k is in files ``Modelk_NAME.txt``, most with a line for each item.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import DataError
from midhaul.federation.readers.parts import prices_from, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from jaxtyping import Float64

_LABELS = ("PredictedLabel", "OriginalPredictedLabel")
_PER = 10_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A line of ``meta.csv``.

    Attributes:
        folder: where its files are.
        number: as the names of its files have it.
        provider: its name.
        price_usd: of a call.
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
class Rewards:
    """How good each provider was on each item, as the authors counted it.

    Attributes:
        providers: names of the providers.
        items: ids.
        rewards: ``(p, n)``: right or wrong (FrugalML), the Jaccard index of the label
            sets (FrugalMCT).
    """

    providers: tuple[str, ...]
    items: tuple[str, ...]
    rewards: Float64[np.ndarray, "p n"]


def read_rewards(folder: Path) -> Rewards:
    """Read what the authors counted for each model, which is often all there is.

    Raises:
        DataError: there is none, or a file has other lines than others.
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
    return Rewards(
        providers=tuple(files), items=item_ids(items), rewards=np.stack(rows)
    )


def _rows(file: Path) -> list[list[str]]:
    try:
        return list(csv.reader(io.StringIO(text_of(file))))
    except csv.Error as error:
        message = f"{file} cannot be read as CSV: {error}"
        raise DataError(message, "write or download the file again") from error


def read_models(folder: Path) -> list[Model]:
    """The models of ``meta.csv``: index, name, price of 10,000 calls.

    Raises:
        DataError: the file is missing, or a line is something else.
    """
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
    """A number from each line.

    Raises:
        DataError: a line has none.
    """
    try:
        return np.array(lines_of(file), np.float64)
    except ValueError as error:
        message = f"{file} must hold a number in each line: {error}"
        raise DataError(message, "correct the file") from error


def demand_lines(file: Path, found: int, expected: int) -> None:
    """Demand that a file has as many lines as others.

    Raises:
        DataError: it has more or fewer.
    """
    if found != expected:
        message = f"{file} has {found} lines where its model answered {expected} items"
        raise DataError(message, "all files of a model have one line for each item")
