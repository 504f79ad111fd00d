"""Model cards: the small TOML file that says how to feed a model and read its answer.

A card lies beside the model (``model.onnx``, ``model.toml``), is named in the spec
(``onnx:model.onnx?card=card.toml``), or ships with midhaul and is found by the model's
file name. A card holds facts; the weights stay with their authors.

The label sets of COCO stand here by the two ways in which models number them.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field, fields, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config

from midhaul import documents
from midhaul.errors import ConfigError, DataError, choice_hint

if TYPE_CHECKING:
    from collections.abc import Mapping
    from importlib.resources.abc import Traversable

COCO80 = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck",
    "boat", "traffic light", "fire hydrant", "stop sign", "parking meter", "bench",
    "bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra",
    "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis",
    "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard",
    "surfboard", "tennis racket", "bottle", "wine glass", "cup", "fork", "knife",
    "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli", "carrot",
    "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed",
    "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard",
    "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book",
    "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
"""The 80 classes of COCO's boxes, in the order of their category ids."""

# Category ids of COCO (1..90) that no box has.
_UNUSED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)


def coco91() -> tuple[str, ...]:
    """COCO's classes by category id from 1 on; empty where an id is not in use."""
    names = iter(COCO80)
    return tuple("" if number in _UNUSED else next(names) for number in range(1, 91))


Decoder = Literal[
    "boxes", "dense", "fastestdet", "gfl", "rows", "yolo-fastestv2", "yolox"
]
Column = Literal[
    "", "image", "label", "score", "x1", "y1", "x2", "y2", "cx", "cy", "w", "h"
]
_Colours = tuple[float, float, float]
_Text = Annotated[str, Field(min_length=1)]


