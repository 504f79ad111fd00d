"""Links as rows: what every reader of topologies makes, and what others hand over.

A row says from where to where a link goes, and what it carries. Runs of the testbed and
plans of gateways have such rows; whoever has them hands them over as they are.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, cast, get_args

import numpy as np

from midhaul.errors import ConfigError, DataError, choice_hint, suggestion
from midhaul.model import Link, LinkQueue, Topology
from midhaul.model.display import Shown
from midhaul.model.topology import Discipline
from midhaul.network.problem import MAX_DELAY_S
from midhaul.network.topology.wiring import MAX_NODES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Int64

    from midhaul.model import Tally

MAX_WEIGHT = 1 << 40
_MAX_LINKS = 4_000_000
_QUEUE = tuple(field.name for field in fields(LinkQueue))
KEYS = (
    "source",
    "target",
    "rate_bps",
    "delay_s",
    "loss_share",
    "jitter_s",
    "rate_changes",
    "queue",
    "weight",
    "is_both_ways",
)
"""What a row may say; what it leaves out is as in :class:`~midhaul.model.Link`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class FoundTopology(Shown):
    """What a reader of topologies has found.

    Attributes:
        topology: the nodes and links.
        weights: ``(m,)`` of links, for routing; None where nothing was said of them.
        tallies: what was left out or assumed.
    """

    topology: Topology
    weights: Int64[np.ndarray, " m"] | None = None
    tallies: tuple[Tally, ...] = ()


def of_links(
    rows: Sequence[Mapping[str, Any]],
    *,
    nodes: Sequence[str] = (),
    hosts: Sequence[str] = (),
    where: str = "links",
    places: Sequence[str] = (),
) -> FoundTopology:
    """A topology of rows.

    Args:
        rows: one for each link; their keys are :data:`KEYS`, of which ``source`` and
            ``target`` must be there. A row that is both ways stands for two links.
        nodes: names of the nodes; in the order in which links name them where empty.
        hosts: names of those that forward nothing.
        where: what the rows are called in messages.
        places: of the rows in a file, for messages; their numbers by default.

    Returns:
        The topology, with weights where some row has one; others have 1.

    Raises:
        DataError: a key is unknown, a value cannot be, or a node is not one of those
            named; the row is named.
    """
    links: list[Link] = []
    weights: list[int] = []
    known = dict.fromkeys(nodes)
    if len(known) < len(nodes):
        twice = next(name for name, n in Counter(nodes).items() if n > 1)
        message = f"{where}: expected names of nodes once each, found {twice!r} twice"
        raise DataError(message)
    for i, row in enumerate(rows):
        place = places[i] if places else f"{where}[{i}]"
        link, weight = _link(row, place)
        for end in (link.source, link.target):
            if nodes and end not in known:
                message = f"{place}: expected a node of the topology, found {end!r}"
                raise DataError(message + suggestion(end, known))
            known[end] = None
        links.append(link)
        weights.append(weight)
        if row.get("is_both_ways"):
            links.append(replace(link, source=link.target, target=link.source))
            weights.append(weight)
        if len(known) > MAX_NODES or len(links) > _MAX_LINKS:
            message = (
                f"{place}: a topology has {MAX_NODES:,} nodes and {_MAX_LINKS:,} links "
                "at most, found more"
            )
            raise DataError(message)
    topology = _topology(tuple(known), links, hosts, where)
    is_weighted = any(row.get("weight") is not None for row in rows)
    return FoundTopology(
        topology=topology,
        weights=np.array(weights, np.int64) if is_weighted else None,
    )


def number(
    found: object, place: str, *, least: float = 0.0, is_above: bool = False
) -> float:
    """A number that is at least, or above, another one; DataError with the place."""
    value = math.nan
    if isinstance(found, int | float | str) and not isinstance(found, bool):
        try:
            value = float(found)
        except (ValueError, OverflowError):
            value = math.nan
    if math.isnan(value) or value < least or (is_above and value == least):
        word = "above" if is_above else "of at least"
        message = f"{place}: expected a number {word} {least:g}, found {found!r}"
        raise DataError(message)
    return value


def whole(found: object, place: str, *, least: int, most: int) -> int:
    """A whole number within bounds; DataError with the place."""
    value = number(found, place, least=least)
    if value > most or value != math.floor(value):
        message = f"{place}: expected a whole number of {least} to {most}, found "
        raise DataError(message + repr(found))
    return int(value)


