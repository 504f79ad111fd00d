"""Topologies as JSON: midhaul's own form, read and written.

::

    {"nodes": ["cloud", "metro", "gateway"], "hosts": ["cloud", "gateway"],
     "links": [{"source": "gateway", "target": "metro", "rate_bps": 20e6,
                "delay_s": 0.005, "queue": {"max_packets": 100},
                "is_both_ways": true},
               ...]}

``nodes`` may be left out where links name them all. What a link may say are the keys of
:mod:`midhaul.network.topology.links_table`.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

from midhaul import documents
from midhaul.errors import DataError, suggestion
from midhaul.model import Link, LinkQueue, Topology
from midhaul.network.topology.links_table import FoundTopology, of_links

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from jaxtyping import Int64
    from numpy import ndarray

_KEYS = ("nodes", "hosts", "links")


def read_json(file: Path) -> FoundTopology:
    """A topology from a JSON file of midhaul's form.

    Args:
        file: the file.

    Returns:
        The topology, with weights where a link has one.

    Raises:
        DataError: the file cannot be read, is cut short, has an unknown key, or a value
            that cannot be; file and place are named.
    """
    with documents.expected(
        f"{file}: expected a topology as JSON,", "is the file whole?"
    ):
        text = documents.read_text(file, max_bytes=documents.MAX_TEXT_BYTES)
        found = documents.parse_json(text)
    if not isinstance(found, dict):
        message = f"{file}: expected a table with nodes and links, found "
        raise DataError(message + type(found).__name__)
    tables = cast("dict[str, Any]", found)
    for key in tables:
        if key not in _KEYS:
            message = f"{file}: unknown key {key!r}{suggestion(key, _KEYS)}"
            raise DataError(message, f"a topology has: {', '.join(_KEYS)}")
    links = tables.get("links")
    if not isinstance(links, list):
        message = f"{file}: expected a list of links, found {_kind(links)}"
        raise DataError(message)
    for i, link in enumerate(cast("list[Any]", links)):
        if not isinstance(link, dict):
            message = f"{file}, links[{i}]: expected a table, found {_kind(link)}"
            raise DataError(message)
    return of_links(
        cast("list[dict[str, Any]]", links),
        nodes=_names(tables.get("nodes", []), f"{file}, nodes"),
        hosts=_names(tables.get("hosts", []), f"{file}, hosts"),
        where=f"{file}, links",
    )


def to_json(topology: Topology, *, weights: Int64[ndarray, " m"] | None = None) -> str:
    """A topology as JSON, which :func:`read_json` reads as it was.

    Args:
        topology: the nodes and links.
        weights: ``(m,)`` of links; none are written where it is None.

    Returns:
        The text, a line for each link.
    """
    rows = [_row(link) for link in topology.links]
    if weights is not None:
        for row, weight in zip(rows, weights.tolist(), strict=True):
            row["weight"] = weight
    lines = ",\n  ".join(json.dumps(row) for row in rows)
    nodes, hosts = json.dumps(topology.nodes), json.dumps(topology.hosts)
    return f'{{"nodes": {nodes},\n "hosts": {hosts},\n "links": [\n  {lines}\n]}}\n'


def _row(link: Link) -> dict[str, Any]:
    """What a link says that is not understood without it."""
    row: dict[str, Any] = {"source": link.source, "target": link.target}
    if link.rate_bps != math.inf:
        row["rate_bps"] = link.rate_bps
    for key in ("delay_s", "loss_share", "jitter_s", "rate_changes"):
        if value := getattr(link, key):
            row[key] = value
    usual = asdict(LinkQueue())
    own = {k: v for k, v in asdict(link.queue).items() if v != usual[k]}
    if own:
        row["queue"] = own
    return row


def _names(found: object, where: str) -> Sequence[str]:
    names: list[Any] = [None]
    if isinstance(found, list):
        names = cast("list[Any]", found)
    for i, name in enumerate(names):
        if not isinstance(name, str) or not name:
            message = f"{where}: expected a list of names, found {name!r} at {i}"
            raise DataError(message)
    return names


def _kind(found: object) -> str:
    return "nothing" if found is None else type(found).__name__
