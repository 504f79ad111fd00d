"""What describes items by numbers, so that a policy can tell them apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from jaxtyping import Float32

    from midhaul.federation.problem import Recording
    from midhaul.federation.saving import State


class FeatureExtractor(Protocol):
    """Makes numbers of items; the row of an item depends on that item alone."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        ...

    @property
    def is_of_images(self) -> bool:
        """True when it looks at the images; otherwise none need to be handed over."""
        ...

    def extract(
        self, recording: Recording, images: Sequence[bytes] = ()
    ) -> Float32[np.ndarray, "n d"]:
        """Describe items.

        Args:
            recording: the items; only extractors that charge for it look at answers.
            images: the encoded image of each item, in the order of the recording;
                empty where the extractor does not look at them.

        Returns:
            ``(n, d)`` finite numbers; d may be 0.

        Raises:
            DataError: an image cannot be read.
        """
        ...

    def state(self) -> State:
        """What is needed to make it again, for ``features.saved.extractor_of``."""
        ...
