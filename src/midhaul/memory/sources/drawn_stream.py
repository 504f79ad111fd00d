"""Drawn streams: transfers over links whose kind changes, to try all without data.

A session has a rate that wanders slowly, and now and then a congestion that begins with
a rising round trip, so that a model can see some of it coming. Links of three kinds
differ in rate, in how often congestion comes and in how long it holds. Nothing of this
is measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from midhaul.errors import ConfigError
from midhaul.memory.samples import Samples
from midhaul.memory.sources.fugu import FUGU_BINS
from midhaul.memory.sources.streams import StreamSet

if TYPE_CHECKING:
    from jaxtyping import Int64

DrawnShift = Literal["none", "incremental", "periodic"]

_LENGTH = 60
"""Transfers of a session that become samples."""
_PAST = 4
_INPUTS = ("log rate", "log round trip", "log size", "log time")
_KINDS = ((1.2, 0.010, 6.0), (0.5, 0.020, 10.0), (0.1, 0.030, 4.0))
"""Of each kind of link: log of the mean rate in MB/s, how often congestion begins, how
many transfers it holds."""


def drawn_stream(
    *,
    shift: DrawnShift = "incremental",
    n_periods: int = 9,
    n_sessions: int = 40,
    seed: int = 0,
) -> StreamSet:
    """Transfers of drawn sessions, cut into periods.

    Args:
        shift: links of one kind only; of one kind after the other; of one kind, with a
            tenth of another in every third period.
        n_periods: how many.
        n_sessions: of each period.
        seed: of everything.

    Returns:
        The periods; the output is the time of the next transfer in seconds.

    Raises:
        ConfigError: there are no periods or sessions, or there is no such shift.
    """
    if n_periods < 1 or n_sessions < 1:
        message = f"expected periods and sessions, found {n_periods} and {n_sessions}"
        raise ConfigError(message)
    rng = np.random.default_rng([seed, 47])
    periods = tuple(
        _period(_kinds(shift, number, n_periods, n_sessions), number, rng)
        for number in range(n_periods)
    )
    inputs = [f"{name} {k - _PAST} transfers" for k in range(_PAST) for name in _INPUTS]
    return StreamSet(
        name=f"drawn {shift}",
        periods=periods,
        bins=FUGU_BINS,
        inputs=(*inputs, "log size now"),
    )


def _kinds(
    shift: DrawnShift, number: int, n_periods: int, n_sessions: int
) -> Int64[np.ndarray, " s"]:
    found = np.zeros(n_sessions, np.int64)
    if shift == "incremental":
        found[:] = number * len(_KINDS) // n_periods
    elif shift == "periodic" and number % 3 == 2:  # noqa: PLR2004  every third
        found[: max(n_sessions // 10, 1)] = 2
    return found


def _period(
    kinds: Int64[np.ndarray, " s"], number: int, rng: np.random.Generator
) -> Samples:
    """The samples of all sessions of a period, session by session."""
    n, length = len(kinds), _LENGTH + _PAST
    mean, often, holds = (
        np.array(column)[kinds] for column in zip(*_KINDS, strict=True)
    )
    rate = mean + 0.4 * rng.normal(size=n)
    congested = np.zeros(n)
    seen = np.empty((n, length, len(_INPUTS)))
    for step in range(length):
        rate += 0.15 * (mean - rate) + 0.12 * rng.normal(size=n)
        begins = (congested < 0.05) & (rng.random(n) < often)  # noqa: PLR2004  is over
        congested = np.where(begins, rng.exponential(1.5, n) + 0.5, congested)
        congested *= np.exp(-1 / holds)
        # The round trip rises first; the rate falls with what has built up.
        trip = -3 + 0.9 * congested + 0.15 * rng.normal(size=n)
        size = rng.normal(-0.4, 0.5, n)
        slow = np.where(begins, 0.3, 1.0) * congested
        time = size - rate + slow + 0.25 * rng.normal(size=n)
        seen[:, step] = np.stack([rate - slow, trip, size, time], 1)
    x = np.concatenate(
        [
            np.stack(
                [seen[:, at : at + _PAST].reshape(n, -1) for at in range(_LENGTH)], 1
            ),
            seen[:, _PAST:, 2:3],
        ],
        axis=2,
    )
    y = np.exp(seen[:, _PAST:, 3])
    group = np.repeat(number * 100_000 + np.arange(n), _LENGTH)
    return Samples.of(
        x.reshape(n * _LENGTH, -1),
        y.ravel(),
        group=group,
        time_s=number * 86_400.0 + np.arange(n * _LENGTH),
    )