def _topology(
    nodes: tuple[str, ...], links: Sequence[Link], hosts: Sequence[str], where: str
) -> Topology:
    if not links:
        message = f"{where}: expected at least one link, found none"
        raise DataError(message)
    try:
        return Topology(nodes=nodes, links=tuple(links), hosts=tuple(hosts))
    except ValueError as error:
        message = f"{where}: {error}"
        raise DataError(message) from error


def _link(row: Mapping[str, Any], place: str) -> tuple[Link, int]:
    """The link of a row, and its weight."""
    for key in row:
        if key not in KEYS:
            message = f"{place}: unknown key {key!r}{suggestion(str(key), KEYS)}"
            raise DataError(message, f"a link has: {', '.join(KEYS)}")
    ends: list[str] = []
    for key in ("source", "target"):
        end = row.get(key)
        if not isinstance(end, str) or not end:
            message = f"{place}: expected {key} to name a node, found {end!r}"
            raise DataError(message)
        ends.append(end)
    if ends[0] == ends[1]:
        message = f"{place}: a link joins two nodes, found {ends[0]!r} twice"
        raise DataError(message)
    given = {key: row[key] for key in KEYS[2:] if row.get(key) is not None}
    rate = given.get("rate_bps", math.inf)
    values: dict[str, float] = {
        "rate_bps": number(rate, f"{place}.rate_bps", is_above=True)
    }
    for key in ("delay_s", "loss_share", "jitter_s"):
        values[key] = number(given.get(key, 0.0), f"{place}.{key}")
        most = 1.0 if key == "loss_share" else MAX_DELAY_S
        if values[key] >= most:
            message = f"{place}.{key}: expected less than {most:g}, found {given[key]}"
            raise DataError(message)
    link = Link(
        source=ends[0],
        target=ends[1],
        **values,
        queue=_queue(given.get("queue", {}), f"{place}.queue"),
        rate_changes=_changes(given.get("rate_changes", []), f"{place}.rate_changes"),
    )
    weight = given.get("weight", 1)
    return link, whole(weight, f"{place}.weight", least=1, most=MAX_WEIGHT)


def _queue(found: object, place: str) -> LinkQueue:
    if isinstance(found, LinkQueue):
        return found
    if not isinstance(found, dict):
        message = f"{place}: expected a table, found {found!r}"
        raise DataError(message)
    values: dict[str, Any] = {}
    for key, value in cast("dict[str, Any]", found).items():
        at = f"{place}.{key}"
        if key not in _QUEUE:
            message = f"{place}: unknown key {key!r}{suggestion(str(key), _QUEUE)}"
            raise DataError(message, f"a queue has: {', '.join(_QUEUE)}")
        if key == "discipline":
            names = get_args(Discipline)
            if value not in names:
                message = f"{at}: expected a discipline, found {value!r}"
                raise DataError(message, choice_hint(str(value), names))
            values[key] = value
        elif key == "has_ecn":
            if not isinstance(value, bool):
                message = f"{at}: expected true or false, found {value!r}"
                raise DataError(message)
            values[key] = value
        elif key in ("max_packets", "max_bytes"):
            is_none = value is None
            values[key] = None if is_none else whole(value, at, least=1, most=1 << 62)
        else:
            values[key] = number(value, at)
    return _queue_of(values, place)


def _queue_of(values: Mapping[str, Any], place: str) -> LinkQueue:
    try:
        return LinkQueue(**values)
    except ConfigError as error:
        message = f"{place}: {error.message}"
        raise DataError(message) from error


def _changes(found: object, place: str) -> tuple[tuple[float, float], ...]:
    """Times, rising, and rates from then on; a rate may be 0 for a while."""
    if not isinstance(found, list | tuple):
        message = f"{place}: expected pairs of a time and a rate, found {found!r}"
        raise DataError(message)
    changes: list[tuple[float, float]] = []
    for i, pair in enumerate(cast("Sequence[Any]", found)):
        at = f"{place}[{i}]"
        if not isinstance(pair, list | tuple) or len(cast("list[Any]", pair)) != 2:  # noqa: PLR2004
            message = f"{at}: expected a time and a rate, found {pair!r}"
            raise DataError(message)
        time, rate = cast("Sequence[Any]", pair)
        least = changes[-1][0] if changes else 0.0
        is_later = bool(changes)
        changes.append(
            (number(time, at, least=least, is_above=is_later), number(rate, at))
        )
    return tuple(changes)
