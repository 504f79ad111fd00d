"""Detectors that LiteRT (TensorFlow Lite) runs, fed and read as their card says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from midhaul.errors import DataError, require
from midhaul.vision.detectors.card import card_at, stated_by
from midhaul.vision.detectors.outputs import CardDetector

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from midhaul.vision.detectors.card import Card
    from midhaul.vision.detectors.detector import Stated


class TfliteDetector(CardDetector):
    """A model run by LiteRT on the CPU; takes one image at a time.

    DataError if the file is no TensorFlow Lite model, or the card does not fit it;
    PrerequisiteError if LiteRT is not installed.
    """

    def __init__(self, file: Path, card: Card, *, threads: int) -> None:
        cv2.setNumThreads(threads)
        super().__init__(card)
        self._interpreter = _interpreter(file, threads)
        self._input = self._check_input(file)
        details = self._interpreter.get_output_details()
        known = {str(one["name"]): int(one["index"]) for one in details}
        self._indices = [known[name] for name in self._check_outputs(known, file)]
        self._try_out()

    def _run(self, array: np.ndarray) -> Sequence[np.ndarray]:
        self._interpreter.set_tensor(self._input, array)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._indices]

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


def stated(location: str, options: Mapping[str, str]) -> Stated:
    """What the card of the model at a path says; errors as of :func:`card_at`."""
    return stated_by(card_at(location, options, kind="tflite")[1])


def load(
    location: str, options: Mapping[str, str], *, threads: int, seed: int
) -> TfliteDetector:
    """Load the model at a path; ``seed`` is not used, errors as of :func:`card_at`."""
    del seed
    return TfliteDetector(*card_at(location, options, kind="tflite"), threads=threads)


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
