"""Fugu's transmission-time predictor: its 62 inputs, and its 21 bins of time.

F. Y. Yan et al., "Learning in situ: a randomized experiment in video streaming", NSDI
2020, section 4.

Of each of the last eight chunks it knows what TCP said when the chunk was sent, the
chunk's size and how long it took; of the next one what TCP says now, and its size.
Packets have 1,500 bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.memory.samples import Bins
from midhaul.memory.sources.history import N_PAST

if TYPE_CHECKING:
    from jaxtyping import Float64

PACKET_BYTES = 1500
"""What sizes and rates are counted in."""

TCP_COLUMNS = ("delivery_rate", "cwnd", "in_flight", "min_rtt", "rtt")
"""What TCP says: packets per second, packets, packets, seconds, seconds."""

PAST_COLUMNS = (*TCP_COLUMNS, "size", "trans_time")
"""What is known of a past chunk; sizes in packets, times in seconds."""

NEXT_COLUMNS = (*TCP_COLUMNS, "size")
"""What is known of the next one."""

FUGU_INPUTS = (
    *(f"{name} {k - N_PAST} chunks" for k in range(N_PAST) for name in PAST_COLUMNS),
    *(f"{name} next" for name in NEXT_COLUMNS),
)
"""What each of the 62 inputs is, the oldest chunk first."""

FUGU_BINS = Bins(edges=np.array([0.0, *(0.25 + 0.5 * np.arange(20)), np.inf]))
"""Times in s: [0, 0.25), then half seconds around 0.5, 1, …, the last from 9.75."""


def fugu_times_s() -> Float64[np.ndarray, " 21"]:
    """The time that stands for each bin when one plans: its middle; 10 of the last."""
    return np.array([0.125, *(0.5 * np.arange(1, 21))])
