"""Inspection of a model: what is found, what is assumed, and what it sees.

Nothing is judged: the picture shows at one look whether boxes lie right.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from midhaul.errors import ConfigError
from midhaul.vision.detectors.card import parse_card
from midhaul.vision.detectors.detector import RUNTIMES, load_detector, parse_spec
from midhaul.vision.detectors.recognition.answers import picture
from midhaul.vision.detectors.recognition.facts import shown
from midhaul.vision.detectors.recognition.recognise import REQUIRED, examine
from midhaul.vision.detectors.recognition.stating import stated_values

if TYPE_CHECKING:
    from midhaul.model import Detections
    from midhaul.vision.detectors.card import Card
    from midhaul.vision.images.image import Pixels

_KINDS = {".onnx": "onnx", ".tflite": "tflite"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What is known of a model.

    Attributes:
        spec: how an experiment names it.
        family: by the form of its answer; empty where a card says all.
        inputs: name, type and shape of each.
        outputs: name, type and shape of each.
        stated: keys that a card or the spec states, in words.
        found: what stands in the files or follows from them, in words.
        assumed: what is only usual, in words.
        asked: what has to be stated, by key.
        card: how the model is fed and read; None while something is asked for.
        pixels: the picture that it was shown.
        detections: what it saw there.
    """

    spec: str
    family: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    stated: tuple[str, ...]
    found: tuple[str, ...]
    assumed: tuple[str, ...]
    asked: dict[str, str]
    card: Card | None
    pixels: Pixels
    detections: Detections | None

    def plain(self) -> dict[str, Any]:
        """All but the picture, for JSON."""
        seen = None if self.detections is None else len(self.detections)
        return {
            "spec": self.spec,
            "family": self.family,
            "inputs": self.inputs,
            "outputs": self.outputs,
            "stated": self.stated,
            "found": self.found,
            "assumed": self.assumed,
            "asked": self.asked,
            "card": None if self.card is None else asdict(self.card),
            "n_detections": seen,
        }


def inspect_model(text: str, pixels: Pixels | None = None) -> Inspection:
    """Look at a model, and let it look at a picture.

    Args:
        text: the file of a model, with options behind it, or its spec.
        pixels: the picture; a drawn street scene by default.

    Raises:
        ConfigError: the text names no model of a runtime that takes cards.
        DataError: the file is missing or damaged, or its model is of no known form.
        PrerequisiteError: a library is missing; the hint says how to install it.
    """
    spec = _spec_of(text)
    parsed = parse_spec(spec)
    runtime = RUNTIMES.named(parsed.kind)
    file, given, where = stated_values(
        parsed.location, parsed.options, kind=parsed.kind
    )
    facts = runtime.look(file)
    family, card = "", None
    found: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    asked: dict[str, str] = {}
    if all(key in given for key in REQUIRED):
        card = parse_card(given, where=where)
    else:
        family, notes = examine(facts, given)
        found, assumed, asked = tuple(notes.found), tuple(notes.assumed), notes.asked
        if not asked:
            card = parse_card(notes.values | given, where=where)
    pixels = picture() if pixels is None else pixels
    return Inspection(
        spec=spec,
        family=family,
        inputs=tuple(one.text for one in facts.inputs),
        outputs=tuple(one.text for one in facts.outputs),
        stated=tuple(f"{key} = {shown(value)}" for key, value in given.items()),
        found=found,
        assumed=assumed,
        asked=asked,
        card=card,
        pixels=pixels,
        detections=None if card is None else load_detector(spec).detect(pixels),
    )


def _spec_of(text: str) -> str:
    """A spec as it is; of a file, with the runtime that its ending names."""
    path, mark, options = text.partition("?")
    suffix = PurePath(path).suffix.lower()
    kind, _, rest = path.partition(":")
    if kind in _KINDS.values() and rest:
        return text
    if suffix not in _KINDS:
        message = f"{text} is no model that a card belongs to"
        raise ConfigError(message, f"name a file that ends in {' or '.join(_KINDS)}")
    return f"{_KINDS[suffix]}:{path}{mark}{options}"
