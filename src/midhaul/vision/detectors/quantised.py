"""Quantisation to 8 bits by ONNX Runtime, dynamic or static, kept between runs.

*Dynamic* has weights of 8 bits, and finds the range of every activation while it runs.
*Static* has activations of 8 bits too, whose ranges were seen on calibration images;
quantised are convolutions and products of matrices, with a scale for each channel of
their weights from operator set 13 on. Weights have 7 bits there, because sums of
products of full 8 bits overflow 16 bits on processors without VNNI.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midhaul.errors import ConfigError, DataError, choice_hint, require
from midhaul.vision.data.files import list_images, read_bytes
from midhaul.vision.detectors.geometry import InputBuffer
from midhaul.vision.images.codecs import decode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np

    from midhaul.vision.detectors.card import Card

PRECISIONS = ("fp32", "int8-dynamic", "int8")
N_CALIBRATION = 32
"""Images that ranges are taken from, the first of the folder."""
_PER_CHANNEL_OPSET = 13
_STATIC_TYPES = ("Conv", "Gemm", "MatMul")


def check_precision(precision: str, calibration: str | None) -> None:
    """ConfigError if there is no such precision, or it needs images."""
    if precision not in PRECISIONS:
        message = f"precision {precision!r} is not known"
        raise ConfigError(message, choice_hint(precision, PRECISIONS))
    if (precision == "int8") != (calibration is not None):
        message = "precision int8, and no other, needs a folder of images"
        raise ConfigError(message, "precision=int8&calibration=DIR")


def quantised_file(
    file: Path, precision: str, card: Card, input_name: str, calibration: Path | None
) -> Path:
    """The file of the model in a precision; made once, then taken from the cache.

    DataError if the model cannot be quantised or an image cannot be read;
    PrerequisiteError if ``onnx`` is missing.
    """
    if precision == "fp32":
        return file
    images: list[Path] = []
    if calibration is not None:
        images = list(list_images(calibration).values())[:N_CALIBRATION]
    key = hashlib.blake2b(digest_size=16)
    for part in (precision.encode(), repr(card).encode(), *map(read_bytes, images)):
        key.update(hashlib.blake2b(part).digest())
    key.update(read_bytes(file))
    kept = _cache() / f"{file.stem}-{precision}-{key.hexdigest()}.onnx"
    if not kept.is_file():
        _quantise(file, kept, precision, _Pictures(images, card, input_name))
    return kept


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(base) / "midhaul" / "quantised"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class _Pictures:
    """What ONNX Runtime asks for its calibration: one input after the other."""

    def __init__(self, images: Sequence[Path], card: Card, input_name: str) -> None:
        self._feeds = self._fed(images, card, input_name)

    @staticmethod
    def _fed(
        images: Sequence[Path], card: Card, input_name: str
    ) -> Iterator[dict[str, np.ndarray]]:
        buffer = InputBuffer(card)
        for file in images:
            array, _ = buffer.fill(decode(read_bytes(file), where=str(file)))
            yield {input_name: array.copy()}

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next input; None at the end."""
        return next(self._feeds, None)


def _has_axes(model: Any) -> bool:
    """Whether scales can differ by channel: the operator set has an axis for them."""
    versions = [one.version for one in model.opset_import if not one.domain]
    return max(versions, default=0) >= _PER_CHANNEL_OPSET


def _with_axes(onnx: Any, model: Any) -> Any:
    """The model in an operator set whose scales have axes, where it can be."""
    if _has_axes(model):
        return model
    converter: Any = require("onnx.version_converter", "learn")
    try:
        return converter.convert_version(model, _PER_CHANNEL_OPSET)
    except (RuntimeError, ValueError, onnx.checker.ValidationError):
        return model


def _quantise(file: Path, kept: Path, precision: str, pictures: _Pictures) -> None:
    onnx: Any = require("onnx", "learn")
    runtime: Any = require("onnxruntime", "detect")
    library: Any = require("onnxruntime.quantization", "detect")
    shapes: Any = require("onnxruntime.quantization.shape_inference", "detect")
    with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
        ready, made = Path(folder) / "ready.onnx", Path(folder) / "made.onnx"
        try:
            onnx.save(_with_axes(onnx, onnx.load(file)), ready)
            shapes.quant_pre_process(str(ready), str(ready), skip_symbolic_shape=True)
            if precision == "int8":
                library.quantize_static(
                    str(ready),
                    str(made),
                    pictures,
                    op_types_to_quantize=list(_STATIC_TYPES),
                    per_channel=_has_axes(onnx.load(ready, load_external_data=False)),
                    reduce_range=True,
                    activation_type=library.QuantType.QUInt8,
                    weight_type=library.QuantType.QInt8,
                )
            else:  # convolutions of ONNX Runtime take unsigned weights only
                library.quantize_dynamic(
                    str(ready), str(made), weight_type=library.QuantType.QUInt8
                )
            runtime.InferenceSession(str(made), providers=["CPUExecutionProvider"])
        except DataError:
            raise
        except Exception as error:  # the library's errors share no public base
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            message = f"{file} cannot be quantised to {precision}: {first}"
            raise DataError(message, "use precision=fp32") from error
        made.replace(kept)
