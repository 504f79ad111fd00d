"""On which line of a TOML text each key stands."""

from __future__ import annotations

import re
import tomllib
from typing import Any, cast

_HEADER = re.compile(r"\s*(\[\[?)\s*(.+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(
    r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*="""
)

_MAX_PARSED = 5_000_000
"""Characters that are parsed again to see where values end."""

Place = tuple[str | int, ...]


def key_lines(text: str) -> dict[Place, int]:
    """Line numbers, from 1, of the keys of a valid TOML text.

    Keys inside of inline tables are not listed; look for the key that holds them.
    Entries of ``[[lists]]`` are numbered from 0. Of a text that nobody writes by hand
    just the first keys are found.
    """
    found: dict[Place, int] = {}
    counts: dict[Place, int] = {}
    table: Place = ()
    open_value = ""
    n_parsed = 0
    for number, line in enumerate(text.splitlines(), start=1):
        if n_parsed > _MAX_PARSED:
            break
        if open_value:
            open_value = _still_open(f"{open_value}\n{line}")
            n_parsed += len(open_value)
        elif header := _HEADER.match(line):
            table = _table(header, counts)
            found.setdefault(table, number)
        elif key := _KEY.match(line):
            found[table + _steps(key[1])] = number
            open_value = _still_open(line)
    return found


def _still_open(text: str) -> str:
    try:
        tomllib.loads(text)
    except (ValueError, RecursionError):
        return text
    return ""


def _table(header: re.Match[str], counts: dict[Place, int]) -> Place:
    place: Place = ()
    steps = _steps(header[2])
    for step in steps[:-1]:
        place = (*place, step)
        if place in counts:
            place = (*place, counts[place])
    place = (*place, steps[-1])
    if header[1] == "[[":
        counts[place] = counts.get(place, -1) + 1
        return (*place, counts[place])
    return place


def _steps(key: str) -> tuple[str, ...]:
    node: Any = tomllib.loads(f"{key} = 0")
    steps: list[str] = []
    while isinstance(node, dict):
        (step, node), *_ = cast("dict[str, Any]", node).items()
        steps.append(step)
    return tuple(steps)
