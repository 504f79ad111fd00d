"""Detectors that LiteRT (TensorFlow Lite) runs, fed and read as their card says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from midhaul.errors import DataError, require
from midhaul.vision.detectors.outputs import CardDetector
from midhaul.vision.detectors.recognition.facts import ModelFacts, TensorFact
from midhaul.vision.detectors.recognition.stating import recognised_at, stated_by

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from midhaul.model import Tally
    from midhaul.vision.detectors.card import Card
    from midhaul.vision.detectors.detector import Stated


class TfliteDetector(CardDetector):
    """A model run by LiteRT on the CPU; takes one image at a time.

    DataError if the file is no TensorFlow Lite model, or the card does not fit it;
    PrerequisiteError if LiteRT is not installed.
    """

    def __init__(
        self, file: Path, card: Card, *, threads: int, tallies: tuple[Tally, ...] = ()
    ) -> None:
        cv2.setNumThreads(threads)
        super().__init__(file, card, tallies)
        self._interpreter = _interpreter(file, threads)
        self._input = self._check_input(file)
        details = self._interpreter.get_output_details()
        known = {str(one["name"]): one for one in details}
        self._outputs = [known[name] for name in self._check_outputs(known, file)]
        self._try_out()

    def _run(self, array: np.ndarray) -> Sequence[np.ndarray]:
        self._interpreter.set_tensor(self._input, array)
        self._interpreter.invoke()
        return [_real(self._interpreter, one) for one in self._outputs]

    def _check_input(self, file: Path) -> int:
        card = self._card
        n_channels = 1 if card.colour == "gray" else 3
        wanted = (card.batch, card.input_height, card.input_width, n_channels)
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
    """What is known of the model at a path; errors as of :func:`recognised_at`."""
    return stated_by(location, options, kind="tflite", look=look)


def load(
    location: str, options: Mapping[str, str], *, threads: int, seed: int
) -> TfliteDetector:
    """Load the model at a path; errors as of :func:`recognised_at`."""
    del seed
    file, found = recognised_at(location, options, kind="tflite", look=look)
    return TfliteDetector(file, found.card, threads=threads, tallies=found.tallies)


def look(file: Path) -> ModelFacts:
    """What the file of a model shows before it is fed."""
    interpreter = _interpreter(file, threads=1)
    inputs = interpreter.get_input_details()
    outputs = interpreter.get_output_details()
    places = {str(one["name"]): one["index"] for one in inputs}

    def run(feed: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        for name, array in feed.items():
            interpreter.set_tensor(places[name], array)
        interpreter.invoke()
        return [_real(interpreter, one) for one in outputs]

    return ModelFacts(
        file=file,
        kind="tflite",
        inputs=tuple(_tensor(one) for one in inputs),
        outputs=tuple(_tensor(one) for one in outputs),
        metadata={},
        run=run,
    )


def _tensor(details: Any) -> TensorFact:
    scale, zero_point = details["quantization"]
    return TensorFact(
        name=str(details["name"]),
        dtype=np.dtype(details["dtype"]).name,
        shape=tuple(int(one) for one in details["shape"]),
        scale=float(scale),
        zero_point=int(zero_point),
    )


def _real(interpreter: Any, details: Any) -> np.ndarray:
    """An output, brought from the whole numbers of a quantised one to real ones."""
    found = interpreter.get_tensor(details["index"])
    scale, zero_point = details["quantization"]
    if found.dtype.kind in "iu" and scale:
        return (found.astype(np.float32) - zero_point) * np.float32(scale)
    return found


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
