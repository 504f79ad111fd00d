"""Detectors that ONNX Runtime runs, fed and read as their model card says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import onnxruntime as ort

from midhaul.errors import DataError
from midhaul.vision.detectors.card import card_at, stated_by
from midhaul.vision.detectors.outputs import CardDetector

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np

    from midhaul.vision.detectors.card import Card
    from midhaul.vision.detectors.detector import Stated

_TYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}
_LOG_ERRORS_ONLY = 3


class OnnxDetector(CardDetector):
    """A model run by ONNX Runtime on the CPU; takes one image at a time.

    Its threads are those of one operator; they sleep between operators, because
    spinning threads take the CPU from the other nodes of a machine. DataError if the
    file is no ONNX model, or the card does not fit it.
    """

    def __init__(self, file: Path, card: Card, *, threads: int) -> None:
        cv2.setNumThreads(threads)
        super().__init__(card)
        self._session = open_session(str(file), file, threads)
        self._input = self._check_input(file)
        known = [str(output.name) for output in self._session.get_outputs()]
        self._names = self._check_outputs(known, file)
        if card.fit != "as-is":
            self._try_out()

    def _run(self, array: np.ndarray) -> Sequence[np.ndarray]:
        return self._session.run(self._names, {self._input: array})

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


def stated(location: str, options: Mapping[str, str]) -> Stated:
    """What the card of the model at a path says; errors as of :func:`card_at`."""
    return stated_by(card_at(location, options, kind="onnx")[1])


def load(
    location: str, options: Mapping[str, str], *, threads: int, seed: int
) -> OnnxDetector:
    """Load the model at a path; ``seed`` is not used, errors as of :func:`card_at`."""
    del seed
    return OnnxDetector(*card_at(location, options, kind="onnx"), threads=threads)


def open_session(model: str | bytes, file: Path, threads: int) -> Any:
    """A session of a model, by its path or its bytes; DataError names ``file``."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _LOG_ERRORS_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the library's own errors share no public base
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        message = f"{file} is not a model that ONNX Runtime can load: {first}"
        raise DataError(message, "export or fetch the model again") from error
