"""GraphML, as the Internet Topology Zoo and many editors write it, by networkx.

S. Knight et al.: *The Internet Topology Zoo*, IEEE JSAC 29 (2011). Rates come from the
attribute ``rate_bps``, else ``LinkSpeedRaw``; delays from ``delay_s``, else from the
distance between the coordinates ``Latitude`` and ``Longitude`` at 200,000 km/s, the
speed of light in a fibre. What the file does not say is assumed, and counted.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from midhaul import documents
from midhaul.errors import DataError, require
from midhaul.model import Tally
from midhaul.network.topology.links_table import FoundTopology, number, of_links

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_EARTH_M = 6_371_000.0
_FIBRE_M_PER_S = 2e8
_SHOWN = 3


def read_graphml(
    file: Path, *, rate_bps: float = 10e9, delay_s: float = 0.001
) -> FoundTopology:
    """A topology from GraphML.

    Nodes are named by ``label`` where labels differ, else by their ids; the attribute
    ``is_host`` makes them hosts. A link of a graph without
    directions is two. Links that lead back to their node are left out, and counted.

    Args:
        file: the file.
        rate_bps: of links that state none.
        delay_s: of links that state none, between nodes without coordinates.

    Returns:
        The topology, with weights where links have the attribute ``weight``.

    Raises:
        DataError: the file cannot be read, is no GraphML or cut short, or has a value
            that cannot be; file and link are named.
        PrerequisiteError: networkx is not installed.
    """
    graph = _parse(file)
    names = _names(graph)
    rows: list[dict[str, Any]] = []
    places: list[str] = []
    loops: list[str] = []
    no_rate: list[str] = []
    no_delay: list[str] = []
    for one, other, values in graph.edges(data=True):
        place = f"{file}, link {names[one]}-{names[other]}"
        if one == other:
            loops.append(place)
            continue
        rate = _first(values, ("rate_bps", "LinkSpeedRaw"))
        delay = _delay(graph, one, other, values.get("delay_s"), place)
        if rate is None:
            no_rate.append(place)
        if delay is None:
            no_delay.append(place)
        rows.append(
            {
                "source": names[one],
                "target": names[other],
                "rate_bps": rate_bps if rate is None else rate,
                "delay_s": delay_s if delay is None else delay,
                "weight": values.get("weight"),
                "is_both_ways": not graph.is_directed(),
            }
        )
        places.append(place)
    hosts = [name for id_, name in names.items() if _is_host(graph.nodes[id_])]
    found = of_links(
        rows, nodes=list(names.values()), hosts=hosts, where=str(file), places=places
    )
    tallies = {
        "led back to their node and were left out": loops,
        f"stated no rate and got {rate_bps:g} bit/s": no_rate,
        f"stated no delay and got {delay_s:g} s": no_delay,
    }
    n = len(rows) + len(loops)
    return replace(
        found,
        tallies=tuple(
            _tally(what, at, n, 0.01 if at is loops else 1.0)
            for what, at in tallies.items()
            if at
        ),
    )


def _parse(file: Path) -> Any:
    networkx = require("networkx", "network")
    hint = "is the file whole, and GraphML?"
    with documents.expected(f"{file}: expected GraphML,"):
        text = documents.read_text(file)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        message = f"{file} declares a document type, which GraphML never needs"
        raise DataError(message, "remove the DOCTYPE")
    try:
        graph = networkx.parse_graphml(text.encode(), force_multigraph=True)
    except Exception as error:
        # networkx passes on whatever its parser meets: keys, types, syntax.
        said = str(error)[:200] or type(error).__name__
        message = f"{file}: expected GraphML, {said}"
        raise DataError(message, hint) from error
    if not len(graph):
        message = f"{file}: expected nodes, found none"
        raise DataError(message, hint)
    return graph


def _names(graph: Any) -> dict[str, str]:
    """A name for each id."""
    labels = {
        id_: str(values.get("label") or "") for id_, values in graph.nodes(data=True)
    }
    if all(labels.values()) and len(set(labels.values())) == len(labels):
        return labels
    return {id_: str(id_) for id_ in labels}


def _first(values: Mapping[str, Any], keys: Iterable[str]) -> Any:
    return next((values[key] for key in keys if values.get(key) is not None), None)


def _is_host(values: Mapping[str, Any]) -> bool:
    return values.get("is_host") in (True, 1, "true", "True", "1")


def _delay(graph: Any, one: str, other: str, stated: Any, place: str) -> Any:
    """The delay that is stated, else that of a fibre along the great circle.

    None where there are no coordinates.
    """
    ends: list[Mapping[str, Any]] = [graph.nodes[one], graph.nodes[other]]
    keys = ("Latitude", "Longitude")
    if stated is not None:
        return stated
    if any(values.get(key) is None for values in ends for key in keys):
        return None
    (lat1, lon1), (lat2, lon2) = (
        [
            math.radians(number(values[key], f"{place}: {key}", least=-360.0))
            for key in keys
        ]
        for values in ends
    )
    if not all(map(math.isfinite, (lat1, lon1, lat2, lon2))):
        message = f"{place}: expected coordinates in degrees"
        raise DataError(message)
    half = (
        math.sin((lat2 - lat1) / 2) ** 2
        + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    )
    angle = 2 * math.asin(math.sqrt(min(max(half, 0.0), 1.0)))
    return angle * _EARTH_M / _FIBRE_M_PER_S


def _tally(what: str, places: list[str], of: int, max_share: float) -> Tally:
    return Tally(
        what=f"links {what}",
        n=len(places),
        of=of,
        max_share=max_share,
        advice="State it in the file.",
        places=tuple(places[:_SHOWN]),
    )
