"""What all readers of recorded answers put a recording together from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul import documents
from midhaul.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from jaxtyping import Float32, Float64, Int32

    from midhaul.federation.problem import Answers, Recording
    from midhaul.model import Tally


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Truth:
    """What people said about some items.

    Attributes:
        items: ids, unique.
        answers: labels are indices into the word list it was read with; None where a
            file knows the items alone.
        sizes_px: ``(n, 2)`` width and height of each image; None where not known.
        files: the file that each item is in; none where a file knows ids alone.
        tallies: what its reader mended, assumed or left out.
    """

    items: tuple[str, ...]
    answers: Answers | None = None
    sizes_px: Float32[np.ndarray, "n 2"] | None = None
    files: tuple[str, ...] = ()
    tallies: tuple[Tally, ...] = ()


class WordList:
    """The label set of a recording while it is read: words get numbers as they come.

    Args:
        names: words that come first, in an order that is kept.
    """

    def __init__(self, names: Sequence[str] = ()) -> None:
        self._n_fixed = len(names)
        self._index = {name: i for i, name in enumerate(names)}

    @property
    def names(self) -> tuple[str, ...]:
        """All words so far."""
        return tuple(self._index)

    def fix(self, names: Sequence[str]) -> None:
        """Take in a label set in its order, unless there are words already."""
        if not self._index:
            self._index = {name: i for i, name in enumerate(names)}
            self._n_fixed = len(self._index)

    def number(self, word: str) -> int:
        """The number of a word; a new one gets the next."""
        return self._index.setdefault(word, len(self._index))

    def numbers(self, words: Sequence[str]) -> Int32[np.ndarray, " w"]:
        """The numbers of several words."""
        return np.array([self.number(word) for word in words], np.int32)

    def in_order(self, recording: Recording) -> Recording:
        """A recording with these words, those that came by chance sorted.

        They are sorted by length first, so that numbers stand in their order.
        """
        words = list(self._index)
        rest = sorted(words[self._n_fixed :], key=lambda word: (len(word), word))
        names = (*words[: self._n_fixed], *rest)
        if names == tuple(words):
            return replace(recording, names=names)
        place = {name: i for i, name in enumerate(names)}
        table = np.array([place[word] for word in words], np.int32)
        truth = recording.truth
        return replace(
            recording,
            names=names,
            answers=tuple(relabelled(one, table) for one in recording.answers),
            truth=None if truth is None else relabelled(truth, table),
        )


def text_of(file: Path) -> str:
    """The text of a UTF-8 file.

    Raises:
        DataError: it cannot be read, or holds no UTF-8.
    """
    try:
        return documents.read_text(file, max_bytes=documents.MAX_DATA_BYTES)
    except (OSError, ValueError) as error:
        message = f"{file} cannot be read as text: {error}"
        raise DataError(message, "check that it is there, and is UTF-8") from error


def json_of(file: Path, what: str) -> Any:
    """What a JSON file holds.

    Raises:
        DataError: it cannot be read, or holds no JSON.
    """
    try:
        return documents.parse_json(text_of(file))
    except ValueError as error:
        message = f"expected {what} in {file}, found no JSON: {error}"
        raise DataError(message, "write or download the file again") from error


def relabelled(answers: Answers, table: Int32[np.ndarray, " k"]) -> Answers:
    """Answers whose label ``l`` is ``table[l]``."""
    return replace(answers, labels=table[answers.labels])


def prices_from(
    providers: Sequence[str],
    found: Mapping[str, float],
    given: Mapping[str, float] | None,
    default: float | None,
    place: str,
) -> Float64[np.ndarray, " p"]:
    """The price of a call of each provider: given, or found, or the default.

    Raises:
        DataError: one has none, or a price is given for nobody.
    """
    given = given or {}
    if strange := [name for name in given if name not in providers]:
        message = f"a price is given for {strange[0]}, whom {place} does not have"
        raise DataError(message, f"providers are {', '.join(providers)}")
    prices = [given.get(name, found.get(name, default)) for name in providers]
    lacking = [n for n, price in zip(providers, prices, strict=True) if price is None]
    if lacking:
        message = f"{', '.join(lacking)} have no price in {place}"
        raise DataError(message, "give their price of a call in USD")
    return np.array(prices, np.float64)
