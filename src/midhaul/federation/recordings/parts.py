"""Parts of recordings: what all readers of recorded answers put one together from.

*Items*: an answer says which one it is about by its id, or by the file that it is in.

Programs name an image by its id in the annotations, by its file (with folder and suffix
or without), or by the number in the file's name. One of these holds for all answers of
a provider: the one that finds the most items, ids before all others. Nothing is taken
that two items share.

*Labels* of answers may be the truth's in another spelling, or by another name.

Without a vocabulary, words mean themselves. What differs from a word of the truth in
capitals, spaces or hyphens alone is that word all the same. What the tables that come
with midhaul call a synonym is only counted: whether the tables hold, is the caller's to
say.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from midhaul import documents
from midhaul.errors import DataError
from midhaul.federation.recordings.vocabulary import read_vocabulary
from midhaul.vision.data.names import word_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from jaxtyping import Float32, Float64, Int32, Int64

    from midhaul.federation.recordings.findings import FindingCounter, Reason
    from midhaul.federation.recordings.problem import Answers, Recording
    from midhaul.model import Tally

_SUFFIXES = {"jpg", "jpeg", "png", "bmp", "gif", "tif", "tiff", "webp", "json", "txt"}
_SHOWN = 3


class ItemIndex:
    """The items of a truth, to be found by what answers call them.

    ``files`` are those that each is in; none where only ids are known.
    """

    def __init__(self, items: Sequence[str], files: Sequence[str] = ()) -> None:
        self._items = tuple(items)
        spoken = tuple(files) or self._items
        self._ways: tuple[tuple[Callable[[str], str], Mapping[str, int]], ...] = (
            (str, {item: i for i, item in enumerate(items)}),
            (_stem, _by_unique_name(_stem(name) for name in spoken)),
            (_number, _by_unique_name(_number(name) for name in spoken)),
        )

    def find(
        self, said: Sequence[str], provider: str, tally: FindingCounter
    ) -> Int64[np.ndarray, " m"]:
        """The item of each entry by what it calls it; -1, and counted, without."""
        counts = Counter(said)
        found = [
            {one: way.get(key(one), -1) for one in counts} for key, way in self._ways
        ]
        n_found = [sum(place >= 0 for place in one.values()) for one in found]
        best = n_found.index(max(n_found))
        places = found[best]
        if best:
            mended = [one for one in counts if places[one] >= 0]
            count = sum(counts[one] for one in mended)
            shown = [f"{one} as {self._items[places[one]]}" for one in mended[:_SHOWN]]
            tally.add(provider, "item found by its file", count, shown, of=len(said))
        strange = [one for one in counts if places[one] < 0]
        n_strange = sum(counts[one] for one in strange)
        tally.see(provider, entries=n_strange)
        tally.add(
            provider, "item not in the truth", n_strange, strange[:_SHOWN], of=len(said)
        )
        return np.array([places[one] for one in said], np.int64)


def demand_items(
    places: Sequence[Int64[np.ndarray, " m"]],
    *,
    said: Iterable[str],
    items: Sequence[str],
    file: str,
) -> None:
    """Demand that some answer is about an item (its place is not -1).

    Else DataError.
    """
    if any(map(len, places)) and all((one < 0).all() for one in places):
        message = (
            f"no answer in {file} is about an item of the truth: answers are about "
            f"{', '.join(list(dict.fromkeys(said))[:_SHOWN])}; the truth has "
            f"{', '.join(items[:_SHOWN])}"
        )
        raise DataError(message, "give answers and truth of the same items")


def _stem(name: str) -> str:
    """The name of a file without its folder and suffix."""
    last = PurePosixPath(name.strip().replace("\\", "/")).name
    stem, dot, suffix = last.rpartition(".")
    return stem if dot and stem and suffix.casefold() in _SUFFIXES else last


def _number(name: str) -> str:
    """The number that the name of a file is; the name where it is none."""
    stem = _stem(name).removesuffix(".0")
    return stem.lstrip("0") or "0" if stem.isascii() and stem.isdecimal() else stem


def _by_unique_name(keys: Iterable[str]) -> dict[str, int]:
    """The place of each key that comes once."""
    listed = list(keys)
    counts = Counter(listed)
    return {key: i for i, key in enumerate(listed) if counts[key] == 1}


_Key = TypeVar("_Key", str, int)


def match_labels(recording: Recording, *, tally: FindingCounter) -> Recording:
    """Take labels for those of the truth that are spelled alike; count others."""
    if recording.truth is None or not len(recording.truth.labels):
        return recording
    names = recording.names
    true = np.unique(recording.truth.labels).tolist()
    spelled = _unique((word_key(names[label]), label) for label in true)
    answers: list[Answers] = []
    for provider, one in zip(recording.providers, recording.answers, strict=True):
        counts = Counter(one.labels.tolist())
        odd = [label for label, _ in counts.most_common() if label not in set(true)]
        if not odd:
            answers.append(one)
            continue
        table = np.arange(len(names), dtype=np.int32)
        for label in odd:
            meant = spelled.get(word_key(names[label]))
            table[label] = label if meant is None else meant
        synonyms = _synonyms(names, true, odd)
        for label in odd:
            reason: Reason = "label that nothing is"
            example = names[label]
            if table[label] != label:
                reason = "label in another spelling"
                example = f"{example!r} for {names[table[label]]!r}"
            elif label in synonyms:
                reason = "label by another name"
                example = f"{example!r} for {names[synonyms[label]]!r}"
            tally.add(provider, reason, counts[label], [example])
        answers.append(relabelled(one, table))
    return replace(recording, answers=tuple(answers))


def _synonyms(
    names: tuple[str, ...], true: list[int], odd: list[int]
) -> dict[int, int]:
    """The true label that each odd one is another word for, where a table has both."""
    found: dict[int, int] = {}
    for table in ("coco80", "voc20"):
        vocabulary = read_vocabulary(table)
        places = _unique(
            (place, label)
            for label in true
            if (place := vocabulary.find(names[label])) >= 0
        )
        for label in odd:
            place = vocabulary.find(names[label])
            if place in places:
                found.setdefault(label, places[place])
    return found


def _unique(pairs: Iterable[tuple[_Key, int]]) -> dict[_Key, int]:
    """What each key stands for, without those that stand for two things."""
    listed = list(pairs)
    counts = Counter(key for key, _ in listed)
    return {key: value for key, value in listed if counts[key] == 1}


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

    Those given come first, in an order that is kept.
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
    """The text of a UTF-8 file, or DataError."""
    with documents.expected(
        f"{file} cannot be read as text:", "check that it is there, and is UTF-8"
    ):
        return documents.read_text(file, max_bytes=documents.MAX_DATA_BYTES)


def json_of(file: Path, what: str) -> Any:
    """What a JSON file holds, or DataError."""
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

    DataError where one has none, or a price is given for nobody.
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
