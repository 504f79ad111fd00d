"""Ladder of bitrates: how large each chunk is on each rung, and how good it looks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float64

CHUNK_S = 2.002
"""How long a chunk of Puffer plays."""

RATES_BPS = (2e5, 4e5, 8e5, 1.5e6, 3e6, 5.5e6)
"""Rungs of a drawn ladder, where none are given."""

_LEAST_DB = 8.0
_DB_OF_DOUBLE = 1.9
_SPREAD_DB = 0.6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ladder:
    """A video of ``c`` chunks, each in ``r`` versions. After its end it begins anew.

    Attributes:
        sizes_bytes: ``(c, r)`` all above 0, small rungs first.
        quality: ``(c, r)`` how good each looks, such as its SSIM in dB.
        chunk_s: how long a chunk plays.

    Raises:
        DataError: there is no chunk or no rung, a size is not above 0, a quality is no
            number, or a smaller rung is larger on average than the next.
    """

    sizes_bytes: Float64[np.ndarray, "c r"]
    quality: Float64[np.ndarray, "c r"]
    chunk_s: float = CHUNK_S

    def __post_init__(self) -> None:
        """Hold sizes and qualities to each other."""
        sizes = self.sizes_bytes
        found = ""
        if sizes.ndim != 2 or not sizes.size or sizes.shape != self.quality.shape:  # noqa: PLR2004
            found = f"sizes of shape {sizes.shape}, qualities of {self.quality.shape}"
        elif not (np.isfinite(sizes) & (sizes > 0) & (sizes < np.inf)).all():
            found = "a size that is not above 0"
        elif not np.isfinite(self.quality).all():
            found = "a quality that is no number"
        elif (np.diff(sizes.mean(axis=0)) < 0).any():
            found = f"rungs of {sizes.mean(axis=0)} bytes on average"
        elif not (np.isfinite(self.chunk_s) and self.chunk_s > 0):
            found = f"chunks of {self.chunk_s} s"
        if found:
            message = f"a ladder has chunks in rising rungs, found {found}"
            raise DataError(message, "sizes and qualities of each chunk, rung by rung")

    @property
    def n_rungs(self) -> int:
        """How many versions there are of each chunk."""
        return self.sizes_bytes.shape[1]


def drawn_ladder(
    rates_bps: Sequence[float] = RATES_BPS,
    *,
    n_chunks: int = 200,
    chunk_s: float = CHUNK_S,
    seed: int = 0,
) -> Ladder:
    """A video that is drawn: it measures none, and looks as encoded ones do.

    Sizes spread as those of scenes do, the same on all rungs; where a scene is hard to
    encode it looks worse. SSIM rises by 1.9 dB with each doubling of the bitrate.

    Args:
        rates_bps: mean bitrates of the rungs, rising.
        n_chunks: how many.
        chunk_s: how long each plays.
        seed: of all chance.

    Returns:
        The ladder.

    Raises:
        ConfigError: the bitrates do not rise, or there are no chunks.
    """
    rates = np.asarray(rates_bps, np.float64)
    is_rising = rates.size and rates[0] > 0 and (np.diff(rates) > 0).all()
    if not is_rising or n_chunks < 1 or not np.isfinite(rates).all():
        message = f"expected rising bitrates and chunks, found {rates}, {n_chunks}"
        raise ConfigError(message, "rates_bps=(2e5, 8e5, 3e6), n_chunks=200")
    rng = np.random.default_rng([seed, 17])
    hard = np.zeros(n_chunks)
    for chunk in range(1, n_chunks):
        hard[chunk] = 0.8 * hard[chunk - 1] + rng.normal(0, 0.2)
    hard -= np.log(np.exp(hard).mean())
    sizes = rates * chunk_s / 8 * np.exp(hard)[:, None]
    decibels = _LEAST_DB + _DB_OF_DOUBLE * np.log2(rates / rates[0])
    quality = decibels - _SPREAD_DB * hard[:, None]
    return Ladder(sizes_bytes=sizes, quality=quality, chunk_s=chunk_s)
