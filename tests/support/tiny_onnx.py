"""Tiny ONNX detectors, made in the test, so that no weights are needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CARD = """
name = "tiny"
file = "tiny.onnx"
input_width = 32
input_height = 32
colour = "rgb"
std = [255.0, 255.0, 255.0]
decoder = "boxes"
outputs = ["boxes", "labels", "scores"]
nms_iou = 0.5
labels = ["car", "person"]
licence = "Apache-2.0"
source = "a test"
"""


def write_constant_model(
    file: Path, outputs: Mapping[str, np.ndarray], *, side_px: int = 32
) -> None:
    """A model that answers ``outputs`` to every image of ``side_px`` squared.

    The answer is added to zero times the image's mean, so that the image is read.
    """
    image = helper.make_tensor_value_info(
        "image", TensorProto.FLOAT, [1, 3, side_px, side_px]
    )
    nodes = [helper.make_node("ReduceMean", ["image"], ["mean"], keepdims=0)]
    constants = [numpy_helper.from_array(np.array(0, np.float32), "zero")]
    nodes.append(helper.make_node("Mul", ["mean", "zero"], ["nothing"]))
    infos: list[onnx.ValueInfoProto] = []
    for name, value in outputs.items():
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        constants.append(numpy_helper.from_array(value, f"{name}_value"))
        nodes.append(helper.make_node("Cast", ["nothing"], [f"{name}_zero"], to=kind))
        nodes.append(helper.make_node("Add", [f"{name}_zero", f"{name}_value"], [name]))
        infos.append(helper.make_tensor_value_info(name, kind, value.shape))
    graph = helper.make_graph(nodes, "tiny", [image], infos, constants)
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    onnx.save(model, file)


def write_boxes_model(folder: Path, card: str = CARD) -> Path:
    """A model with three fixed boxes, two of which overlap, and its card."""
    file = folder / "tiny.onnx"
    boxes = [[4, 4, 12, 12], [5, 4, 13, 12], [20, 10, 40, 20]]
    write_constant_model(
        file,
        {
            "boxes": np.array(boxes, np.float32),
            "labels": np.array([1, 1, 0], np.int64),
            "scores": np.array([0.9, 0.8, 0.95], np.float32),
        },
    )
    file.with_suffix(".toml").write_text(card, encoding="utf-8")
    return file
