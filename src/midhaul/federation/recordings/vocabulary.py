"""Providers' words in one label set: what means the same class, and what means none.

A word and the entries of a table meet in one spelling: small letters and digits alone,
so that *Wine Glass*, ``wine_glass``, *wine-glass* and *wineglass* are one. A word that
is not there is looked up once more without the ending of a plural. Several words may
mean one label; no word means two.
"""

from __future__ import annotations

import difflib
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np

from midhaul import documents
from midhaul.errors import DataError
from midhaul.vision.data.names import word_forms, word_key, word_parts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from jaxtyping import Int32

UNKNOWN = -1
"""Index of a word that nobody declared."""

IGNORED = -2
"""Index of a word that was declared to mean none of the labels."""

ShippedTable = Literal["coco80", "voc20"]
"""Synonym tables that come with midhaul."""

Overrides = dict[str, dict[str, str | None]]
"""By provider, what some of its words mean: a name, or None for none of them."""

_KEYS = frozenset(
    {
        "extends",
        "names",
        "synonyms",
        "ignored",
        "ignores_others",
        "synsets",
        "reviewed",
        "providers",
    }
)
_NEAR = 0.75
_TABLES = "synonyms"


class Vocabulary:
    """One label set and the words that mean its labels.

    Args:
        names: the label set; each name means itself.
        synonyms: other words by name.
        ignored: words that mean none of the names, and are no news.
        overrides: what some words mean when a certain provider says them, before
            everything else.
        ignores_others: whether all words that are nowhere mean none of the names, and
            are no news either.

    Raises:
        DataError: a word is there for two names, or a target is no name.
    """

    def __init__(
        self,
        names: Iterable[str],
        synonyms: Mapping[str, Sequence[str]] | None = None,
        ignored: Iterable[str] = (),
        overrides: Mapping[str, Mapping[str, str | None]] | None = None,
        *,
        ignores_others: bool = False,
    ) -> None:
        self.ignores_others = ignores_others
        self.names = tuple(names)
        self.synonyms = {name: tuple(words) for name, words in (synonyms or {}).items()}
        self.ignored = tuple(ignored)
        self.overrides: Overrides = {p: dict(w) for p, w in (overrides or {}).items()}
        self._index = {name: i for i, name in enumerate(self.names)}
        self._places: dict[str, int] = {}
        for name in self.names:
            self._put(self._places, name, name)
        for name, words in self.synonyms.items():
            for word in words:
                self._put(self._places, word, name)
        for word in self.ignored:
            self._put(self._places, word, None)
        self._own_places: dict[str, dict[str, int]] = {}
        for provider, meanings in self.overrides.items():
            own = self._own_places.setdefault(provider, {})
            for word, name in meanings.items():
                self._put(own, word, name)

    def find(self, word: str, provider: str = "") -> int:
        """The index of the name that a word means.

        Args:
            word: as a provider wrote it.
            provider: whose word it is, for overrides.

        Returns:
            An index into ``names``, or UNKNOWN, or IGNORED.
        """
        forms = word_forms(word)
        for places in (self._own_places.get(provider), self._places):
            if places is not None:
                for form in forms:
                    if form in places:
                        return places[form]
        return IGNORED if self.ignores_others else UNKNOWN

    def table(
        self, words: Sequence[str], provider: str = ""
    ) -> Int32[np.ndarray, " w"]:
        """The index of each word, as :meth:`find` has it."""
        return np.array([self.find(word, provider) for word in words], np.int32)

    def suggestions(self, word: str, n: int = 3) -> tuple[str, ...]:
        """Names that an unknown word may have meant, the nearest first.

        Nearness is one of spelling, of the whole or of a part: *vintage car* has the
        part *car*, *tennis racket* the part *racket*. What it means, can
        :mod:`midhaul.federation.wordnet` tell.
        """
        spoken = word_key(word)
        parts = {form for part in word_parts(word) for form in word_forms(part)}
        found: dict[str, float] = {}
        for key, place in self._places.items():
            if place >= 0:
                near = difflib.SequenceMatcher(None, spoken, key).ratio()
                name = self.names[place]
                if key in parts or spoken in word_parts(name):
                    near = 1.0
                if near >= _NEAR:
                    found[name] = max(near, found.get(name, 0.0))
        return tuple(sorted(found, key=lambda name: (-found[name], name))[:n])

    def with_overrides(
        self, overrides: Mapping[str, Mapping[str, str | None]]
    ) -> Vocabulary:
        """The same with more of what certain providers mean otherwise."""
        merged = dict(self.overrides)
        for provider, words in overrides.items():
            new = {word_key(word) for word in words}
            old = self.overrides.get(provider, {})
            kept = {w: name for w, name in old.items() if word_key(w) not in new}
            merged[provider] = {**kept, **words}
        return Vocabulary(
            self.names,
            self.synonyms,
            self.ignored,
            merged,
            ignores_others=self.ignores_others,
        )

    def renamed(self, names: Sequence[str]) -> Vocabulary:
        """The same words for a label set that spells, orders or picks names otherwise.

        Words of names that are left out are ignored from then on: that they mean
        another class is known.

        Args:
            names: each must mean a name of this vocabulary, no two the same.

        Raises:
            DataError: one does not.
        """
        places = [self.find(name) for name in names]
        for name, place in zip(names, places, strict=True):
            if place < 0 or places.count(place) > 1:
                message = (
                    f"{name!r} means no label of the vocabulary, or is there twice"
                )
                raise DataError(message, f"labels are {', '.join(self.names)}")
        new = {self.names[p]: name for p, name in zip(places, names, strict=True)}
        left_out = [name for name in self.names if name not in new]
        gone = [word for name in left_out for word in self.synonyms.get(name, ())]
        return Vocabulary(
            names,
            {n: (old, *self.synonyms.get(old, ())) for old, n in new.items()},
            (*self.ignored, *left_out, *gone),
            {
                provider: {
                    word: None if name is None else new.get(name)
                    for word, name in meanings.items()
                }
                for provider, meanings in self.overrides.items()
            },
            ignores_others=self.ignores_others,
        )

    def _put(self, places: dict[str, int], word: str, name: str | None) -> None:
        if name is not None and name not in self._index:
            message = f"{word!r} is to mean {name!r}, which is no label"
            raise DataError(message, f"labels are {', '.join(self.names)}")
        place = IGNORED if name is None else self._index[name]
        key = word_key(word)
        if not key:
            message = f"the vocabulary has the word {word!r}, without letter or digit"
            raise DataError(message, "remove it")
        if places.setdefault(key, place) != place:
            other = places[key]
            first = "no label" if other < 0 else repr(self.names[other])
            message = f"the word {word!r} is there for {first} and for {name!r}"
            raise DataError(message, "a word means one label, or none")


