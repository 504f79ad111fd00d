"""The small detectors that ship with midhaul."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from midhaul.errors import ConfigError, choice_hint
from midhaul.vision.detectors.card import read_card, with_options
from midhaul.vision.detectors.detector import Stated
from midhaul.vision.detectors.onnx import OnnxDetector

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midhaul.vision.detectors.card import Card

_WEIGHTS = Path(str(resources.files("midhaul.vision"))) / "weights"


def builtin_names() -> tuple[str, ...]:
    """Names of the detectors that ship with midhaul."""
    return tuple(sorted(file.stem for file in _WEIGHTS.glob("*.onnx")))


def builtin_cards() -> tuple[Card, ...]:
    """Cards of the detectors that ship with midhaul, by name."""
    return tuple(read_card(_WEIGHTS / f"{name}.toml") for name in builtin_names())


def stated(location: str, options: Mapping[str, str]) -> Stated:
    """What the card of a detector says, by its name.

    ConfigError if there is none of this name.
    """
    card = _card(location, options)
    return Stated(names=card.names, max_detections=card.max_detections)


def load(
    location: str, options: Mapping[str, str], *, threads: int, seed: int
) -> OnnxDetector:
    """Load a detector by its name. ``seed`` is not used.

    ConfigError if there is none of this name.
    """
    del seed
    card = _card(location, options)
    file = _WEIGHTS / f"{location}.onnx"
    return OnnxDetector(file, card, threads=threads)


def _card(name: str, options: Mapping[str, str]) -> Card:
    known = builtin_names()
    if name not in known:
        message = f"there is no built-in detector {name!r}"
        raise ConfigError(message, choice_hint(name, known))
    return with_options(read_card(_WEIGHTS / f"{name}.toml"), options)
