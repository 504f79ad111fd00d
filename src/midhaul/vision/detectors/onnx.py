"""Detectors that ONNX Runtime runs, fed and read as their model card says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import onnxruntime as ort

from midhaul.errors import DataError
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

_TYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}
_LOG_ERRORS_ONLY = 3


class OnnxDetector:
    """A model run by ONNX Runtime on the CPU; takes one image at a time.

    Its threads are those of one operator; they sleep between operators, because
    spinning threads take the CPU from the other nodes of a machine. DataError if the
    file is no ONNX model, or the card does not fit it.
    """

    def __init__(self, file: Path, card: Card, *, threads: int) -> None:
        cv2.setNumThreads(threads)
        self._card = card
        self._session = _session(file, threads)
        self._input = self._check_input(file)
        self._outputs = self._check_outputs(file)
        self._buffer = InputBuffer(card)
        self._decoder = OutputDecoder(card)
        if card.fit != "as-is":  # the card must fit before the first image comes
            shape = (card.input_height, card.input_width, 3)
            self.detect(np.zeros(shape, np.uint8))

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
        outputs: Any = self._session.run(self._outputs, {self._input: array})
        return self._decoder(outputs, geometry)

    def _check_input(self, file: Path) -> str:
        inputs: list[Any] = self._session.get_inputs()
        card = self._card
        size = (card.input_height, card.input_width)
        shapes = {
            "nchw": (1, 3, *size), "nhwc": (1, *size, 3), "chw": (3, *size),
        }  # fmt: skip
        wanted = shapes[card.layout]
        found: list[Any] = inputs[0].shape if inputs else []
        fits = len(inputs) == 1 and len(found) == len(wanted) and all(
            want in (one, 0) or not isinstance(one, int)  # a name stands for any size
            for one, want in zip(found, wanted, strict=True)
        )  # fmt: skip
        if not fits or _TYPES.get(inputs[0].type) != card.dtype:
            kinds = ", ".join(f"{one.name} {one.type} {one.shape}" for one in inputs)
            message = (
                f"the card of {card.name} says one input {card.dtype} {wanted} "
                f"({card.layout}), but {file} has {kinds or 'none'}"
            )
            raise DataError(message, "correct input size, layout or dtype in the card")
        return inputs[0].name

    def _check_outputs(self, file: Path) -> list[str]:
        known = [str(output.name) for output in self._session.get_outputs()]
        missing = [name for name in self._card.outputs if name not in known]
        if missing:
            message = (
                f"the card of {self._card.name} names output {missing[0]}, but {file} "
                f"has {', '.join(known)}"
            )
            raise DataError(message, "correct outputs in the card")
        return list(self._card.outputs) or known


def stated(location: str, options: Mapping[str, str]) -> Stated:
    """What the card of the model at a path says.

    ConfigError if the path is not that of an ONNX file; DataError if the model or the
    card is missing or wrong.
    """
    file = model_file(location, kind="onnx")
    return stated_by(_card(file, options))


def load(
    location: str, options: Mapping[str, str], *, threads: int, seed: int
) -> OnnxDetector:
    """Load the model at a path; ``card`` may name its card. ``seed`` is not used.

    ConfigError if the path is not that of an ONNX file; DataError if the model or the
    card is missing or wrong.
    """
    del seed
    file = model_file(location, kind="onnx")
    return OnnxDetector(file, _card(file, options), threads=threads)


def _card(file: Path, options: Mapping[str, str]) -> Card:
    return with_options(find_card(file, options.get("card")), options)


def _session(file: Path, threads: int) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _LOG_ERRORS_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(
            str(file), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # the library's own errors share no public base
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        message = f"{file} is not a model that ONNX Runtime can load: {first}"
        raise DataError(message, "export or fetch the model again") from error
