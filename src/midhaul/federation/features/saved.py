"""Extractors from what they saved of themselves."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midhaul.errors import DataError
from midhaul.vision.detectors.card import parse_card

if TYPE_CHECKING:
    from midhaul.federation.features.base import FeatureExtractor
    from midhaul.federation.npz_state import State

_PLACES = {
    "none": "midhaul.federation.features.base:NoFeatures",
    "statistics": "midhaul.federation.features.statistics:ImageStatistics",
    "embedding": "midhaul.federation.features.embedding:load_embedding",
    "first-answer": "midhaul.federation.policies.after_first:FirstAnswer",
}
"""Kind to module and what makes it, so that nobody loads a library in vain."""


def extractor_of(state: State) -> FeatureExtractor:
    """The extractor that a state was taken from.

    Raises:
        DataError: there is no such kind, or the model of an embedding is gone.
    """
    kind = str(state.get("kind"))
    if kind not in _PLACES:
        message = f"there are no features of kind {kind!r}"
        raise DataError(message, f"known are {', '.join(_PLACES)}")
    module, _, name = _PLACES[kind].partition(":")
    make: Any = getattr(importlib.import_module(module), name)
    values = {key: value for key, value in state.items() if key != "kind"}
    if "file" in values:
        values["file"] = Path(values["file"])
        values["card"] = parse_card(values["card"], where=str(values["file"]))
    return make(**values)