def read_vocabulary(source: ShippedTable | Path) -> Vocabulary:
    """Read a synonym table.

    Args:
        source: a table that comes with midhaul, or a TOML file of the same form:
            ``names``, ``ignored`` words, a table ``synonyms`` with a list of words for
            each name, and ``providers.NAME`` with words that this provider means
            otherwise (an empty text: none of the names). With ``ignores_others =
            true``, words that are nowhere are ignored. With ``extends``, a table that
            comes with midhaul, for the names that are given.

    Raises:
        DataError: the file is missing, no such table, or contradicts itself.
    """
    place, table = read_table(source)
    synonyms = {
        name: _texts(words, f"{place}: synonyms of {name}")
        for name, words in _section(table, "synonyms", place).items()
    }
    overrides: Overrides = {}
    for provider, words in _section(table, "providers", place).items():
        pairs = _section({provider: words}, provider, place)
        overrides[provider] = {word: str(name) or None for word, name in pairs.items()}
    names = _texts(table.get("names"), f"{place}: names")
    ignored = _texts(table.get("ignored", []), f"{place}: ignored")
    ignores_others = table.get("ignores_others", False)
    if not isinstance(ignores_others, bool):
        message = f"{place}: ignores_others must be true or false"
        raise DataError(message, "correct it")
    if "extends" not in table:
        return Vocabulary(
            names, synonyms, ignored, overrides, ignores_others=ignores_others
        )
    base = read_vocabulary(table["extends"]).renamed(names)
    own = {word_key(word) for words in synonyms.values() for word in words}
    return Vocabulary(
        names,
        {n: (*base.synonyms.get(n, ()), *synonyms.get(n, ())) for n in names},
        (*(word for word in base.ignored if word_key(word) not in own), *ignored),
        base.overrides,
        ignores_others=ignores_others,
    ).with_overrides(overrides)


def read_table(source: ShippedTable | Path) -> tuple[str, dict[str, Any]]:
    """A synonym table as it is written, and how to call it in messages.

    DataError where there is no such table.
    """
    place, table = _load(source)
    if unknown := sorted(set(table) - _KEYS):
        known = ", ".join(sorted(_KEYS))
        message = f"{place} has the key {unknown[0]!r}, known are {known}"
        raise DataError(message, "correct its name")
    return place, table


def _load(source: ShippedTable | Path) -> tuple[str, dict[str, Any]]:
    try:
        if isinstance(source, Path):
            return str(source), documents.parse_toml(documents.read_text(source))
        if source not in get_args(ShippedTable):
            raise FileNotFoundError(source)
        folder = resources.files("midhaul.federation.recordings").joinpath(_TABLES)
        text = folder.joinpath(f"{source}.toml").read_text(encoding="utf-8")
        return f"the table {source}", documents.parse_toml(text)
    except OSError as error:
        shipped = ", ".join(get_args(ShippedTable))
        message = f"no vocabulary in {source}"
        raise DataError(message, f"give a TOML file, or one of {shipped}") from error
    except ValueError as error:
        message = f"{source} cannot be read as TOML: {error}"
        raise DataError(message, "correct the file") from error


def _section(table: Mapping[str, Any], key: str, place: str) -> dict[str, Any]:
    value = table.get(key, {})
    if not isinstance(value, dict):
        message = f"{place}: {key} must be a table, found {value!r}"
        raise DataError(message, "see how a synonym table is written")
    return cast("dict[str, Any]", value)


def _texts(value: object, place: str) -> tuple[str, ...]:
    entries = cast("list[object]", value) if isinstance(value, list) else None
    if entries is None or not all(isinstance(entry, str) for entry in entries):
        message = f"{place} must be a list of texts, found {value!r}"
        raise DataError(message, "see how a synonym table is written")
    return tuple(str(entry) for entry in entries)
