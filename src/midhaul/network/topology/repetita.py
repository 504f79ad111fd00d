"""Repetita's topologies and demands, as text.

S. Gay, P. Schaus, S. Vissicchio: *REPETITA: Repeatable Experiments for Performance
Evaluation of Traffic-Engineering Algorithms*, arXiv 1710.08665 (2017). A file of nodes
and directed links with a weight, kbit/s and microseconds; a file of demands between
their numbers, in kbit/s:

::

    NODES 2                                DEMANDS 1
    label x y                              label src dest bw
    0_Oslo 10.75 59.91                     demand_0 0 1 435117
    1_Bergen 5.32 60.39

    EDGES 1
    label src dest weight bw delay
    edge_0 0 1 1 1000000 1525
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul import documents
from midhaul.errors import DataError
from midhaul.model import Tally
from midhaul.network.topology.links_table import (
    MAX_WEIGHT,
    FoundTopology,
    number,
    of_links,
    whole,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from jaxtyping import Float64

_SHOWN = 3


def read_repetita(file: Path) -> FoundTopology:
    """A topology of Repetita's form.

    Nodes are named by their labels; a weight below 1, which no shortest path could be
    told by, counts as 1, and so does a part of one. Links that lead back to their node
    are left out. Both are counted.

    Args:
        file: the ``.graph`` file.

    Returns:
        The topology with the weights of its links. Every node is a host and forwards
        as well, as in the data.

    Raises:
        DataError: the file cannot be read, is cut short, or has a value that cannot be;
            file and line are named.
    """
    lines = _lines(file)
    nodes = _section(file, lines, "NODES", 3, 0)
    links = _section(file, lines, "EDGES", 6, nodes[-1][0] if nodes else 0)
    names = _names(file, nodes)
    rows: list[dict[str, Any]] = []
    places: list[str] = []
    loops: list[str] = []
    mended: list[str] = []
    for line, (_, source, target, weight, rate_kbps, delay_us) in links:
        place = f"{file}, line {line}"
        ends = [
            whole(end, place, least=0, most=len(names) - 1) for end in (source, target)
        ]
        if ends[0] == ends[1]:
            loops.append(place)
            continue
        exact = number(weight, f"{place}: weight")
        used = int(min(max(round(min(exact, MAX_WEIGHT)), 1), MAX_WEIGHT))
        if used != exact:
            mended.append(place)
        rows.append(
            {
                "source": names[ends[0]],
                "target": names[ends[1]],
                "rate_bps": number(rate_kbps, f"{place}: bw", is_above=True) * 1e3,
                "delay_s": number(delay_us, f"{place}: delay") * 1e-6,
                "weight": used,
            }
        )
        places.append(place)
    found = of_links(rows, nodes=names, where=str(file), places=places)
    return FoundTopology(
        topology=found.topology,
        weights=found.weights,
        tallies=_tallies(len(links), loops, mended),
    )


def read_demands(
    file: Path, n_nodes: int
) -> tuple[Float64[np.ndarray, "n n"], tuple[Tally, ...]]:
    """The demands of a file between the nodes of its topology.

    Demands of a node to itself are left out and counted.

    Args:
        file: the ``.demands`` file.
        n_nodes: of the topology that it belongs to.

    Returns:
        ``(n, n)`` bits per second from a node (row) to a node (column), several demands
        added up; and what was left out.

    Raises:
        DataError: the file cannot be read, is cut short, or has a value that cannot be;
            file and line are named.
    """
    demands = _section(file, _lines(file), "DEMANDS", 4, 0)
    rates = np.zeros((n_nodes, n_nodes))
    loops: list[str] = []
    for line, (_, source, target, rate_kbps) in demands:
        place = f"{file}, line {line}"
        row, column = (
            whole(end, place, least=0, most=n_nodes - 1) for end in (source, target)
        )
        rate = number(rate_kbps, f"{place}: bw") * 1e3
        if not math.isfinite(rate):
            message = f"{place}: bw: expected a rate, found {rate_kbps}"
            raise DataError(message)
        if row == column:
            loops.append(place)
        else:
            rates[row, column] += rate
    tally = _loops("demands of a node to itself were left out", len(demands), loops)
    return rates, (tally,) if loops else ()


def _lines(file: Path) -> list[str]:
    with documents.expected(f"{file}: expected a text of Repetita,"):
        text = documents.read_text(file, max_bytes=documents.MAX_TEXT_BYTES)
    return text.splitlines()


def _section(
    file: Path, lines: Sequence[str], name: str, n_words: int, after: int
) -> list[tuple[int, list[str]]]:
    """Numbers of lines, from 1, and the words of each entry of a section."""
    at = after
    while at < len(lines) and not lines[at].strip():
        at += 1
    words = lines[at].split() if at < len(lines) else []
    if not words or words[0] != name:
        found = repr(lines[at][:40]) if words else "the end of the file"
        message = f"{file}, line {at + 1}: expected {name}, found {found}"
        raise DataError(message, "is the file whole, and of Repetita's form?")
    n = None
    if len(words) > 1:
        n = whole(words[1], f"{file}, line {at + 1}", least=0, most=10_000_000)
    entries: list[tuple[int, list[str]]] = []
    for i in range(at + 2, len(lines)):
        words = lines[i].split()
        if not words or len(entries) == n:
            break
        if len(words) != n_words:
            message = (
                f"{file}, line {i + 1}: expected {n_words} words in {name}, found "
                f"{len(words)}"
            )
            raise DataError(message, "is the file whole?")
        entries.append((i + 1, words))
    if n is not None and len(entries) != n:
        message = f"{file}: expected {n} entries of {name}, found {len(entries)}"
        raise DataError(message, "is the file whole?")
    return entries


def _names(file: Path, nodes: Sequence[tuple[int, list[str]]]) -> list[str]:
    names: dict[str, int] = {}
    for line, (label, *_) in nodes:
        if label in names:
            message = (
                f"{file}, line {line}: node {label} stands in line {names[label]} "
                "already"
            )
            raise DataError(message)
        names[label] = line
    return list(names)


def _loops(what: str, of: int, places: Sequence[str]) -> Tally:
    return Tally(
        what=what,
        n=len(places),
        of=of,
        max_share=0.01,
        advice="Nothing can be sent to oneself over a network; correct the file.",
        places=tuple(places[:_SHOWN]),
    )


def _tallies(of: int, loops: Sequence[str], mended: Sequence[str]) -> tuple[Tally, ...]:
    rounded = Tally(
        what="links had a weight that is no whole number of at least 1, and got the "
        "nearest one",
        n=len(mended),
        of=of,
        max_share=0.1,
        advice="Multiply all weights so that they are whole.",
        places=tuple(mended[:_SHOWN]),
    )
    both = (
        _loops("links led back to their node and were left out", of, loops),
        rounded,
    )
    return tuple(tally for tally in both if tally.n)
