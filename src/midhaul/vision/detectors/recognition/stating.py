"""Cards by path and options: written by hand, partial, or made by recognition.

A card is the one named by ``card``, else the one beside the model, else the one that
ships for a file of that name; options of the spec go before it. Where all that stands
in it is enough, nothing is looked at; else the model is.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midhaul.errors import ConfigError
from midhaul.vision.data.names import names_from_file
from midhaul.vision.detectors.card import (
    Card,
    card_values,
    parse_card,
    shipped_cards,
    with_options,
)
from midhaul.vision.detectors.detector import CARD_OPTIONS, Stated, model_file
from midhaul.vision.detectors.recognition.facts import Recognised
from midhaul.vision.detectors.recognition.recognise import REQUIRED, recognise

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from midhaul.vision.detectors.recognition.facts import ModelFacts

_WHOLE = frozenset({"input_width", "input_height", "first_label"})
_REAL = frozenset({"nms_iou", "score_threshold"})
_LISTS = frozenset({"columns", "outputs"})
_REALS = frozenset({"mean", "std"})


def recognised_at(
    location: str,
    options: Mapping[str, str],
    *,
    kind: str,
    look: Callable[[Path], ModelFacts],
) -> tuple[Path, Recognised]:
    """The file of a model at a path, and its card.

    ``look`` opens a model to see what it is. ConfigError if the path is not that of the
    kind or an option is wrong; DataError if the model is missing, its card is wrong, or
    something that is needed stands nowhere.
    """
    file, given, where = stated_values(location, options, kind=kind)
    if all(key in given for key in REQUIRED):
        found = Recognised(card=parse_card(given, where=where))
    else:
        found = recognise(look(file), given)
    card = with_options(found.card, options)
    return file, Recognised(
        card=card, family=found.family, found=found.found, assumed=found.assumed
    )


def stated_by(
    location: str,
    options: Mapping[str, str],
    *,
    kind: str,
    look: Callable[[Path], ModelFacts],
) -> Stated:
    """What a card says of a detector's answers; errors as :func:`recognised_at`."""
    _, found = recognised_at(location, options, kind=kind, look=look)
    return Stated(
        names=found.card.names,
        max_detections=found.card.max_detections,
        tallies=found.tallies,
    )


def option_values(options: Mapping[str, str]) -> dict[str, Any]:
    """Keys of a card that a spec states; ConfigError if one is no number."""
    values: dict[str, Any] = {}
    for key, text in options.items():
        if key not in CARD_OPTIONS:
            continue
        try:
            values[key] = _value(key, text)
        except ValueError as error:
            message = f"option {key} must be a number or several, found {text!r}"
            raise ConfigError(message, f"for example {key}=0.5") from error
    return values


def _value(key: str, text: str) -> Any:
    if key in _WHOLE:
        return int(text)
    if key in _REAL:
        return float(text)
    if key in _REALS:
        numbers = [float(one) for one in text.split(",")]
        return numbers * 3 if len(numbers) == 1 else numbers
    if key in _LISTS:
        return text.split(",")
    if key == "labels" and text not in ("coco80", "coco91"):
        return list(names_from_file(Path(text)))
    return text


def stated_values(
    location: str, options: Mapping[str, str], *, kind: str
) -> tuple[Path, dict[str, Any], str]:
    """The file of a model, the keys of its card that are stated, and where.

    Nothing is stated where there is no card. Errors as of :func:`recognised_at`.
    """
    file = model_file(location, kind=kind)
    beside = file.with_suffix(".toml")
    if "card" in options:
        given, where = dict(card_values(Path(options["card"]))), options["card"]
    elif beside.is_file():
        given, where = dict(card_values(beside)), str(beside)
    else:
        given = dict(_shipped().get(file.name, {}))
        where = f"that ships for {file.name}" if given else "of no file"
    return file, given | option_values(options), where


@functools.cache
def _shipped() -> dict[str, dict[str, Any]]:
    """The keys of the cards that ship with midhaul, by the model's file name."""
    return {card.file: _plain(card) for card in shipped_cards()}


def _plain(card: Card) -> dict[str, Any]:
    return {
        key: list(value) if isinstance(value, tuple) else value  # pyright: ignore[reportUnknownArgumentType]
        for key in card.__dataclass_fields__
        if (value := getattr(card, key)) is not None
    }
