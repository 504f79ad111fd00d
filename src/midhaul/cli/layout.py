"""Tables on a terminal: columns where they fit, else a block for each row.

Nothing is ever cut. A table that is wider than the terminal folds the columns that may
be folded at words; where that is not enough, each row becomes a block of lines with
heading and value. Off a terminal a table is TSV: a heading line, numbers in full,
nothing for no value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len, chop_cells

from midhaul.model.display import number

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

GAP = 2
"""Blanks between two columns."""

_LEAST = 14
"""Characters that a folded column has at least."""


def shown(value: object) -> str:
    """A value as a table shows it: four significant digits, thousands apart."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number(value)
    return str(value)


def tsv(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """A table for other programs: parted by tabs, which no cell has."""
    lines = [columns, *([_plain(cell) for cell in row] for row in rows)]
    return ["\t".join(_one_line(cell) for cell in line) for line in lines]


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    width: int | None = None,
    fold: Collection[str] = (),
) -> list[str]:
    """A table in lines of at most ``width``; None for as wide as it is.

    Columns in ``fold`` may be folded at words.
    """
    cells = [[shown(cell) for cell in row] for row in rows]
    widths = [max(map(_width, column)) for column in zip(columns, *cells, strict=True)]
    if width is not None:
        widths = _folded(columns, widths, width, fold)
        if sum(widths) + GAP * (len(widths) - 1) > width:
            return blocks(columns, cells, width)
    is_right = [
        _is_number([row[index] for row in rows]) for index in range(len(columns))
    ]
    rule = ["─" * one for one in widths]
    lines = [*_row(columns, widths, is_right), *_row(rule, widths, is_right)]
    for row in cells:
        lines += _row(row, widths, is_right)
    return lines


def aligned(rows: Sequence[Sequence[str]], width: int) -> list[list[str]]:
    """The lines of each row, in columns without headings; the first may be folded.

    Where the last column has no room, it is left out.
    """
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    if sum(widths) + GAP * (len(widths) - 1) > width and len(widths) > 2:  # noqa: PLR2004  name and value stay
        rows, widths = [row[:-1] for row in rows], widths[:-1]
    heads = [str(index) for index in range(len(widths))]
    widths = _folded(heads, widths, width, {heads[0]})
    return [_row(row, widths, [False] * len(widths)) for row in rows]


def blocks(
    columns: Sequence[str], cells: Sequence[Sequence[str]], width: int
) -> list[str]:
    """A block for each row: a line with heading and value for each column."""
    key = max((_width(column) for column in columns), default=0)
    lines: list[str] = []
    for row in cells:
        if lines:
            lines.append("")
        for column, cell in zip(columns, row, strict=True):
            room = max(_LEAST, width - key - GAP)
            first, *more = _wrapped(cell, room)
            lines.append(f"{_padded(column, key)}{' ' * GAP}{first}".rstrip())
            lines += [" " * (key + GAP) + text for text in more]
    return lines


def that_fit(
    columns: Sequence[str], rows: Sequence[Sequence[object]], width: int
) -> int:
    """How many columns, from the first on, fit side by side; at least two."""
    room = width
    for index, column in enumerate(columns):
        cells = (shown(row[index]) for row in rows)
        room -= max(map(_width, (column, *cells))) + (GAP if index else 0)
        if room < 0 and index > 1:
            return index
    return len(columns)


def _folded(
    columns: Sequence[str], widths: list[int], width: int, fold: Collection[str]
) -> list[int]:
    """The widths with what is too much taken from the widest that may be folded."""
    widths = list(widths)
    places = [i for i, name in enumerate(columns) if name in fold]
    over = sum(widths) + GAP * (len(widths) - 1) - width
    while over > 0 and places:
        widest = max(places, key=lambda i: widths[i])
        if widths[widest] <= _LEAST:
            break
        widths[widest] -= 1
        over -= 1
    return widths


def _row(
    cells: Sequence[str], widths: Sequence[int], is_right: Sequence[bool]
) -> list[str]:
    wrapped = [_wrapped(cell, w) for cell, w in zip(cells, widths, strict=True)]
    lines: list[str] = []
    for number_ in range(max(map(len, wrapped), default=0)):
        parts = (
            _padded(found[number_] if number_ < len(found) else "", w, right=right)
            for found, w, right in zip(wrapped, widths, is_right, strict=True)
        )
        lines.append((" " * GAP).join(parts).rstrip())
    return lines


def _wrapped(text: str, width: int) -> list[str]:
    """Lines folded at blanks; a word that is wider than a line is broken."""
    found: list[str] = []
    for line in text.splitlines() or [""]:
        if _width(line) <= width:
            found.append(line)
            continue
        row = ""
        for word in line.split():
            if row and _width(f"{row} {word}") <= width:
                row = f"{row} {word}"
                continue
            found += [row] if row else []
            *full, row = chop_cells(word, width)
            found += full
        found.append(row)
    return found


def _padded(text: str, width: int, *, right: bool = False) -> str:
    blanks = " " * (width - cell_len(text))
    return blanks + text if right else text + blanks


def _width(text: str) -> int:
    return max(map(cell_len, text.splitlines()), default=0)


def _is_number(cells: Sequence[object]) -> bool:
    known = [cell for cell in cells if cell is not None]
    return bool(known) and all(
        isinstance(c, int | float) and not isinstance(c, bool) for c in known
    )


def _plain(cell: object) -> str:
    if cell is None:
        return ""
    return str(cell).lower() if isinstance(cell, bool) else str(cell)


def _one_line(text: str) -> str:
    return " ".join(text.split("\n")).replace("\t", " ").replace("\r", " ")
