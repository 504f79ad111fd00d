"""Detectors that ONNX Runtime runs, fed and read as their model card says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import onnxruntime as ort

from midhaul.errors import DataError
from midhaul.vision.detectors.outputs import CardDetector
from midhaul.vision.detectors.recognition.facts import ModelFacts, TensorFact
from midhaul.vision.detectors.recognition.feeding import fill_others
from midhaul.vision.detectors.recognition.stating import recognised_at, stated_by

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from midhaul.model import Tally
    from midhaul.vision.detectors.card import Card
    from midhaul.vision.detectors.detector import Stated

_TYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}
_LOG_ERRORS_ONLY = 3


class OnnxDetector(CardDetector):
    """A model run by ONNX Runtime on the CPU; takes one image at a time.

    Its threads are those of one operator; they sleep between operators, because
    spinning threads take the CPU from the other nodes of a machine. DataError if the
    file is no ONNX model, or the card does not fit it.
    """

    def __init__(
        self, file: Path, card: Card, *, threads: int, tallies: tuple[Tally, ...] = ()
    ) -> None:
        cv2.setNumThreads(threads)
        super().__init__(card, tallies)
        self._session = open_session(str(file), file, threads)
        self._input = self._check_input(file)
        known = [str(output.name) for output in self._session.get_outputs()]
        self._names = self._check_outputs(known, file)
        if card.fit != "as-is":
            self._try_out()

    def _run(self, array: np.ndarray) -> Sequence[np.ndarray]:
        feed = {self._input: array}
        if self._others:
            is_last = self._card.layout == "nhwc"
            height, width = array.shape[-3:-1] if is_last else array.shape[-2:]
            feed |= fill_others(self._card, self._others, width, height)
        return self._session.run(self._names, feed)

    def _check_input(self, file: Path) -> str:
        every: list[Any] = self._session.get_inputs()
        card = self._card
        others = [one for one in every if one.name in card.other_inputs]
        self._others = [_tensor(one) for one in others]
        inputs = [one for one in every if one not in others]
        n, n_channels = card.batch, 1 if card.colour == "gray" else 3
        size = (card.input_height, card.input_width)
        if card.fit == "aspect":
            size = (0, 0)
        shapes = {
            "nchw": (n, n_channels, *size),
            "nhwc": (n, *size, n_channels),
            "chw": (n_channels, *size),
        }
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
    """What is known of the model at a path; errors as of :func:`recognised_at`."""
    return stated_by(location, options, kind="onnx", look=look)


def load(
    location: str, options: Mapping[str, str], *, threads: int, seed: int
) -> OnnxDetector:
    """Load the model at a path; errors as of :func:`recognised_at`."""
    del seed
    file, found = recognised_at(location, options, kind="onnx", look=look)
    return OnnxDetector(file, found.card, threads=threads, tallies=found.tallies)


def look(file: Path) -> ModelFacts:
    """What the file of a model shows before it is fed."""
    session = open_session(str(file), file, threads=1)
    names = [one.name for one in session.get_outputs()]

    def run(feed: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        try:
            found = session.run(names, dict(feed))
        except Exception as error:  # the library's own errors share no public base
            message = f"{file} fails on a picture: {str(error).splitlines()[0]}"
            raise DataError(message, "export the model again") from error
        return [np.asarray(one) for one in found]

    return ModelFacts(
        file=file,
        kind="onnx",
        inputs=tuple(_tensor(one) for one in session.get_inputs()),
        outputs=tuple(_tensor(one) for one in session.get_outputs()),
        metadata=dict(session.get_modelmeta().custom_metadata_map),
        run=run,
    )


def _tensor(found: Any) -> TensorFact:
    return TensorFact(
        name=str(found.name),
        dtype=_TYPES.get(found.type, ""),
        shape=tuple(one if isinstance(one, int) else None for one in found.shape),
    )


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
