"""No features: policies then know only prices, and what was answered so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float32

    from midhaul.federation.problem import Recording
    from midhaul.federation.saving import State


@dataclass(frozen=True, slots=True, kw_only=True)
class NoFeatures:
    """A table without columns."""

    @property
    def names(self) -> tuple[str, ...]:
        """There are none."""
        return ()

    @property
    def is_of_images(self) -> bool:
        """It needs no image."""
        return False

    def extract(
        self,
        recording: Recording,
        images: Sequence[bytes] = (),  # noqa: ARG002
    ) -> Float32[np.ndarray, "n 0"]:
        """``(n, 0)``."""
        return np.zeros((len(recording), 0), np.float32)

    def state(self) -> State:
        """See :class:`midhaul.federation.features.base.FeatureExtractor`."""
        return {"kind": "none"}
