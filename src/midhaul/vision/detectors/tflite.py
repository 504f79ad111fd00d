"""Detectors that LiteRT (TensorFlow Lite) runs, fed and read as their card says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from midhaul.errors import DataError, require
from midhaul.vision.detectors.card import find_card, stated_by, with_options
from midhaul.vision.detectors.detector import model_file
from midhaul.vision.detectors.geometry import InputBuffer
from midhaul.vision.detectors.outputs import OutputDecoder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from midhaul.model import Detections
    from midhaul.vision.detectors.card import Card
    from midhaul.vision.detectors.detector import Stated
    from midhaul.vision.images.image import Pixels


class TfliteDetector:
    """A model run by LiteRT on the CPU; takes one image at a time.

    DataError if the file is no TensorFlow Lite model, or the card does not fit it;
    PrerequisiteError if LiteRT is not installed.
    """

    def __init__(self, file: Path, card: Card, *, threads: int) -> None:
        cv2.setNumThreads(threads)
        self._card = card
        self._interpreter = _interpreter(file, threads)
        self._input = self._check_input(file)
        self._outputs = self._find_outputs(file)
        self._buffer = InputBuffer(card)
        self._decoder = OutputDecoder(card)
        shape = (card.input_height, card.input_width, 3)
        self.detect(np.zeros(shape, np.uint8))  # must fit before the first image comes

    @property
    def name(self) -> str:
        """What tables and charts call it."""
        return self._card.name

    @property
    def names(self) -> tuple[str, ...]:
        """The label set."""
        return self._decoder.names

    @property
    def caveat(self) -> str:
        """What reports must say beside its numbers."""
        return self._card.caveat

    def detect(self, pixels: Pixels, *, image_id: str = "") -> Detections:  # noqa: ARG002
        """Find boxes on one image; see :class:`Detector`."""
        array, geometry = self._buffer.fill(pixels)
        self._interpreter.set_tensor(self._input, array)
        self._interpreter.invoke()
        outputs = [self._interpreter.get_tensor(index) for index in self._outputs]
        return self._decoder(outputs, geometry)

    def _check_input(self, file: Path) -> int:
        card = self._card
        wanted = (1, card.input_height, card.input_width, 3)
        inputs = self._interpreter.get_input_details()
        found = [(tuple(map(int, one["shape"])), one["dtype"]) for one in inputs]
        if card.layout != "nhwc" or found != [(wanted, np.dtype(card.dtype).type)]:
            has = ", ".join(f"{np.dtype(kind)} {shape}" for shape, kind in found)
            message = (
                f"the card of {card.name} says one input {card.dtype} {wanted} "
                f"({card.layout}), but {file} has {has} (nhwc)"
            )
            raise DataError(message, "correct input size, layout or dtype in the card")
        return int(inputs[0]["index"])

    def _find_outputs(self, file: Path) -> list[int]:
        details = self._interpreter.get_output_details()
        known = {str(one["name"]): int(one["index"]) for one in details}
        missing = [name for name in self._card.outputs if name not in known]
        if missing:
            message = (
                f"the card of {self._card.name} names output {missing[0]}, but {file} "
                f"has {', '.join(known)}"
            )
            raise DataError(message, "correct outputs in the card")
        return [known[name] for name in self._card.outputs or known]


def stated(location: str, options: Mapping[str, str]) -> Stated:
    """What the card of the model at a path says.

    ConfigError if the path is not that of a TensorFlow Lite file; DataError if the
    model or the card is missing or wrong.
    """
    file = model_file(location, kind="tflite")
    return stated_by(_card(file, options))


def load(
    location: str, options: Mapping[str, str], *, threads: int, seed: int
) -> TfliteDetector:
    """Load the model at a path; ``card`` may name its card. ``seed`` is not used.

    ConfigError if the path is not that of a TensorFlow Lite file; DataError if the
    model or the card is missing or wrong; PrerequisiteError if LiteRT is not installed.
    """
    del seed
    file = model_file(location, kind="tflite")
    return TfliteDetector(file, _card(file, options), threads=threads)


def _card(file: Path, options: Mapping[str, str]) -> Card:
    return with_options(find_card(file, options.get("card")), options)


def _interpreter(file: Path, threads: int) -> Any:
    library: Any = require("ai_edge_litert.interpreter", "tflite")
    try:
        interpreter = library.Interpreter(model_path=str(file), num_threads=threads)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        message = f"{file} is not a model that LiteRT can load: {first}"
        raise DataError(message, "convert or fetch the model again") from error
    return interpreter
