"""Label sets: read, matched by spelling, and detections brought to a data set's own."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import DataError
from midhaul.model import Detections
from midhaul.vision.data.files import read_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_IRREGULAR = {
    "people": "person",
    "men": "man",
    "women": "woman",
    "children": "child",
    "mice": "mouse",
    "geese": "goose",
    "oxen": "ox",
}
_SHORTEST = 2


def word_key(word: str) -> str:
    """The spelling in which words meet: letters and digits alone, small, no accents."""
    if not word.isascii():
        word = unicodedata.normalize("NFKD", word)
    return "".join(filter(str.isalnum, word.casefold()))


def word_forms(word: str) -> tuple[str, ...]:
    """The key of a word, then keys of what it may be the plural of."""
    key = word_key(word)
    forms = [key]
    for plural, singular in _IRREGULAR.items():
        if key.endswith(plural):
            forms.append(key.removesuffix(plural) + singular)
    if key.endswith("ies"):
        forms.append(key[:-3] + "y")
    if key.endswith("ves"):
        forms += [key[:-3] + "f", key[:-3] + "fe"]
    if key.endswith("es"):
        forms.append(key[:-2])
    if key.endswith("s") and not key.endswith("ss"):
        forms.append(key[:-1])
    return (key, *(form for form in forms[1:] if len(form) >= _SHORTEST))


def word_parts(word: str) -> list[str]:
    """The words of a label of several words, small."""
    return re.findall(r"[^\W_]+", word.casefold())


_SAME = (
    ("airplane", "aeroplane"),
    ("bicycle", "bike"),
    ("car", "automobile"),
    ("cell phone", "mobile phone"),
    ("couch", "sofa"),
    ("donut", "doughnut"),
    ("hair drier", "hair dryer"),
    ("motorcycle", "motorbike"),
    ("refrigerator", "fridge"),
    ("tv", "tv monitor", "television"),
)
"""Names that data sets and models give to the same class; blanks do not count."""
_GROUP = {word_key(n): i for i, group in enumerate(_SAME) for n in group}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NameMatch:
    """Which names of one label set stand for those of another.

    Attributes:
        index: place in the other set of every name that has one there.
        assumed: the names that are written otherwise there, with how.
        missing: names of the other set that none stands for.
    """

    index: Mapping[str, int]
    assumed: Mapping[str, str]
    missing: tuple[str, ...]


def names_given(names: Sequence[str], where: str = "data.names") -> tuple[str, ...]:
    """A label set, checked: not empty, no name twice.

    DataError if it is empty, or a name is repeated.
    """
    cleaned = tuple(n.strip() for n in names)
    if not cleaned or not all(cleaned):
        message = f"{where} must hold at least one name and no empty one"
        raise DataError(message, "give one name per class")
    if repeated := [n for n, count in Counter(cleaned).items() if count > 1]:
        message = f"{where}: {', '.join(repeated[:3])} is there more than once"
        raise DataError(message, "give every class a name of its own")
    return cleaned


def names_from_file(file: Path) -> tuple[str, ...]:
    """A label set from a file with one name per line; blank ends do not count.

    DataError if the file cannot be read or holds no label set.
    """
    return names_given(read_text(file).strip().splitlines(), str(file))


@functools.lru_cache(maxsize=64)
def match_names(known: tuple[str, ...], names: tuple[str, ...]) -> NameMatch:
    """Match the names of one label set with those of another.

    The same text comes first, then the same letters and digits whatever their case and
    what parts them, then the usual synonyms (tv and tvmonitor), then singular and
    plural. A name that stands for two classes, or that would be a second one for a
    class that has its own, stands for none. The label set to be matched is a
    detector's, the one wanted a data set's.
    """
    index: dict[str, int] = {}
    for is_same in (_is_equal, _is_spelled_alike, _is_synonym, _is_plural):
        taken = set(index.values())
        free = [i for i in range(len(names)) if i not in taken]
        found: dict[str, int] = {}
        for name in known:
            if name not in index:
                places = [i for i in free if is_same(name, names[i])]
                if len(places) == 1:
                    found[name] = places[0]
        index |= found
    met = set(index.values())
    return NameMatch(
        index=index,
        assumed={n: names[i] for n, i in index.items() if n != names[i]},
        missing=tuple(n for i, n in enumerate(names) if i not in met),
    )


def map_labels(
    detections: Detections, names: tuple[str, ...]
) -> tuple[Detections, dict[str, int]]:
    """Detections whose label a data set knows, and how many had each other label.

    Labels are matched by name, see :func:`match_names`; the order stays.
    """
    if detections.names == names:
        return detections, {}
    return relabel(detections, match_names(detections.names, names), names)


def relabel(
    detections: Detections, match: NameMatch, names: tuple[str, ...]
) -> tuple[Detections, dict[str, int]]:
    """What :func:`map_labels` does, with names that were matched before."""
    index = match.index
    table = np.array([index.get(n, -1) for n in detections.names], np.int32)
    mapped = table[detections.labels]
    known = mapped >= 0
    unknown = Counter(detections.names[i] for i in detections.labels[~known].tolist())
    kept = Detections(
        boxes=detections.boxes[known],
        scores=detections.scores[known],
        labels=mapped[known],
        names=names,
    )
    return kept, dict(sorted(unknown.items()))


def _is_equal(name: str, other: str) -> bool:
    return name == other


def _is_spelled_alike(name: str, other: str) -> bool:
    return word_key(name) == word_key(other) != ""


def _is_synonym(name: str, other: str) -> bool:
    group = _GROUP.get(word_key(name))
    return group is not None and group == _GROUP.get(word_key(other))


def _is_plural(name: str, other: str) -> bool:
    one, two = word_key(name), word_key(other)
    return bool(one and two) and (one in word_forms(other) or two in word_forms(name))
