"""Detectors that OpenVINO runs on the CPU, fed and read as their model card says.

It reads its own format (``.xml`` with ``.bin`` beside) and ONNX. It computes in single
precision here: its own choice on new processors is bfloat16, which costs accuracy.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from midhaul.errors import DataError, require
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


class OpenvinoDetector(CardDetector):
    """A model run by OpenVINO; takes one image at a time.

    DataError if the file is no model of OpenVINO's, or the card does not fit it.
    """

    def __init__(
        self, file: Path, card: Card, *, threads: int, tallies: tuple[Tally, ...] = ()
    ) -> None:
        cv2.setNumThreads(threads)
        super().__init__(file, card, tallies)
        self._model = _compiled(file, threads)
        facts = [_tensor(one) for one in self._model.inputs]
        self._others = [one for one in facts if one.name in card.other_inputs]
        images = [one.name for one in facts if one not in self._others]
        if len(images) != 1:
            message = f"{file} should have one input for the image, found {images}"
            raise DataError(message, "name the others in other_inputs of the card")
        self._input = images[0]
        known = [one.get_any_name() for one in self._model.outputs]
        self._places = [known.index(name) for name in self._check_outputs(known, file)]
        self._file = file
        if card.fit != "as-is":
            self._try_out()

    def _run(self, array: np.ndarray) -> Sequence[np.ndarray]:
        feed = {self._input: array}
        if self._others:
            is_last = self._card.layout == "nhwc"
            height, width = array.shape[-3:-1] if is_last else array.shape[-2:]
            feed |= fill_others(self._card, self._others, width, height)
        found = _answers(self._model, feed, self._file)
        return [found[place] for place in self._places]


def stated(location: str, options: Mapping[str, str]) -> Stated:
    """What is known of the model at a path; errors as of :func:`recognised_at`."""
    return stated_by(location, options, kind="openvino", look=look)


def load(
    location: str, options: Mapping[str, str], *, threads: int, seed: int
) -> OpenvinoDetector:
    """Load the model at a path; errors as of :func:`recognised_at`."""
    del seed
    file, found = recognised_at(location, options, kind="openvino", look=look)
    card = replace(found.card, name=f"{found.card.name} (OpenVINO)")
    return OpenvinoDetector(file, card, threads=threads, tallies=found.tallies)


def look(file: Path) -> ModelFacts:
    """What the file of a model shows before it is fed."""
    model = _compiled(file, threads=1)

    def run(feed: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        return _answers(model, feed, file)

    return ModelFacts(
        file=file,
        kind="openvino",
        inputs=tuple(_tensor(one) for one in model.inputs),
        outputs=tuple(_tensor(one) for one in model.outputs),
        metadata=_metadata(file),
        run=run,
    )


def _answers(
    model: Any, feed: Mapping[str, np.ndarray], file: Path
) -> list[np.ndarray]:
    try:
        found = model(dict(feed))
    except RuntimeError as error:
        first = str(error).splitlines()[-1]
        message = f"{file} does not take the input that its card says: {first}"
        raise DataError(message, "correct size, layout or dtype in the card") from error
    return [np.array(found[one]) for one in model.outputs]


def _tensor(found: Any) -> TensorFact:
    axes = found.get_partial_shape()
    return TensorFact(
        name=str(found.get_any_name()),
        dtype=np.dtype(found.get_element_type().to_dtype()).name,
        shape=tuple(one.get_length() if one.is_static else None for one in axes),
    )


def _metadata(file: Path) -> dict[str, str]:
    """Texts inside of an ONNX file; OpenVINO's own has its metadata beside it."""
    if file.suffix.lower() != ".onnx":
        return {}
    runtime: Any = require("onnxruntime", "detect")
    session = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return dict(session.get_modelmeta().custom_metadata_map)


def _compiled(file: Path, threads: int) -> Any:
    library: Any = require("openvino", "openvino")
    try:
        core = library.Core()
        return core.compile_model(
            core.read_model(str(file)),
            "CPU",
            {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"},
        )
    except RuntimeError as error:
        first = str(error).splitlines()[-1] if str(error) else "it is damaged"
        message = f"{file} is not a model that OpenVINO can load: {first}"
        raise DataError(message, "export or fetch the model again") from error
