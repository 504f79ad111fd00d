"""What a detector is, and how a line of text names one.

A spec is ``kind:location?key=value&key=value``::

    builtin:NAME[?max_detections=N]                     shipped with midhaul
    onnx:FILE[?card=FILE&max_detections=N&KEY=VALUE]    ONNX Runtime
    tflite:FILE[?card=FILE&max_detections=N&KEY=VALUE]  TensorFlow Lite
    torchvision:NAME[?weights=DEFAULT|none|FILE]        a builder of torchvision
    recorded:FILE?provider=NAME[&service_s=S&cv=X]      replays recorded detections
    replay:FILE[?names=FILE&missing=empty]              what another program answered
    python:MODULE:FACTORY[?KEY=VALUE]                   a detector of your own
    openvino:FILE[?card=FILE&max_detections=N&KEY=VALUE] OpenVINO
    null[?service_s=S&load_s=S]                         answers nothing

KEY is one of a card's that fit into a line: ``labels=coco80``, ``colour=bgr``. Of onnx
there are ``provider`` (``cpu``, ``cuda``, ``openvino``, …) and ``precision`` (``fp32``,
``int8-dynamic``, and ``int8`` with ``calibration=DIR``) as well.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Protocol

from midhaul.errors import ConfigError, DataError, choice_hint
from midhaul.registry import Entry, Registry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midhaul.model import Detections, Tally
    from midhaul.vision.images.image import Pixels


class Detector(Protocol):
    """A model that finds boxes; its boxes are in px of the image it is given.

    :mod:`midhaul.vision.detectors.checks` holds what every implementation must pass.

    Attributes:
        name: what tables and charts call it.
        names: its label set.
    """

    @property
    def name(self) -> str:
        """What tables and charts call it."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """The label set, in the detector's own order."""
        ...

    def detect(self, pixels: Pixels, *, image_id: str = "") -> Detections:
        """Find boxes on one image.

        Args:
            pixels: ``(h, w, 3)`` RGB; not changed.
            image_id: id of the image; only recorded detections look at it.

        Returns:
            Boxes inside the image, best score first.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorSpec:
    """A spec taken apart.

    Attributes:
        kind: name of the runtime.
        location: file or name, empty for null.
        options: what stands behind the question mark.
    """

    kind: str
    location: str = ""
    options: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """What can be said of a detector's answers without loading it.

    Attributes:
        names: its label set; None where only its answers tell.
        max_detections: how many boxes it gives an image at most; None if not known.
        tallies: what was assumed of it.
    """

    names: tuple[str, ...] | None = None
    max_detections: int | None = None
    tallies: tuple[Tally, ...] = ()


CARD_OPTIONS = (
    "labels", "colour", "mean", "std", "fit", "input_width", "input_height",
    "box_order", "box_unit", "scores", "columns", "outputs", "first_label", "nms_iou",
    "score_threshold",
)  # fmt: skip
"""Keys of a card that a spec may state; labels may be a file with a name a line."""

ANY_OPTION = "*"
"""Stands for every option of a runtime that hands them on."""

_HERE = "midhaul.vision.detectors"
_ONNX = (("onnxruntime", "detect"), ("cv2", "detect"))

RUNTIMES: Registry[Any] = Registry(
    "kind of detector",
    {
        "builtin": Entry(
            place=f"{_HERE}.builtin",
            needs=_ONNX,
            options=("max_detections",),
            example="builtin:NAME",
        ),
        "onnx": Entry(
            place=f"{_HERE}.onnx",
            needs=_ONNX,
            options=(
                *("card", "max_detections", "provider", "precision", "calibration"),
                *CARD_OPTIONS,
            ),
            example="onnx:model.onnx",
        ),
        "tflite": Entry(
            place=f"{_HERE}.tflite",
            needs=(("ai_edge_litert", "tflite"), ("cv2", "detect")),
            options=("card", "max_detections", *CARD_OPTIONS),
            example="tflite:model.tflite",
        ),
        "openvino": Entry(
            place=f"{_HERE}.openvino",
            needs=(("openvino", "openvino"), ("cv2", "detect")),
            options=("card", "max_detections", *CARD_OPTIONS),
            example="openvino:model.xml",
        ),
        "torchvision": Entry(
            place=f"{_HERE}.torchvision",
            needs=(("torch", "learn"),),
            options=("weights",),
            example="torchvision:ssdlite320_mobilenet_v3_large?weights=DEFAULT",
        ),
        "recorded": Entry(
            place=f"{_HERE}.recorded",
            options=("provider", "service_s", "cv"),
            example="recorded:detections.parquet?provider=NAME",
        ),
        "replay": Entry(
            place=f"{_HERE}.replay",
            options=("names", "missing"),
            example="replay:predictions.json?names=coco91",
        ),
        "python": Entry(
            place=f"{_HERE}.python",
            options=(ANY_OPTION,),
            example="python:package.module:factory",
        ),
        "null": Entry(
            place=f"{_HERE}.null", options=("service_s", "load_s"), example="null"
        ),
    },
)
"""The module of each kind, with ``load`` and ``stated``."""


def parse_spec(spec: str) -> DetectorSpec:
    """Take a spec apart and check its kind and its options' names.

    ConfigError if the kind or an option is unknown, or the location is missing.
    """
    head, has_options, query = spec.partition("?")
    kind, _, location = head.partition(":")
    runtime = RUNTIMES.entry(kind, spec)
    if (location == "") != (kind == "null"):
        message = f"a detector of kind {kind} is written otherwise, found {spec!r}"
        raise ConfigError(message, f"for example {runtime.example}")
    options: dict[str, str] = {}
    for pair in query.split("&") if has_options else ():
        key, equals, value = pair.partition("=")
        if key not in runtime.options and ANY_OPTION not in runtime.options:
            message = f"unknown option {key!r} of detector {spec!r}"
            raise ConfigError(message, choice_hint(key, runtime.options))
        if not equals or not value or key in options:
            message = f"option {key} of {spec!r} must be given once, as {key}=VALUE"
            raise ConfigError(message)
        options[key] = value
    return DetectorSpec(kind=kind, location=location, options=options)


def load_detector(spec: str, *, threads: int = 1, seed: int = 0) -> Detector:
    """Load the detector that a spec names.

    Args:
        spec: see the head of this module; files are relative to the working directory.
        threads: CPU threads that inference may use.
        seed: of the service times of recorded detections, and of random weights.

    Raises:
        ConfigError: the spec is wrong.
        DataError: a file is missing or holds something else.
        PrerequisiteError: a library is missing; the hint says how to install it.
    """
    parsed = parse_spec(spec)
    if threads < 1:
        message = f"threads of a detector must be at least 1, found {threads}"
        raise ConfigError(message)
    return RUNTIMES.named(parsed.kind).load(
        parsed.location, parsed.options, threads=threads, seed=seed
    )


def stated(spec: str) -> Stated:
    """What can be said of a detector's answers without loading it.

    ConfigError if the spec is wrong; DataError if a file is missing or holds something
    else; PrerequisiteError if a library is missing; the hint says how to install it.
    """
    parsed = parse_spec(spec)
    return RUNTIMES.named(parsed.kind).stated(parsed.location, parsed.options)


def short_name(spec: str) -> str:
    """The spec in one word, for tables and charts; reads no file.

    ConfigError if the spec is wrong.
    """
    parsed = parse_spec(spec)
    if parsed.kind in ("builtin", "onnx", "tflite", "openvino", "replay"):
        words = [
            _word(key, value)
            for key, value in parsed.options.items()
            if key not in ("card", "labels", "names", "missing", "calibration")
        ]
        if parsed.kind == "openvino":
            words.append("OpenVINO")
        name = PurePath(parsed.location).stem
        return f"{name} ({', '.join(words)})" if words else name
    if parsed.kind == "recorded":
        return parsed.options.get("provider", PurePath(parsed.location).stem)
    weights = parsed.options.get("weights", "DEFAULT")
    if parsed.kind == "torchvision" and weights == "none":
        return f"{parsed.location} (random weights)"
    if parsed.kind == "torchvision" and weights != "DEFAULT":
        return f"{parsed.location} ({PurePath(weights).stem})"
    return PurePath(parsed.location).name or parsed.kind


def _word(key: str, value: str) -> str:
    """An option in a name."""
    if key == "max_detections":
        return f"{value} boxes"
    return value if key in ("provider", "precision") else f"{key} {value}"


def assumptions(detector: Detector) -> tuple[Tally, ...]:
    """What was assumed of a detector, to stand beside its numbers; mostly nothing."""
    return tuple(getattr(detector, "tallies", ()))


def caveat(detector: Detector) -> str:
    """What a report must say beside this detector's numbers; mostly nothing."""
    return str(getattr(detector, "caveat", ""))


_SUFFIXES = {
    "onnx": (".onnx",),
    "tflite": (".tflite",),
    "openvino": (".xml", ".onnx"),
}


def model_file(location: str, *, kind: str) -> Path:
    """The file of a model, after a look at its ending.

    ConfigError if the ending is not that of the kind; DataError if there is no such
    file.
    """
    file = Path(location)
    if file.suffix.lower() not in _SUFFIXES[kind]:
        ends = " or ".join(_SUFFIXES[kind])
        message = f"{kind}: needs a file that ends in {ends}, found {location}"
        meant = [one for one, ends in _SUFFIXES.items() if file.suffix.lower() in ends]
        hint = f"did you mean {meant[0]}:{location}?" if meant else ""
        raise ConfigError(message, hint)
    if not file.is_file():
        message = f"model file {file} does not exist"
        raise DataError(message, f"give the path of a {_SUFFIXES[kind][0]} file")
    return file


def read_float(options: Mapping[str, str], key: str, default: float) -> float:
    """An option that is a number and not negative.

    ConfigError if it is something else.
    """
    text = options.get(key)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        message = f"option {key} must be a number of at least 0, found {text!r}"
        raise ConfigError(message, f"for example {key}=0.05")
    return value
