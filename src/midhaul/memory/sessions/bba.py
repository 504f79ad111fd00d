"""BBA, buffer-based adaptation: the fuller the buffer, the higher the rung.

T.-Y. Huang et al., "A buffer-based approach to rate adaptation: evidence from a large
video streaming service", SIGCOMM 2014, section 4.

Differences from the paper:

1. Rates are those of the next chunk on each rung (as in its section 5), between the
   smallest and the largest rung.
2. The rung is the highest whose rate the map allows; there is no hysteresis of staying
   until the next one is reached.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import ConfigError

if TYPE_CHECKING:
    from jaxtyping import Int64

    from midhaul.memory.sessions.base import Players


@dataclass(frozen=True, slots=True, kw_only=True)
class BufferBased:
    """A linear map from the buffer to a rate.

    Attributes:
        reservoir: share of the buffer below which it is the lowest rung.
        upper: share from which it is the highest.

    Raises:
        ConfigError: they are not shares that rise.
    """

    reservoir: float = 0.25
    upper: float = 0.9

    name = "bba"

    def __post_init__(self) -> None:
        """Check that the map rises."""
        if not 0 <= self.reservoir < self.upper <= 1:
            message = (
                f"expected 0 <= reservoir < upper <= 1, found {self.reservoir} and "
                f"{self.upper}"
            )
            raise ConfigError(message, "reservoir=0.25, upper=0.9")

    def choose(self, now: Players) -> Int64[np.ndarray, " n"]:
        """The highest rung that the map allows."""
        sizes = now.sizes_bytes[:, 0]
        low, high = self.reservoir * now.most_s, self.upper * now.most_s
        share = np.clip((now.buffer_s - low) / (high - low), 0, 1)
        least, most = sizes.min(axis=1), sizes.max(axis=1)
        allowed = least + share * (most - least)
        fits = sizes <= allowed[:, None] * (1 + 1e-12)
        return (sizes.shape[1] - 1 - fits[:, ::-1].argmax(axis=1)).astype(np.int64)
