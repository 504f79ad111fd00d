"""Links that change: the rate of a link follows a trace."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from midhaul.errors import ConfigError, DataError, suggestion
from midhaul.model import Topology

if TYPE_CHECKING:
    from midhaul.traces import Trace

_MOST = 10_000_000


def with_trace(
    topology: Topology,
    link: str,
    trace: Trace,
    *,
    until_s: float,
    loops: bool = True,
) -> Topology:
    """The same topology with a link that has the rates of a trace.

    The mean rate of the trace becomes the link's, for loads and ideal completion times.

    Args:
        topology: the nodes and links.
        link: its name, ``source->target``; all links of that name follow the trace.
        trace: rates over time.
        until_s: how long they are needed.
        loops: whether the trace starts again when it has ended.

    Returns:
        The topology; other links are as they were.

    Raises:
        ConfigError: there is no such link, or the time is no time.
        DataError: the trace ends before and does not start again, or it never carries
            anything.
    """
    names = {one.name for one in topology.links}
    if link not in names:
        message = f"expected a link of the topology, found {link!r}"
        raise ConfigError(message + suggestion(link, names))
    if not (math.isfinite(until_s) and until_s > 0):
        message = f"until_s must be above 0, found {until_s}"
        raise ConfigError(message)
    if not loops and until_s > trace.length_s:
        message = (
            f"trace {trace.name} ends at {trace.length_s:g} s, it is needed until "
            f"{until_s:g} s"
        )
        raise DataError(message, "let it start again, or give a longer one")
    if not trace.mean_bps > 0:
        message = f"trace {trace.name} carries nothing at any time"
        raise DataError(message)
    changes = _changes(trace, until_s)
    links = tuple(
        replace(one, rate_bps=trace.mean_bps, rate_changes=changes)
        if one.name == link
        else one
        for one in topology.links
    )
    return Topology(nodes=topology.nodes, links=links, hosts=topology.hosts)


def _changes(trace: Trace, until_s: float) -> tuple[tuple[float, float], ...]:
    """Times and rates until then, where the rate differs from the one before."""
    n_loops = math.ceil(until_s / trace.length_s)
    if n_loops * len(trace.times_s) > _MOST:
        message = (
            f"trace {trace.name} has {len(trace.times_s):,} rates and would start "
            f"{n_loops:,} times: more than {_MOST:,} changes"
        )
        raise ConfigError(message, "give a longer trace, or a shorter time")
    changes: list[tuple[float, float]] = []
    for loop in range(n_loops):
        for time, rate in zip(
            trace.times_s.tolist(), trace.rates_bps.tolist(), strict=True
        ):
            at = loop * trace.length_s + time
            if at >= until_s:
                break
            if not changes or changes[-1][1] != rate:
                changes.append((at, rate))
    return tuple(changes)