@with_config(ConfigDict(extra="forbid", strict=True, allow_inf_nan=False))
@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """How to feed one model and how to read its answer.

    Attributes:
        name: what tables and charts call the detector.
        file: name of the model's file.
        input_width: px; 0 when ``fit`` is ``as-is``; the longer side's most with
            ``aspect``.
        input_height: px; 0 when ``fit`` is ``as-is``; the shorter side with ``aspect``.
        layout: order of the input's axes; ``chw`` has no batch axis.
        batch: images that the input holds; one is used, the others are zero.
        other_inputs: what the model's other inputs are given: ones, or the size of the
            input in px.
        colour: order of the channels, or one channel of ``gray``.
        dtype: type of the input; whole numbers are rounded and cut to its range.
        mean: taken off each channel, on 0..255, in the order of ``colour``.
        std: divides each channel after that.
        fit: ``stretch`` changes the aspect, ``letterbox`` pads, ``aspect`` keeps it
            and has an input of any shape, ``as-is`` does not resize.
        letterbox_anchor: where in the letterbox the image lies.
        pad_value: of the letterbox's bars, 0..255.
        interpolation: of the resize.
        decoder: how outputs become boxes.
        outputs: names of the outputs in the order that the decoder takes; empty for
            the model's own order.
        box_order: ``boxes`` and ``dense``: order of the four numbers of a box.
        box_unit: ``boxes``, ``dense`` and ``rows``: px of the input, or fractions.
        scores: ``dense`` only: chances as they are, or what makes chances of them.
        objectness: ``dense`` only: whether a number between box and classes scales
            all of them.
        extra_values: ``dense`` only: numbers behind the classes that are not read.
        columns: ``rows`` only: what each number of a row is; empty for what is not
            read.
        strides: px per cell of each output grid.
        anchors: widths and heights in px, per stride; anchor-based decoders only.
        score_threshold: detections below are dropped before anything else.
        nms_iou: overlap from which the weaker box of a class goes; 1 for no NMS.
        max_detections: the best ones kept.
        labels: the label set, or ``coco80``, or ``coco91`` (90 numbers, 80 in use);
            an empty name stands for a number that is not in use.
        first_label: number that the model gives to the first label.
        licence: of the weights; ``unknown`` where none is stated.
        source: where the weights come from.
        caveat: what reports must say beside its numbers.
        measured: what was measured with it, for the reader.
        training: how it was trained, for the reader.
    """

    name: _Text
    file: _Text
    input_width: Annotated[int, Field(ge=0, le=8192)]
    input_height: Annotated[int, Field(ge=0, le=8192)]
    layout: Literal["nchw", "nhwc", "chw"] = "nchw"
    batch: Annotated[int, Field(ge=1, le=1024)] = 1
    other_inputs: dict[str, Literal["ones", "width-height", "height-width"]] = field(
        default_factory=dict[str, Literal["ones", "width-height", "height-width"]]
    )
    colour: Literal["rgb", "bgr", "gray"]
    dtype: Literal["float32", "float16", "uint8", "int8"] = "float32"
    mean: _Colours = (0.0, 0.0, 0.0)
    std: Annotated[_Colours, Field()] = (1.0, 1.0, 1.0)
    fit: Literal["stretch", "letterbox", "aspect", "as-is"] = "stretch"
    letterbox_anchor: Literal["centre", "top-left"] = "centre"
    pad_value: Annotated[int, Field(ge=0, le=255)] = 0
    interpolation: Literal["nearest", "linear", "cubic", "area"] = "linear"
    decoder: Decoder
    outputs: tuple[str, ...] = ()
    box_order: Literal["xyxy", "yxyx", "xywh", "cxcywh"] = "xyxy"
    box_unit: Literal["px", "fraction"] = "px"
    scores: Literal["chances", "logits", "softmax"] = "chances"
    objectness: bool = False
    extra_values: Annotated[int, Field(ge=0)] = 0
    columns: tuple[Column, ...] = ()
    strides: tuple[Annotated[int, Field(gt=0)], ...] = ()
    anchors: tuple[tuple[float, ...], ...] = ()
    score_threshold: Annotated[float, Field(ge=0, lt=1)] = 0.005
    nms_iou: Annotated[float, Field(gt=0, le=1)] = 0.6
    max_detections: Annotated[int, Field(ge=1)] = 100
    labels: Literal["coco80", "coco91"] | tuple[str, ...]
    first_label: Annotated[int, Field(ge=0)] = 0
    licence: _Text
    source: _Text
    caveat: str = ""
    measured: dict[str, Any] = field(default_factory=dict[str, Any])
    training: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def numbered_labels(self) -> tuple[str, ...]:
        """Name of every number from ``first_label`` on; empty where not in use."""
        if self.labels == "coco80":
            return COCO80
        return coco91() if self.labels == "coco91" else self.labels

    @property
    def names(self) -> tuple[str, ...]:
        """The label set, without the numbers that are not in use."""
        return tuple(name for name in self.numbered_labels if name)


def read_card(file: Path | Traversable) -> Card:
    """Read a card.

    DataError if it is missing, no TOML, or does not fit; every mistake is named.
    """
    return parse_card(card_values(file), where=str(file))


def card_values(file: Path | Traversable) -> dict[str, Any]:
    """The keys of a card, not checked; DataError if it is missing or no TOML."""
    try:
        return documents.parse_toml(file.read_text(encoding="utf-8"))
    except OSError as error:
        message = f"model card {file} cannot be read: {error.strerror or error}"
        raise DataError(message, "name another one with ?card=FILE") from error
    except ValueError as error:
        message = f"model card {file} is not valid TOML: {error}"
        raise DataError(message, "see docs/explanation/detectors.md") from error


def parse_card(values: Mapping[str, Any], *, where: str) -> Card:
    """Check the values of a card.

    The DataError names every mistake with its key, and what was meant where that is
    clear.
    """
    try:  # as JSON, because there strictness still takes a list for a tuple
        card = _adapter().validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        mistakes = [_mistake(one) for one in error.errors()]
        message = f"model card {where}: " + "; ".join(mistakes)
        raise DataError(message, "see docs/explanation/detectors.md") from error
    mistakes = list(_contradictions(card))
    if mistakes:
        message = f"model card {where}: " + "; ".join(mistakes)
        raise DataError(message, "see docs/explanation/detectors.md")
    return card


