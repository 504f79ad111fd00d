"""What pydantic found wrong, in words that help to mend it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from midhaul.errors import ConfigError, suggestion
from midhaul.runs import schema

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic import BaseModel, ValidationError
    from pydantic_core import ErrorDetails

    Place = tuple[str | int, ...]

_CHOICE = re.compile(r"'([^']*)'")
_LONGEST = 60
_MOST = 20
"""Mistakes that are told; whoever has more of them mends these first."""
_WORDS = {
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid string": "a text",
    "a valid boolean": "true or false",
    "a valid array": "a list",
    "a valid dictionary": "a table",
    "an object": "a table",
    "expected greater": "expected a value greater",
    "expected less": "expected a value less",
}
"""Pydantic's words and those of an experiment file."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake of an experiment file.

    Attributes:
        place: dotted key.
        line: its line in the file; None where it is not in the file.
        text: what is wrong with it.
    """

    place: str
    line: int | None
    text: str

    def __str__(self) -> str:
        """Line, key and text."""
        line = f"line {self.line}, " if self.line is not None else ""
        return f"{line}{self.place}: {self.text}" if self.place else line + self.text


def config_error(title: str, found: Sequence[Mistake], kind: object) -> ConfigError:
    """All mistakes of a config at once."""
    count = "a mistake" if len(found) == 1 else f"{len(found)} mistakes"
    listed = "".join(f"\n  {mistake}" for mistake in found)
    name = kind if isinstance(kind, str) else "KIND"
    hint = f"midhaul new {name} prints every key"
    return ConfigError(f"{title} has {count}:{listed}", hint)


def mistakes(
    model: type[BaseModel],
    error: ValidationError,
    values: object,
    lines: Mapping[Place, int],
) -> list[Mistake]:
    """One mistake per place, in the order of the file.

    The values tell keys from the names of union members; lines are those of each key.
    """
    texts: dict[Place, list[str]] = {}
    n_more = 0
    details = error.errors(include_url=False)
    for detail in details:
        if _follows(detail, details):
            continue
        place = _place(detail["loc"], values, is_missing=detail["type"] == "missing")
        if place not in texts and len(texts) >= _MOST:
            n_more += 1
            continue
        said = texts.setdefault(place, [])
        text = _text(model, detail, place)
        if text not in said:
            said.append(text)
    found = [
        Mistake(
            _shortened(".".join(map(str, place))),
            _line(place, lines),
            ", or ".join(said),
        )
        for place, said in texts.items()
    ]
    found = sorted(found, key=lambda m: (m.line is None, m.line or 0))
    return [*found, Mistake("", None, f"and {n_more:,} more")] if n_more else found


def _follows(detail: ErrorDetails, details: Sequence[ErrorDetails]) -> bool:
    """Whether a list is short only because its entries have mistakes of their own."""
    loc = detail["loc"]
    return detail["type"] == "too_short" and any(
        len(one["loc"]) > len(loc) and one["loc"][: len(loc)] == loc for one in details
    )


def _place(loc: Place, values: Any, *, is_missing: bool) -> Place:
    """The place of an error without the names of union members."""
    place: list[str | int] = []
    for index, step in enumerate(loc):
        is_last = index + 1 == len(loc)
        if isinstance(values, dict) and (step in values or (is_last and is_missing)):
            values = cast("dict[Any, Any]", values).get(step)
        elif isinstance(values, list) and isinstance(step, int):
            values = cast("list[Any]", values)[step]
        else:
            continue
        place.append(step)
    return tuple(place)


def _line(place: Place, lines: Mapping[Place, int]) -> int | None:
    for length in range(len(place), 0, -1):
        if (line := lines.get(place[:length])) is not None:
            return line
    return None


def _text(model: type[BaseModel], detail: ErrorDetails, place: Place) -> str:
    message, kind, found = detail["msg"], detail["type"], detail["input"]
    if kind == "missing":
        return "this key is required"
    if kind == "extra_forbidden":
        owners = schema.models_at(model, place[:-1])
        known = [name for owner in owners for name in owner.model_fields]
        near = suggestion(str(place[-1]), known)
        return "unknown key" + (
            near or f", known are {', '.join(dict.fromkeys(known))}"
        )
    if kind in {"value_error", "assertion_error"}:
        return message.partition(", ")[2]
    if kind == "string_pattern_mismatch":
        pattern = detail.get("ctx", {}).get("pattern", "")
        return f"expected a text like {pattern}, found {_shown(found)}"
    text = message.replace("Input should be ", "expected ")
    for theirs, ours in _WORDS.items():
        text = text.replace(theirs, ours)
    return f"{text}, found {_shown(found)}{_nearest(detail, found)}"


def _nearest(detail: ErrorDetails, found: object) -> str:
    context = detail.get("ctx", {})
    if detail["type"] == "literal_error":
        return suggestion(str(found), _choices(context.get("expected", "")))
    if detail["type"] == "union_tag_invalid":
        tag = str(context.get("tag", ""))
        return suggestion(tag, _choices(context.get("expected_tags", "")))
    return ""


def _choices(text: str) -> Sequence[str]:
    return _CHOICE.findall(text)


def _shown(value: object) -> str:
    if isinstance(value, dict | list) and len(value) > _LONGEST:
        size = len(cast("dict[Any, Any] | list[Any]", value))
        return f"{'a table' if isinstance(value, dict) else 'a list'} of {size:,}"
    return _shortened(json.dumps(value, default=str, ensure_ascii=False))


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
