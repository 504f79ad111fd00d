"""Extractors from what they saved of themselves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from midhaul.errors import DataError
from midhaul.registry import Registry
from midhaul.vision.detectors.card import parse_card

if TYPE_CHECKING:
    from midhaul.federation.features.base import FeatureExtractor
    from midhaul.federation.npz_state import State

_FEATURES: Registry[Any] = Registry(
    "kind of features",
    {
        "none": "midhaul.federation.features.base:NoFeatures",
        "statistics": "midhaul.federation.features.statistics:ImageStatistics",
        "embedding": "midhaul.federation.features.embedding:load_embedding",
        "first-answer": "midhaul.federation.policies.after_first:FirstAnswer",
    },
    error=DataError,
)
"""What makes each kind."""


def extractor_of(state: State) -> FeatureExtractor:
    """The extractor that a state was taken from.

    DataError where there is no such kind, or the model of an embedding is gone.
    """
    make = _FEATURES.named(str(state.get("kind")))
    values = {key: value for key, value in state.items() if key != "kind"}
    if "file" in values:
        values["file"] = Path(values["file"])
        values["card"] = parse_card(values["card"], where=str(values["file"]))
    return make(**values)
