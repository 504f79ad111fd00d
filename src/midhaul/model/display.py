"""How values show themselves: repr on a terminal, a small HTML table in a notebook.

Arrays are shown by type and shape, and what is long by its length, so that looking at a
value never takes longer than the value itself.
"""

from __future__ import annotations

import dataclasses
import html
import math
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST_ROWS = 10
"""Rows of a table that are shown; how many more there are is said below it."""

_LONGEST = 60
_TINY, _HUGE = 1e-3, 1e12
"""Beyond them numbers have an exponent."""
_MOST_ITEMS = 3
_FIELD = (
    "padding:.15em .8em .15em 0;border:0;background:none;vertical-align:top;"
    "white-space:nowrap;"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Display:
    """What is shown of a value.

    Attributes:
        text: what it is, in a line without its class.
        columns: headings of the table; no table where there are none.
        rows: its first rows, at most :data:`MOST_ROWS` are shown.
        n_rows: how many rows there are in all; as many as ``rows`` by default.
        remarks: what must stand beside it, a sentence each.
    """

    text: str
    columns: tuple[str, ...] = ()
    rows: Sequence[Sequence[object]] = ()
    n_rows: int | None = None
    remarks: tuple[str, ...] = ()

    def html(self, title: str) -> str:
        """The same as HTML that needs no style of its own and has no colours."""
        head = f"<b>{html.escape(title)}</b> {html.escape(self.text)}"
        parts = [f'<div style="overflow-wrap:anywhere">{head}</div>']
        if self.columns:
            parts.append(self._table())
        parts += [
            f'<div style="overflow-wrap:anywhere">{html.escape(text)}</div>'
            for text in self.remarks
        ]
        return f'<div style="margin:.4em 0">{"".join(parts)}</div>'

    def _table(self) -> str:
        shown = self.rows[:MOST_ROWS]
        is_number = [
            all(isinstance(row[i], int | float | np.number) for row in shown)
            for i in range(len(self.columns))
        ]
        sides = ["right" if number else "left" for number in is_number]
        heads = (
            f"{_cell('th', c, s)}" for c, s in zip(self.columns, sides, strict=True)
        )
        body = "".join(
            "<tr>"
            + "".join(_cell("td", short(v), s) for v, s in zip(row, sides, strict=True))
            + "</tr>"
            for row in shown
        )
        n_more = (len(self.rows) if self.n_rows is None else self.n_rows) - len(shown)
        more = f"<div>and {n_more:,} more</div>" if n_more > 0 else ""
        return (
            '<div style="overflow-x:auto"><table style="border-collapse:collapse;'
            'border:0;font-variant-numeric:tabular-nums;margin:.3em 0">'
            f"<thead><tr>{''.join(heads)}</tr></thead><tbody>{body}</tbody></table>"
            f"</div>{more}"
        )


class Shown:
    """A value that shows itself in a line, and as a small table in a notebook.

    A dataclass that has it says ``repr=False``. What it shows is made of its fields,
    unless it says something better in ``_display``.
    """

    __slots__ = ()

    def _display(self) -> Display:
        """What is shown; its fields by default."""
        fields = dataclasses.fields(cast("Any", self))
        pairs = [(f.name, getattr(self, f.name)) for f in fields if f.repr]
        text = ", ".join(
            f"{name}={short(value, is_code=True)}" for name, value in pairs
        )
        return Display(text=text)

    def _line(self) -> str:
        """What it is, in a line; overridden where the table takes time."""
        return self._display().text

    def __repr__(self) -> str:
        """The class and what it holds, in a line."""
        return f"{type(self).__name__}({self._line()})"

    def _repr_html_(self) -> str:
        """The same with a table, for a notebook."""
        return self._display().html(type(self).__name__)


def short(value: object, *, is_code: bool = False) -> str:
    """A value in a few words: numbers with four digits, arrays by their shapes.

    Code has texts in quotes and None as such, as a repr does.
    """
    if value is None or isinstance(value, bool | np.bool_):
        words = {None: "–", True: "yes", False: "no"}
        known = value if value is None else bool(value)
        return str(known) if is_code else words[known]
    for kinds, show in _WAYS:
        if isinstance(value, kinds):
            return show(value, is_code)
    if callable(value):
        return f"<{getattr(value, '__qualname__', type(value).__name__)}>"
    return _cut(repr(value))


def array_text(array: np.ndarray) -> str:
    """Type and shape of an array: ``float32 (12, 4)``."""
    shape = f"({', '.join(f'{n:,}' for n in array.shape)})"
    return f"{array.dtype} {shape}"


def number(value: float) -> str:
    """A number with four significant digits, and all of those before the point."""
    if math.isnan(value):
        return "-"
    if value and (abs(value) >= _HUGE or abs(value) < _TINY):
        return f"{value:.3e}"
    if abs(value) >= 1000:  # noqa: PLR2004  more digits before the point than kept
        return f"{value:,.0f}"
    return f"{value:.4g}"


def counted(n: int, one: str, many: str = "") -> str:
    """``1 box``, ``5,000 images``."""
    return f"{n:,} {one if n == 1 else many or f'{one}s'}"


def listed(names: Iterable[str], most: int = _MOST_ITEMS) -> str:
    """The first few of many names, and how many more there are."""
    known = list(names)
    n_more = len(known) - most
    shown = ", ".join(known[:most])
    return f"{shown} and {n_more:,} more" if n_more > 0 else shown


def _text(value: str, is_code: bool) -> str:  # noqa: FBT001  as all in _WAYS
    return repr(_cut(value)) if is_code else _cut(value)


def _float(value: Any, is_code: bool) -> str:  # noqa: FBT001
    text = number(float(value))
    return text.replace(",", "") if is_code else text


def _integer(value: Any, is_code: bool) -> str:  # noqa: FBT001
    return str(value) if is_code else f"{value:,}"


def _many(value: Any, is_code: bool) -> str:  # noqa: FBT001
    """A short collection as it is, a long one by its length."""
    held: Any = value.values() if isinstance(value, Mapping) else value
    if len(value) > _MOST_ITEMS or not all(map(_is_plain, held)):
        return f"<{counted(len(value), 'entry', 'entries')}>"
    if is_code or isinstance(value, Mapping):
        return _cut(repr(value))
    return _cut(", ".join(short(one) for one in value))


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, str | int | float | np.number)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


_WAYS: tuple[tuple[Any, Callable[[Any, bool], str]], ...] = (
    (float | np.floating, _float),
    (int | np.integer, _integer),
    (str, _text),
    (np.ndarray, lambda value, _: array_text(value)),
    (Shown, lambda value, _: repr(value)),
    (bytes | bytearray, lambda value, _: f"{len(value):,} bytes"),
    ((Mapping, Sequence, AbstractSet), _many),
)
"""What is shown how, the first that fits."""


def _cell(tag: str, text: str, side: str) -> str:
    return f'<{tag} style="{_FIELD}text-align:{side}">{html.escape(text)}</{tag}>'
