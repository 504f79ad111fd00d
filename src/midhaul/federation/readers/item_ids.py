"""Which item an answer is about: by its id, or by the file that the item is in.

Programs name an image by its id in the annotations, by its file (with folder and suffix
or without), or by the number in the file's name. One of these holds for all answers of
a provider: the one that finds the most items, ids before all others. Nothing is taken
that two items share.
"""

from __future__ import annotations

from collections import Counter
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from jaxtyping import Int64

    from midhaul.federation.findings import FindingCounter

_SUFFIXES = {"jpg", "jpeg", "png", "bmp", "gif", "tif", "tiff", "webp", "json", "txt"}
_SHOWN = 3


class ItemIndex:
    """The items of a truth, to be found by what answers call them.

    Args:
        items: their ids.
        files: the file that each of them is in; none where only ids are known.
    """

    def __init__(self, items: Sequence[str], files: Sequence[str] = ()) -> None:
        self._items = tuple(items)
        spoken = tuple(files) or self._items
        self._ways: tuple[tuple[Callable[[str], str], Mapping[str, int]], ...] = (
            (str, {item: i for i, item in enumerate(items)}),
            (_stem, _unique(_stem(name) for name in spoken)),
            (_number, _unique(_number(name) for name in spoken)),
        )

    def find(
        self, said: Sequence[str], provider: str, tally: FindingCounter
    ) -> Int64[np.ndarray, " m"]:
        """``(m,)`` the item of each entry of a provider; -1 where there is none.

        Args:
            said: ``(m,)`` what each entry calls its item.
            provider: whose entries; those without an item are counted as its.
            tally: where.
        """
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
    """Demand that some answer is about an item.

    Args:
        places: of each provider's entries, -1 where there is no item.
        said: what answers call their items.
        items: ids of the truth.
        file: where the answers are.

    Raises:
        DataError: there are answers, and none is.
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


def _unique(keys: Iterable[str]) -> dict[str, int]:
    """The place of each key that comes once."""
    listed = list(keys)
    counts = Counter(listed)
    return {key: i for i, key in enumerate(listed) if counts[key] == 1}
