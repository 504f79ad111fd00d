"""ONNX nets as predictors: what was trained goes to a gateway without torch.

A model has one input ``x`` of float32 ``(n, d)`` and one output of float32 ``(n, k)``,
a distribution over bins in each row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from midhaul.errors import DataError, require

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from jaxtyping import Float32

    from midhaul.memory.samples import Samples

_OPSET = 17
_IR_VERSION = 9
_EPSILON = 1e-5
"""What torch adds to a variance before its root."""


def to_onnx(state: Mapping[str, np.ndarray]) -> bytes:
    """A net of :class:`~midhaul.memory.predictors.mlp.MlpPredictor` as an ONNX model.

    ``state`` are its parameters by torch's names. PrerequisiteError without ``onnx``.
    """
    onnx = cast("Any", require("onnx", "learn"))
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    scale = 1 / np.sqrt(state["0.running_var"] + np.float32(_EPSILON))
    constants = {"mean": state["0.running_mean"], "scale": scale.astype(np.float32)}
    nodes = [
        helper.make_node("Sub", ["x", "mean"], ["centred"]),
        helper.make_node("Mul", ["centred", "scale"], ["h0"]),
    ]
    layers = sorted({name[0] for name in state if name.endswith(".weight")}, key=int)
    for number, layer in enumerate(layers, 1):
        constants |= {
            f"w{number}": state[f"{layer}.weight"],
            f"b{number}": state[f"{layer}.bias"],
        }
        wanted = [f"h{number - 1}", f"w{number}", f"b{number}"]
        is_last = number == len(layers)
        out = "logits" if is_last else f"a{number}"
        nodes.append(helper.make_node("Gemm", wanted, [out], transB=1))
        if not is_last:
            nodes.append(helper.make_node("Relu", [out], [f"h{number}"]))
    nodes.append(helper.make_node("Softmax", ["logits"], ["probability"], axis=1))
    real = onnx.TensorProto.FLOAT
    d, k = len(scale), len(constants[f"b{len(layers)}"])
    graph = helper.make_graph(
        nodes,
        "predictor",
        [helper.make_tensor_value_info("x", real, ["n", d])],
        [helper.make_tensor_value_info("probability", real, ["n", k])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
    )
    onnx.checker.check_model(model)
    return cast("bytes", model.SerializeToString())


class OnnxPredictor:
    """A distribution over bins by any ONNX model of one input and one output.

    Args:
        file: the model.

    Raises:
        DataError: it cannot be read, or has other inputs and outputs.
        PrerequisiteError: ONNX Runtime is not installed.
    """

    def __init__(self, file: Path) -> None:
        runtime = cast("Any", require("onnxruntime", "memory"))
        options = runtime.SessionOptions()
        options.intra_op_num_threads = 1
        try:
            self._session = runtime.InferenceSession(file.read_bytes(), options)
        except Exception as error:
            message = f"{file}: cannot be read as an ONNX model: {error}"
            raise DataError(message, "export the model again") from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1:
            message = (
                f"{file}: expected one input and one output, found {len(inputs)} and "
                f"{len(outputs)}"
            )
            raise DataError(message, "export only the distribution over bins")
        self._input = inputs[0].name
        self._width = inputs[0].shape[1]

    def predict(self, x: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n k"]:
        """Its distribution for each input.

        DataError if inputs are of another width.
        """
        if isinstance(self._width, int) and x.shape[1] != self._width:
            message = f"expected {self._width} inputs, found {x.shape[1]}"
            raise DataError(message, "give the inputs that the model was trained on")
        rows = np.ascontiguousarray(x, np.float32)
        return self._session.run(None, {self._input: rows})[0]

    def trained(self, samples: Samples, rng: np.random.Generator) -> OnnxPredictor:
        """DataError: what has been exported learns no more."""
        del samples, rng
        message = "an ONNX model cannot be trained"
        raise DataError(message, "train where torch is, and export the new model")
