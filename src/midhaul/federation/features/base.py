"""Features: what describes items by numbers, so that a policy can tell them apart.

Without any, policies know only prices, and what was answered so far.
Extractors are made again from what they saved of themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from midhaul.errors import DataError
from midhaul.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float32

    from midhaul.federation.recordings.problem import Recording
    from midhaul.npz_state import State


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
        """What is needed to make it again, for :func:`extractor_of`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class NoFeatures:
    """A table without columns."""

    is_of_images = False

    @property
    def names(self) -> tuple[str, ...]:
        """There are none."""
        return ()

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


_FEATURES: Registry[Any] = Registry(
    "kind of features",
    {
        "none": "midhaul.federation.features.base:NoFeatures",
        "statistics": "midhaul.federation.features.statistics:ImageStatistics",
        "embedding": "midhaul.federation.features.embedding:load_embedding",
        "first-answer": "midhaul.federation.policies.answer_features:FirstAnswer",
    },
    error=DataError,
)
"""What makes each kind."""


def extractor_of(state: State) -> FeatureExtractor:
    """The extractor that a state was taken from.

    DataError where there is no such kind, or the model of an embedding is gone.
    """
    from midhaul.vision.detectors.card import parse_card  # noqa: PLC0415 - pydantic

    make = _FEATURES.named(str(state.get("kind")))
    values = {key: value for key, value in state.items() if key != "kind"}
    if "file" in values:
        values["file"] = Path(values["file"])
        values["card"] = parse_card(values["card"], where=str(values["file"]))
    return make(**values)
