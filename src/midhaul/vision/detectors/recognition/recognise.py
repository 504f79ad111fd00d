"""Recognition of a detector: its card, from what its file says and how it answers.

A card beside the model, or named, may be partial: what it states goes before what is
found, and only the rest is looked for.
"""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.errors import DataError
from midhaul.vision.detectors.card import Card, parse_card
from midhaul.vision.detectors.geometry import InputBuffer
from midhaul.vision.detectors.outputs import first_image
from midhaul.vision.detectors.recognition.answers import Answered, picture
from midhaul.vision.detectors.recognition.facts import CardNotes, Recognised
from midhaul.vision.detectors.recognition.feeding import (
    fill_others,
    find_image_input,
    note_feeding,
)
from midhaul.vision.detectors.recognition.heads import recognise_head
from midhaul.vision.detectors.recognition.said import Said, what_is_said
from midhaul.vision.detectors.recognition.seen import Seen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midhaul.vision.detectors.recognition.facts import ModelFacts
    from midhaul.vision.detectors.recognition.feeding import ImageInput

REQUIRED = tuple(
    one.name
    for one in fields(Card)
    if one.default is MISSING and one.default_factory is MISSING
)
"""Keys without which a card says too little to feed a model by."""

_TASKS = ("", "detect", "segment", "pose")


def recognise(facts: ModelFacts, given: Mapping[str, Any]) -> Recognised:
    """Make the card of a model.

    Args:
        facts: of the model; it is run on a picture once.
        given: keys of a card that the user states.

    Raises:
        DataError: the model is no detector of a form that is known, or something is
            not said and has to be; the keys that say it are named.
    """
    family, notes = examine(facts, given)
    if notes.asked:
        raise _unsaid(facts, notes)
    card = parse_card(notes.values | dict(given), where=f"made for {facts.file}")
    return Recognised(
        card=card,
        family=family,
        found=tuple(notes.found),
        assumed=tuple(notes.assumed),
    )


def examine(facts: ModelFacts, given: Mapping[str, Any]) -> tuple[str, CardNotes]:
    """Family of a model, empty where unknown, and all that is found of its card.

    DataError if the model is no detector of a form that is known.
    """
    notes = CardNotes(given=given)
    said = what_is_said(facts)
    if said.task not in _TASKS:
        message = f"{facts.file} is a model to {said.task}, not one that finds boxes"
        raise DataError(message, "use a model whose task is detect")
    image = find_image_input(facts, said, notes)
    if notes.asked:  # it cannot be shown a picture
        return "", notes
    if "decoder" in given:
        family = str(given["decoder"])
    else:
        family = recognise_head(_shown_once(facts, image, said, notes))
    note_feeding(family, image, said, notes)
    notes.values |= {
        "name": facts.file.stem,
        "file": facts.file.name,
        "licence": said.licence or "unknown",
        "source": said.source or "not stated",
    }
    return family, notes


def _shown_once(
    facts: ModelFacts, image: ImageInput, said: Said, notes: CardNotes
) -> Seen:
    """Show the picture, fed in a way that fits the input's shape at least."""
    known = notes.values | {k: v for k, v in notes.given.items() if k in _SHAPE_KEYS}
    mean, std = (0.0, 255.0) if image.fact.dtype.startswith("float") else (0.0, 1.0)
    if image.fact.dtype == "int8":
        mean = 128.0
    feeding: dict[str, Any] = {"fit": "stretch", "colour": "rgb"}
    feeding |= {"mean": [mean] * 3, "std": [std] * 3} | said.feeding
    feeding |= {"decoder": "rows", "columns": ["x1", "y1", "x2", "y2", "score"]}
    feeding |= {k: v for k, v in known.items() if k in _SHAPE_KEYS}
    if image.fact.dtype in ("uint8", "int8"):
        feeding |= {"mean": [mean] * 3, "std": [std] * 3}
    card = parse_card(
        feeding
        | {"name": "-", "file": "-", "licence": "-", "source": "-", "labels": ["-"]},
        where=f"made for {facts.file}",
    )
    array, _ = InputBuffer(card).fill(picture())
    is_last = card.layout == "nhwc"
    height, width = array.shape[-3:-1] if is_last else array.shape[-2:]
    others = [one for one in facts.inputs if one is not image.fact]
    feed = {image.fact.name: array} | fill_others(card, others, width, height)
    outputs = first_image(facts.run(feed), card)
    answers = [
        Answered(name=fact.name, array=np.asarray(out), is_whole=out.dtype.kind in "iu")
        for fact, out in zip(facts.outputs, outputs, strict=True)
    ]
    return Seen(
        facts=facts,
        said=said,
        answers=answers,
        width=int(width),
        height=int(height),
        notes=notes,
    )


_SHAPE_KEYS = frozenset(
    {"input_width", "input_height", "layout", "batch", "dtype", "other_inputs", "fit"}
    | {"colour"}
)


def _unsaid(facts: ModelFacts, notes: CardNotes) -> DataError:
    """The error of what has to be said by the user."""
    keys = "; ".join(f"{key} ({what})" for key, what in notes.asked.items())
    message = f"{facts.file} does not say all that is needed: {keys}"
    beside = facts.file.with_suffix(".toml").name
    hint = (
        f"write {' and '.join(notes.asked)} into {beside} beside it; a card may leave "
        f"out all that the file says (midhaul models inspect {facts.file})"
    )
    return DataError(message, hint)
