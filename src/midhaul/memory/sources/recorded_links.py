"""Links out of recorded downloads: the rate that players saw, as traces.

While a chunk came, the link had its size over its time. Nobody asked it for anything in
between, so there the rate of the download before stands; how much of the time that is,
is counted. A player that asks for little sees little: a short download is slower than
the link, as its round trip is in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import DataError
from midhaul.memory.sources.streams import read_downloads
from midhaul.model import Tally
from midhaul.traces import Trace

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Float64

RECORDED_RATES_BPS = {
    "4G": (2e6, 4e6, 8e6, 12e6, 16e6, 20e6),
    "5G": (20e6, 40e6, 60e6, 80e6, 110e6, 160e6, 320e6),
}
"""Bitrates of the video that was downloaded over each radio."""

RECORDED_CHUNK_S = 1.001
"""How long a chunk of it played."""

_BITS_PER_MB = 8e6
_LEAST_S = 0.0005


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FoundLinks:
    """Traces that were made of recorded downloads.

    Attributes:
        traces: by radio, mobility and the name of the recorded trace.
        clusters: of each, as in the samples of :func:`~midhaul.memory.sources.streams.
            cellular_stream`.
        tallies: what was assumed.
    """

    traces: tuple[Trace, ...]
    clusters: tuple[int, ...]
    tallies: tuple[Tally, ...]


def links_of_downloads(
    file: Path, *, radio: str = "", mobility: str = ""
) -> FoundLinks:
    """A trace of each recorded link, from the session that was downloading longest.

    Args:
        file: the table of downloads.
        radio: only those of one, such as ``4G``; all where empty.
        mobility: only those of one, such as ``walking``.

    Returns:
        The traces, in the order of their clusters.

    Raises:
        DataError: the file cannot be read, or nothing is left.
    """
    played = read_downloads(file)
    best: dict[int, tuple[float, int]] = {}
    for session, kind in enumerate(played.kinds):
        if radio not in ("", kind[0]) or mobility not in ("", kind[1]):
            continue
        rows = slice(*played.offsets[session : session + 2])
        cluster = int(played.samples.cluster[rows][0])
        busy_s = float(played.samples.y[rows].sum())
        if busy_s > best.get(cluster, (0.0, 0))[0]:
            best[cluster] = (busy_s, session)
    if not best:
        message = f"{file}: expected downloads over {radio} {mobility}, found none"
        raise DataError(message, "radio and mobility are those of its columns")
    traces: list[Trace] = []
    assumed_s = total_s = 0.0
    for cluster, (busy_s, session) in sorted(best.items()):
        rows = slice(*played.offsets[session : session + 2])
        trace = _trace(
            "-".join((*played.kinds[session], str(cluster))),
            played.samples.time_s[rows],
            played.samples.y[rows],
            played.samples.x[rows, -1].astype(np.float64),
        )
        traces.append(trace)
        total_s += trace.length_s
        assumed_s += max(trace.length_s - busy_s, 0.0)
    return FoundLinks(
        traces=tuple(traces),
        clusters=tuple(sorted(best)),
        tallies=(
            Tally(
                what="seconds of links lie between downloads, and have the rate of the "
                "one before",
                n=round(assumed_s),
                of=round(total_s),
                max_share=0.6,
                advice="Record links by asking them all the time.",
            ),
        ),
    )


def _trace(
    name: str,
    end_s: Float64[np.ndarray, " n"],
    took_s: Float64[np.ndarray, " n"],
    size_mb: Float64[np.ndarray, " n"],
) -> Trace:
    """Rates from the begin of each download to that of the next."""
    took_s = np.maximum(took_s, _LEAST_S)
    begin_s = end_s - took_s
    # Clocks tick in ms, so a download may seem to begin before the last has ended.
    begin_s = np.maximum.accumulate(begin_s - begin_s[0])
    is_new = np.append(True, np.diff(begin_s) > _LEAST_S)
    return Trace(
        name=name,
        times_s=begin_s[is_new],
        rates_bps=(_BITS_PER_MB * size_mb / took_s)[is_new],
        length_s=float(max(end_s[-1] - end_s[0] + took_s[0], begin_s[-1] + _LEAST_S)),
    )
