"""Ties and what to recommend: the best of some numbers, and all that may be as good.

A number whose 95 % interval overlaps that of the best is not told apart from it, so
nobody is called a winner among them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midhaul.runs.metric import Metric

_MOST_NAMES = 4


def best_and_ties(
    found: Sequence[tuple[Mapping[str, Any], str]], better: str
) -> list[tuple[Mapping[str, Any], str]]:
    """The best of rows of a summary and their names, then those it overlaps.

    A bound is not the best while there is a number that is known. There is at least
    one row.
    """
    known = [pair for pair in found if not pair[0].get("bound")] or list(found)
    ranked = sorted(
        known, key=lambda pair: pair[0]["value"], reverse=better == "higher"
    )
    best = _ends(ranked[0][0])
    return [ranked[0]] + [
        pair
        for pair in ranked[1:]
        if (ends := _ends(pair[0]))[0] <= best[1] and ends[1] >= best[0]
    ]


def _ends(row: Mapping[str, Any]) -> tuple[float, float]:
    if row["low"] is None or row["high"] is None:
        return row["value"], row["value"]
    return row["low"], row["high"]


def recommendation(
    metric: Metric,
    tied: Sequence[tuple[Mapping[str, Any], str]],
    prices: Sequence[tuple[str, Metric, Mapping[str, Mapping[str, Any]]]],
) -> str:
    """What to take, in a paragraph.

    ``tied`` is as :func:`best_and_ties` gives it. A price is a word for who has least
    of it ("fastest"), its metric and its row by name.
    """
    row, name = tied[0]
    value, ends = metric.number_form.text(row["value"]), ""
    if row["low"] is not None and row["high"] is not None:
        value, ends = metric.number_form.estimate(row["value"], row["low"], row["high"])
    of = f"{value} ({ends})" if ends else value
    if len(tied) == 1:
        return f"**Take {name}**: its {metric.label} of {of} is above all others."
    names = [name for _, name in tied]
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    text = (
        f"**{len(names)} configurations are equal within the intervals** of their "
        f"{metric.label}, the highest of {of}: {'; '.join(names[:_MOST_NAMES])}{more}."
    )
    for word, price, rows in prices:
        mine = [(rows[name], name) for name in names if name in rows]
        if not mine:
            continue
        cheapest = best_and_ties(mine, "lower")
        form = price.number_form
        first = f"{price.label} {form.text(cheapest[0][0]['value'])}"
        if len(cheapest) == 1:
            text += f" The {word} of them is **{cheapest[0][1]}** ({first})."
        else:
            text += f" Which is the {word} cannot be told ({first} and more)."
    return text
