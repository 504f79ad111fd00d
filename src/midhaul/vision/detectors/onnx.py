"""Detectors that ONNX Runtime runs, fed and read as their model card says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import onnxruntime as ort

from midhaul.errors import DataError, PrerequisiteError
from midhaul.vision.detectors.outputs import CardDetector
from midhaul.vision.detectors.quantised import check_precision, quantised_file
from midhaul.vision.detectors.recognition.facts import ModelFacts, TensorFact
from midhaul.vision.detectors.recognition.feeding import fill_others
from midhaul.vision.detectors.recognition.stating import recognised_at, stated_by

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
_CPU = "CPUExecutionProvider"
_PACKAGES = {
    "cuda": "onnxruntime-gpu",
    "tensorrt": "onnxruntime-gpu",
    "openvino": "onnxruntime-openvino",
    "dml": "onnxruntime-directml",
}
"""Builds of ONNX Runtime that bring a provider."""


class OnnxDetector(CardDetector):
    """A model run by ONNX Runtime; takes one image at a time.

    Its threads are those of one operator; they sleep between operators, because
    spinning threads take the CPU from the other nodes of a machine. DataError if the
    file is no ONNX model, or the card does not fit it.
    """

    def __init__(
        self,
        file: Path,
        card: Card,
        *,
        threads: int,
        tallies: tuple[Tally, ...] = (),
        provider: str = "cpu",
    ) -> None:
        cv2.setNumThreads(threads)
        super().__init__(file, card, tallies)
        self._session = open_session(str(file), file, threads, provider)
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
    provider = options.get("provider", "cpu")
    precision, calibration = (
        options.get("precision", "fp32"),
        options.get("calibration"),
    )
    check_precision(precision, calibration)
    file, found = recognised_at(location, options, kind="onnx", look=look)
    card, name = found.card, "input"
    if precision != "fp32":
        first = open_session(str(file), file, threads).get_inputs()
        name = next(one.name for one in first if one.name not in card.other_inputs)
        folder = None if calibration is None else Path(calibration)
        file = quantised_file(file, precision, card, name, folder)
    words = [one for one in (precision, provider) if one not in ("fp32", "cpu")]
    if words:
        card = replace(card, name=f"{card.name} ({', '.join(words)})")
    return OnnxDetector(
        file, card, threads=threads, tallies=found.tallies, provider=provider
    )


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


def open_session(
    model: str | bytes, file: Path, threads: int, provider: str = "cpu"
) -> Any:
    """A session of a model, by its path or its bytes, on an execution provider.

    DataError names ``file`` if it is no model. PrerequisiteError if this ONNX Runtime
    has no such provider, or the provider cannot be used here, or it lacks an operator
    of the model: nothing runs on the CPU that was meant to run elsewhere.
    """
    wanted = _provider(provider)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _LOG_ERRORS_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    if wanted != _CPU:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    try:
        session = ort.InferenceSession(model, options, providers=[wanted])
    except Exception as error:  # the library's own errors share no public base
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        if wanted != _CPU:
            message = f"{file} cannot be run by {wanted}: {first}"
            raise PrerequisiteError(message, "use provider=cpu, or mend it") from error
        message = f"{file} is not a model that ONNX Runtime can load: {first}"
        raise DataError(message, "export or fetch the model again") from error
    if wanted not in session.get_providers():
        message = f"{wanted} could not be used, and ONNX Runtime would take the CPU"
        raise PrerequisiteError(message, "see its libraries and drivers")
    return session


def _provider(name: str) -> str:
    """ONNX Runtime's name of a provider; PrerequisiteError if it is not there."""
    known = {one.removesuffix("ExecutionProvider").lower(): one for one in
             ort.get_available_providers()}  # fmt: skip
    if name in known:
        return known[name]
    message = (
        f"this ONNX Runtime has no provider {name!r}, but {', '.join(sorted(known))}"
    )
    package = _PACKAGES.get(name)
    hint = f"pip install {package} in place of onnxruntime" if package else ""
    raise PrerequisiteError(message, hint or "choose one of those")
