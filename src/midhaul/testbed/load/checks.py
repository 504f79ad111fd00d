"""The conformance suite of arrival processes, ours or a stranger's."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from midhaul.testbed.load.scenarios import Arrivals


def check_arrivals(arrivals: Arrivals, *, n: int = 20_000, seed: int = 0) -> None:
    """Hold a process to what the load generator expects of it.

    Args:
        arrivals: the process.
        n: how many sends to look at; more make the check of the rate sharper.
        seed: of the chance handed to it.

    Raises:
        ValueError: times fall, are negative or not finite, equal seeds give different
            times, or the rate over the times is not the rate stated.
    """
    times = np.array(list(islice(arrivals.times(np.random.default_rng(seed)), n)))
    again = np.array(list(islice(arrivals.times(np.random.default_rng(seed)), n)))
    if not np.array_equal(times, again):
        message = "equal seeds must give equal times"
        raise ValueError(message)
    if not (np.isfinite(times).all() and (times >= 0).all()):
        message = "times must be finite and not negative"
        raise ValueError(message)
    gaps = np.diff(times)
    if (gaps < 0).any():
        message = f"times must not fall, found {gaps.min()} s after a send"
        raise ValueError(message)
    rate = len(gaps) / (times[-1] - times[0])
    # Five standard errors of a mean of independent gaps, and rounding.
    slack = 5 * gaps.std() / gaps.mean() / np.sqrt(len(gaps)) + 1e-9
    if abs(arrivals.rate_hz / rate - 1) > slack:
        message = f"rate_hz is {arrivals.rate_hz}, but the times have {rate} per second"
        raise ValueError(message)
