"""Topics and topic filters of MQTT: what matches, covers and overlaps what.

MQTT 5.0 (OASIS, 2019), section 4.7. A filter whose first level is a wildcard matches no
topic that begins with ``$``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable

LONGEST_TOPIC = 65_535
"""Bytes of UTF-8 in a topic or a filter, at most."""

_SHARED = "$share/"


def is_filter(text: str) -> bool:
    """Whether a text is a topic filter."""
    if not text or "\0" in text or len(text.encode()) > LONGEST_TOPIC:
        return False
    levels = text.split("/")
    return "#" not in "".join(levels[:-1]) and all(
        level in {"+", "#"} or not {"+", "#"} & set(level) for level in levels
    )


def check_filter(text: str) -> None:
    """Refuse what cannot be forwarded.

    Raises:
        DataError: it is no filter, or a shared subscription.
    """
    if not is_filter(text):
        message = f"expected a topic filter of MQTT, found {text!r}"
        hint = "+ stands for one whole level, # for all that follow, at the end"
        raise DataError(message, hint)
    if text.startswith(_SHARED) or text == _SHARED.rstrip("/"):
        message = (
            f"{text}: a shared subscription gives a bridge only a part of the "
            "messages, no retained ones, and no protection from its own"
        )
        plain = text.removeprefix(_SHARED).partition("/")[2] or "iot/#"
        raise DataError(message, f"name the filter itself: {plain!r}")


def matches(pattern: str, topic: str) -> bool:
    """Whether a topic belongs to a filter."""
    return covers(pattern, topic)


def covers(wide: str, narrow: str) -> bool:
    """Whether a filter matches all topics that another one does."""
    ours, theirs = wide.split("/"), narrow.split("/")
    if ours[0] in {"+", "#"} and theirs[0].startswith("$"):
        return False
    for index, level in enumerate(ours):
        if level == "#":
            return True
        if index == len(theirs) or theirs[index] == "#":
            return False
        if level not in {"+", theirs[index]}:
            return False
    return len(ours) == len(theirs)


def overlap(one: str, other: str) -> bool:
    """Whether some topic belongs to both filters."""
    ours, theirs = one.split("/"), other.split("/")
    wild, named = {"+", "#"}, (ours[0], theirs[0])
    if wild & set(named) and any(level.startswith("$") for level in named):
        return False
    for left, right in zip(ours, theirs, strict=False):
        if "#" in {left, right}:
            return True
        if left != right and "+" not in {left, right}:
            return False
    rest = ours[len(theirs) :] or theirs[len(ours) :]
    return rest in ([], ["#"])


def overlap_any(some: Iterable[str], others: Iterable[str]) -> tuple[str, str] | None:
    """The first pair of two sets of filters that has a topic in common."""
    listed = list(others)
    return next(((a, b) for a in some for b in listed if overlap(a, b)), None)


def needed(filters: Iterable[str]) -> list[str]:
    """Filters that match the same without those that others cover."""
    listed = list(dict.fromkeys(filters))
    return [
        one
        for one in listed
        if not any(other != one and covers(other, one) for other in listed)
    ]


def renamed(topic: str, begin: str, instead: str) -> str:
    """A topic whose begin is replaced; any other one as it is.

    Of ``a/`` and ``b/``, the topic ``a`` becomes ``b``: ``a/#`` matches it too.
    """
    if topic.startswith(begin):
        return instead + topic.removeprefix(begin)
    return instead.removesuffix("/") if topic + "/" == begin else topic


def renamed_filter(name: str, begin: str, instead: str) -> str:
    """A filter that has all topics of another one after they were renamed."""
    if name.startswith(begin):
        rest = name.removeprefix(begin)
        if rest[:1] in {"+", "#"} and instead and not instead.endswith("/"):
            return instead.rpartition("/")[0] + "/#" if "/" in instead else "#"
        return instead + rest
    levels = name.split("/")
    is_partly = {"+", "#"} & set(levels) and overlap(name, begin.rstrip("/") + "/#")
    return "#" if is_partly else renamed(name, begin, instead)
