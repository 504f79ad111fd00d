"""Pool of a selector: what is in memory and what is offered, as one.

Most selectors give each sample of the pool a number and keep the best. What they share
stands here: the answer made of that, and how a state is read.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import ConfigError, DataError
from midhaul.memory.selectors.base import Reason, SelectorChoice

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from jaxtyping import Bool, Float64, Int64

    from midhaul.memory.samples import Bins, Samples
    from midhaul.memory.selectors.base import Arrays


def choice_of(
    is_in: Bool[np.ndarray, " nm"],
    marks: Float64[np.ndarray, "m q"],
    reason: Reason | np.ndarray,
    *,
    room: int,
) -> SelectorChoice:
    """What becomes of a pool: of those in memory, then of the ``m`` offered.

    Args:
        is_in: true for those that stay.
        marks: of the offered ones.
        reason: why an offered one stays, for all of them or one by one.
        room: how many more the memory would have held; the first are filling it.
    """
    n = len(is_in) - len(marks)
    take = is_in[n:]
    why = np.where(take, reason, Reason.DROPPED).astype(np.int8)
    why[:room][take[:room]] = Reason.FILLING
    return SelectorChoice(keep=is_in[:n], take=take, marks=marks, reasons=why)


def smallest(keys: Float64[np.ndarray, " n"], most: int) -> Bool[np.ndarray, " n"]:
    """True for the ``most`` smallest keys, all where there are no more."""
    is_in = np.ones(len(keys), np.bool_)
    if len(keys) > most:
        is_in[np.argpartition(keys, most)[most:]] = False
    return is_in


def output_bins(samples: Samples, bins: Bins, who: str) -> Int64[np.ndarray, " n"]:
    """The bin of each output; DataError where one is not known."""
    found = bins.of(samples.y)
    if (found < 0).any():
        n_missing = int((found < 0).sum())
        message = (
            f"selector {who} needs outputs, {n_missing:,} of {len(samples):,} samples "
            f"have none, the first is sample {int((found < 0).argmax())}"
        )
        raise DataError(message, "offer samples when their output is known")
    return found


def check_predictions(samples: Samples, bins: Bins, who: str) -> None:
    """DataError where no model has said what it expects in these bins."""
    k = samples.prediction.shape[1]
    if k != bins.n:
        message = f"{who} needs predictions over {bins.n} bins, found {k}"
        raise DataError(message, "let a model predict before samples are offered")


def check_above(name: str, value: float, least: float = 0.0) -> None:
    """ConfigError unless a setting is above what it must be."""
    if not value > least:
        message = f"{name}: expected more than {least:g}, found {value}"
        raise ConfigError(message)


def check_state(state: Arrays, who: str, names: Sequence[str]) -> None:
    """DataError unless a state has what somebody wrote of that name."""
    if set(state) != set(names):
        message = (
            f"expected the state of {who} with {', '.join(names) or 'nothing'}, found "
            f"{', '.join(sorted(state)) or 'nothing'}"
        )
        raise DataError(message, "restore a state into what has written it")


@contextlib.contextmanager
def whole(what: str, hint: str) -> Generator[None]:
    """DataError where a state that is read below lacks a part, or has an odd one."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as one:
        message = f"{what} lacks or misstates {one}"
        raise DataError(message, hint) from None
