"""Inputs of a model: layout, size, type and channels of the image, and other inputs.

How the image is coloured, normalised and fitted stands in no shape: a file says it, or
it is what is usual for the family.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midhaul.vision.detectors.card import Card
    from midhaul.vision.detectors.recognition.facts import (
        CardNotes,
        ModelFacts,
        TensorFact,
    )
    from midhaul.vision.detectors.recognition.said import Said

_CHANNELS = (1, 3)
_IMAGE_AXES, _SINGLE_AXES = 4, 3
_DTYPES = ("float32", "float16", "uint8", "int8")
_OTHER_INPUTS = {
    "orig_target_sizes": "width-height",
    "target_sizes": "width-height",
    "im_shape": "height-width",
    "scale_factor": "ones",
    "pixel_mask": "ones",
}
"""Second inputs by their usual names. The size given is that of the model's input, so
that boxes come in px of it; a scale of 1 says that nothing was resized, and a mask of
ones that nothing was padded."""

_IMAGENET = {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]}
_UNIT = {"mean": [0.0] * 3, "std": [255.0] * 3}
_LETTERBOX = {"fit": "letterbox", "letterbox_anchor": "centre", "pad_value": 114}
_BGR = {
    "mean": [103.53, 116.28, 123.675],
    "std": [57.375, 57.12, 58.395],
    "colour": "bgr",
}
_USUAL: Mapping[str, Mapping[str, Any]] = {
    "yolo": {"colour": "rgb", **_UNIT, **_LETTERBOX, "nms_iou": 0.7},
    "yolo-nas": {"colour": "rgb", **_UNIT, **_LETTERBOX, "nms_iou": 0.7},
    "yolox": {
        "colour": "bgr",
        "mean": [0.0] * 3,
        "std": [1.0] * 3,
        **_LETTERBOX,
        "letterbox_anchor": "top-left",
        "nms_iou": 0.65,
    },
    "detr": {"colour": "rgb", **_IMAGENET, "fit": "stretch"},
    "rt-detr": {"colour": "rgb", **_UNIT, "fit": "stretch"},
    "paddle": {"colour": "rgb", "fit": "stretch", "interpolation": "cubic"},
    "torchvision": {"colour": "rgb", **_UNIT},
    "tensorflow": {"colour": "rgb", "fit": "stretch"},
    "efficientdet": {
        "colour": "rgb",
        "fit": "letterbox",
        "letterbox_anchor": "top-left",
        "pad_value": 0,
    },
    "fastestdet": {"colour": "bgr", **_UNIT, "fit": "stretch", "nms_iou": 0.45},
    "yolo-fastestv2": {"colour": "bgr", **_UNIT, "fit": "stretch", "nms_iou": 0.45},
    "nanodet": {**_BGR, "fit": "letterbox", "pad_value": 0, "nms_iou": 0.6},
    "nanodet-plus": {**_BGR, "fit": "stretch", "nms_iou": 0.6},
    "picodet": {
        "colour": "rgb",
        **_IMAGENET,
        "fit": "stretch",
        "interpolation": "cubic",
        "nms_iou": 0.6,
    },
}
"""How those who made a family feed it; see docs/explanation/detectors.md."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInput:
    """The input that takes the image.

    Attributes:
        fact: the input.
        is_last: whether the channels are its last axis.
    """

    fact: TensorFact
    is_last: bool


def find_image_input(facts: ModelFacts, said: Said, notes: CardNotes) -> ImageInput:
    """Which input takes the image, its layout, type, size and batch.

    DataError if none or several could.
    """
    images = [one for one in facts.inputs if _is_image(one)]
    if len(images) != 1:
        has = "; ".join(one.text for one in facts.inputs) or "none"
        found = "none" if not images else f"{len(images)} of them"
        message = (
            f"{facts.file} should have one input for an image of 1 or 3 channels, "
            f"found {found}: {has}"
        )
        raise DataError(message, "export the model with one image as its input")
    (fact,) = images
    shape = fact.shape
    is_last = len(shape) == _IMAGE_AXES and shape[1] not in _CHANNELS
    if len(shape) == _SINGLE_AXES:
        notes.find("shape of the input", layout="chw")
    elif is_last:
        is_first = shape[3] not in _CHANNELS and notes.given.get("layout") != "nhwc"
        is_last = not is_first
    if len(shape) == _IMAGE_AXES:
        if set(shape[1:]) & set(_CHANNELS):
            notes.find("shape of the input", layout="nhwc" if is_last else "nchw")
        else:
            notes.assume("usual where no axis is fixed", layout="nchw")
        _note_batch(shape[0], notes)
    notes.find("type of the input", dtype=fact.dtype)
    channels = shape[-1] if is_last else shape[-3]
    if channels == 1:
        notes.find("the input has one channel", colour="gray")
    _note_size(fact, said, notes, is_last=is_last)
    _note_others(facts, fact, notes)
    return ImageInput(fact=fact, is_last=is_last)