def find_card(model: Path, card: str | None = None) -> Card:
    """The card of a model file.

    Without a named card it is looked for beside the model, then among those that ship
    with midhaul. DataError if there is none, or it is wrong.
    """
    if card is not None:
        return read_card(Path(card))
    beside = model.with_suffix(".toml")
    if beside.is_file():
        return read_card(beside)
    for shipped in shipped_cards():
        if shipped.file == model.name:
            return shipped
    message = f"{model} has no model card: {beside.name} is not beside it"
    known = ", ".join(shipped.file for shipped in shipped_cards())
    hint = (
        f"write {beside} (see docs/explanation/detectors.md) or add ?card=FILE; "
        f"midhaul knows these files by name: {known}"
    )
    raise DataError(message, hint)


def with_options(card: Card, options: Mapping[str, str]) -> Card:
    """A card with what a detector's spec says otherwise: ``max_detections``.

    ConfigError if the number is none.
    """
    text = options.get("max_detections")
    if text is None:
        return card
    if not text.isdecimal() or int(text) < 1:
        message = f"option max_detections must be a whole number from 1, found {text!r}"
        raise ConfigError(message, "for example max_detections=300")
    return replace(card, max_detections=int(text))


@functools.cache
def shipped_cards() -> tuple[Card, ...]:
    """The cards that ship with midhaul, by name."""
    folder = resources.files("midhaul.vision") / "cards"
    files = sorted(folder.iterdir(), key=lambda file: file.name)
    return tuple(read_card(file) for file in files if file.name.endswith(".toml"))


@functools.cache
def _adapter() -> TypeAdapter[Card]:
    return TypeAdapter(Card)


def _mistake(error: Any) -> str:
    """One mistake in words."""
    place = ".".join(str(part) for part in error["loc"]) or "the card"
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        known = [one.name for one in fields(Card)]
        return f"unknown key {place} ({choice_hint(place, known)})"
    if error["type"] in ("missing", "missing_keyword_only_argument"):
        return f"key {place} is missing"
    return f"{place}: {error['msg']}, found {error['input']!r}"


def _contradictions(card: Card) -> list[str]:
    """Mistakes that no single key shows."""
    found: list[str] = []
    has_size = card.input_width > 0 and card.input_height > 0
    if has_size == (card.fit == "as-is"):
        found.append("input_width and input_height must be 0 with fit = as-is only")
    heads = ("boxes", "dense", "rows")
    if card.fit in ("as-is", "aspect") and card.decoder not in heads:
        found.append(f"fit = {card.fit} needs a decoder among {', '.join(heads)}")
    if card.layout == "chw" and card.batch > 1:
        found.append("layout = chw has no batch")
    if 0 in card.std:
        found.append("std must not hold 0")
    if not card.names or len(set(card.names)) != len(card.names):
        found.append("labels must hold names, and none of them twice")
    if card.decoder in ("gfl", "yolox", "yolo-fastestv2") and not card.strides:
        found.append(f"decoder {card.decoder} needs strides")
    if card.decoder == "yolo-fastestv2" and (
        len(card.anchors) != len(card.strides)
        or any(len(pairs) % 2 or not pairs for pairs in card.anchors)
    ):
        found.append("anchors needs one list of widths and heights per stride")
    if card.decoder == "boxes" and len(card.outputs) < len(
        ("boxes", "labels", "scores")
    ):
        found.append("decoder boxes needs outputs = [boxes, labels, scores]")
    if card.decoder == "rows":
        found += _wrong_columns(card.columns)
    return found


def _wrong_columns(columns: tuple[Column, ...]) -> list[str]:
    named = [one for one in columns if one]
    boxes = (
        {"x1", "y1", "x2", "y2"}, {"cx", "cy", "w", "h"}, {"x1", "y1", "w", "h"}
    )  # fmt: skip
    sides = set(named) - {"image", "label", "score"}
    if "score" in named and sides in boxes and len(set(named)) == len(named):
        return []
    return [
        "decoder rows needs columns that name score and the four numbers of a box once"
    ]