def note_feeding(family: str, image: ImageInput, said: Said, notes: CardNotes) -> None:
    """How the image is coloured, normalised and fitted."""
    notes.find(said.feeding_from, **said.feeding)
    quantises = image.fact.scale > 0
    is_whole = image.fact.dtype in ("uint8", "int8")
    usual = dict(_USUAL.get(family, {}))
    if is_whole and not quantises:
        _note_bytes(image.fact.dtype, notes)
        usual = {k: v for k, v in usual.items() if k not in ("mean", "std")}
    elif image.fact.dtype == "uint8" and family in ("tensorflow", "efficientdet"):
        notes.assume(
            "a quantised input of bytes takes pixels", mean=[0.0] * 3, std=[1.0] * 3
        )
    elif is_whole and "mean" in usual:
        _note_quantised(image.fact, usual, family, notes)
    if notes.values.get("fit") == "as-is":
        usual.pop("fit", None)
    if said.family == "ultralytics" and family == "yolo":
        notes.find(
            "Ultralytics' own way", **{k: usual[k] for k in usual if k != "nms_iou"}
        )
    if usual:
        notes.assume(f"usual for {family}", **usual)
    for key, what in (
        ("colour", "order of the channels"),
        ("mean", "what is taken off each channel, on 0..255"),
        ("std", "what divides each channel, on 0..255"),
        ("fit", "how an image of another shape is fitted"),
    ):
        notes.ask(key, what)


def fill_others(
    card: Card, others: Sequence[TensorFact], width: int, height: int
) -> dict[str, np.ndarray]:
    """What the inputs beside the image are given, for an input of a size in px."""
    found: dict[str, np.ndarray] = {}
    for fact in others:
        what = card.other_inputs.get(fact.name)
        if what is None:
            continue
        if what == "ones":
            is_mask = len(fact.shape) > len(("batch", "scale"))
            free = (card.batch, height, width) if is_mask else (card.batch, 2)
            pairs = zip(fact.shape, free, strict=True)
            shape = [usual if axis is None else axis for axis, usual in pairs]
            found[fact.name] = np.ones(shape, fact.dtype or "float32")
        else:
            size = (width, height) if what == "width-height" else (height, width)
            rows = np.tile(np.array(size), (card.batch, 1))
            found[fact.name] = rows.astype(fact.dtype or "float32")
    return found


def _is_image(fact: TensorFact) -> bool:
    if fact.name in _OTHER_INPUTS or fact.dtype not in _DTYPES:
        return False
    shape = fact.shape
    if len(shape) == _SINGLE_AXES:
        return shape[0] in _CHANNELS
    if len(shape) != _IMAGE_AXES:
        return False
    fixed = [one for one in (shape[1], shape[3]) if one is not None]
    return any(one in _CHANNELS for one in fixed) or len(fixed) < len(("c", "w"))


def _note_batch(batch: int | None, notes: CardNotes) -> None:
    if batch is not None and batch > 1:
        why = "shape of the input; its other images are left zero"
        notes.find(why, batch=batch)


def _note_size(
    fact: TensorFact, said: Said, notes: CardNotes, *, is_last: bool
) -> None:
    """Width and height of the input, by its shape or what is said."""
    height, width = fact.shape[-3:-1] if is_last else fact.shape[-2:]
    if "fit" in notes.given and notes.given["fit"] == "as-is":
        notes.find("fit = as-is", input_width=0, input_height=0)
    elif width is not None and height is not None:
        notes.find("shape of the input", input_width=width, input_height=height)
        if said.feeding.get("fit") == "aspect":
            del said.feeding["fit"]  # a fixed shape cannot follow the image's
    elif said.size is not None:
        where = said.feeding_from or "its metadata"
        notes.find(where, input_width=said.size[0], input_height=said.size[1])
    elif len(fact.shape) == _SINGLE_AXES or (is_last and fact.dtype == "uint8"):
        why = "it takes images of any size, as torchvision's and TensorFlow's graphs do"
        notes.assume(why, fit="as-is", input_width=0, input_height=0)
    else:
        why = "the model takes any size, and nothing says which it was trained for"
        notes.ask("input_width", f"px; {why}")
        notes.ask("input_height", f"px; {why}")


def _note_others(facts: ModelFacts, image: TensorFact, notes: CardNotes) -> None:
    """What the inputs beside the image are given."""
    others = [one for one in facts.inputs if one is not image]
    known = {
        one.name: _OTHER_INPUTS[one.name] for one in others if one.name in _OTHER_INPUTS
    }
    unknown = [one for one in others if one.name not in known]
    if unknown:
        names = ", ".join(one.text for one in unknown)
        notes.ask("other_inputs", f"what the model is given as {names}")
    elif known:
        notes.find("names of the inputs", other_inputs=known)


def _note_bytes(dtype: str, notes: CardNotes) -> None:
    """An input of whole numbers that no scale belongs to."""
    if dtype == "uint8":
        why = "an input of bytes takes pixels as they are"
        notes.assume(why, mean=[0.0] * 3, std=[1.0] * 3)
    else:
        why = "of pixels on 0..255, rounded to -128..127; 128 and 1 are usual"
        notes.ask("mean", why)
        notes.ask("std", why)


def _note_quantised(
    fact: TensorFact, usual: dict[str, Any], family: str, notes: CardNotes
) -> None:
    """The usual normalisation, then what quantisation makes of it."""
    pairs = list(zip(usual.pop("mean"), usual.pop("std"), strict=True))
    scale, zero = fact.scale, fact.zero_point
    notes.assume(
        f"usual for {family}, quantised with scale {scale:g} and zero {zero}",
        mean=[mean - zero * scale * std for mean, std in pairs],
        std=[std * scale for _, std in pairs],
    )
