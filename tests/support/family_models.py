"""Small networks with the heads of known families, made in the test, and their boxes.

Each answers the same tensors to every image. The objects are a box at (40, 24) of 32 by
16 px of class 2 with score 0.9, a weaker copy of it one px aside that suppression has
to take, and one at (70, 50) of 20 by 20 px of class 0 with 0.8, on an input of 96 by
64 px.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

WIDTH, HEIGHT = 96, 64
NAMES = ("car", "bus", "person")
OBJECTS = ((40, 24, 32, 16, 2, 0.9), (41, 24, 32, 16, 2, 0.5), (70, 50, 20, 20, 0, 0.8))
"""Centre, sides, class and score; the second is a copy of the first."""
FINAL = (OBJECTS[0], OBJECTS[2])
STRIDES = (8, 16, 32)
N_COCO = 80
IMAGE = {"images": ("float32", (1, 3, HEIGHT, WIDTH))}
ULTRALYTICS = {
    "names": str(dict(enumerate(NAMES))),
    "imgsz": str([HEIGHT, WIDTH]),
    "task": "detect",
    "stride": "32",
    "license": "AGPL-3.0",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyModel:
    """A network of a family.

    Attributes:
        name: of its file.
        family: what it should be recognised as.
        make: its outputs by name.
        inputs: type and shape of each input by name.
        metadata: texts in the file.
        beside: JSON documents beside it, by file name.
        options: what has to be said of it, as options of its spec.
        labels: the label of each class number that is in use here.
    """

    name: str
    family: str
    make: Callable[[], Mapping[str, np.ndarray]]
    inputs: Mapping[str, tuple[str, tuple[Any, ...]]] = field(
        default_factory=lambda: IMAGE
    )
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    beside: Mapping[str, Any] = field(default_factory=dict[str, Any])
    options: str = ""
    labels: tuple[str, ...] = NAMES

    def write(self, folder: Path) -> Path:
        """Write the file and what lies beside it."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{self.name}.onnx"
        write_model(file, self.inputs, self.make(), self.metadata)
        for name, document in self.beside.items():
            (folder / name).write_text(json.dumps(document), encoding="utf-8")
        return file


def write_model(
    file: Path,
    inputs: Mapping[str, tuple[str, tuple[Any, ...]]],
    outputs: Mapping[str, np.ndarray],
    metadata: Mapping[str, str],
) -> None:
    """A network that reads its first input and answers ``outputs``."""
    first = next(iter(inputs))
    nodes = [
        helper.make_node("Cast", [first], ["real"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["real"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
    ]
    constants = [numpy_helper.from_array(np.array(0, np.float32), "zero")]
    infos: list[onnx.ValueInfoProto] = []
    for name, value in outputs.items():
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        constants.append(numpy_helper.from_array(value, f"{name}_value"))
        nodes.append(helper.make_node("Cast", ["nothing"], [f"{name}_zero"], to=kind))
        nodes.append(helper.make_node("Add", [f"{name}_zero", f"{name}_value"], [name]))
        infos.append(helper.make_tensor_value_info(name, kind, value.shape))
    takes = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape
        )
        for name, (dtype, shape) in inputs.items()
    ]
    graph = helper.make_graph(nodes, "tiny", takes, infos, constants)
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    helper.set_model_props(model, dict(metadata))
    onnx.save(model, file)


def cells() -> np.ndarray:
    """Centre in px and stride of every cell, the finest grid first."""
    found = [
        ((x + 0.5) * s, (y + 0.5) * s, s)
        for s in STRIDES
        for y in range(HEIGHT // s)
        for x in range(WIDTH // s)
    ]
    return np.array(found, np.float32)


def places(n_classes: int, *, anchors: int = 1, objectness: bool = False) -> np.ndarray:
    """Boxes, objectness and classes of every place; the objects lie in their cells."""
    at = np.tile(cells(), (anchors, 1))
    table = np.zeros((len(at), 4 + objectness + n_classes), np.float32)
    table[:, :2] = at[:, :2]
    table[:, 2:4] = at[:, 2:] * 2
    for number, (x, y, w, h, label, score) in enumerate(OBJECTS):
        row = int(np.abs(at[:, :2] - [x, y]).sum(axis=1).argsort(kind="stable")[number])
        table[row, :4] = x, y, w, h
        table[row, 4 + objectness + label] = score
        if objectness:
            table[row, 4] = 0.96
            table[row, 5 + label] = score / 0.96
    return table


def rows(order: str, *, n: int = 0, unit: str = "px", first: int = 0) -> np.ndarray:
    """Final rows, their numbers named by ``order``, filled with zeros up to ``n``."""
    found: list[list[float]] = []
    for x, y, w, h, label, score in FINAL:
        at = {
            "x1": x - w / 2, "y1": y - h / 2, "x2": x + w / 2, "y2": y + h / 2,
            "cx": x, "cy": y, "w": w, "h": h,
        }  # fmt: skip
        if unit == "fraction":
            at = {k: v / (WIDTH if k in "x1x2cxw" else HEIGHT) for k, v in at.items()}
        at |= {"score": score, "label": label + first, "image": 0}
        found.append([at[key] for key in order.split()])
    found += [[0.0] * len(order.split())] * (n - len(found))
    return np.array(found, np.float32)


def final(
    boxes: str,
    labels: str,
    scores: str,
    *,
    order: str = "x1 y1 x2 y2",
    n: int = 5,
    unit: str = "px",
    first: int = 0,
    count: str = "",
    whole: bool = True,
) -> dict[str, np.ndarray]:
    """An output each for boxes, labels, scores and perhaps their number."""
    table = rows(f"{order} label score", n=n, unit=unit, first=first)
    found = {
        boxes: table[None, :, :4],
        labels: table[None, :, 4].astype(np.int64 if whole else np.float32),
        scores: table[None, :, 5],
    }
    return found | ({count: np.array([[2]], np.int32)} if count else {})


def yolox() -> np.ndarray:
    """Offsets in cells and logarithms of sides."""
    at, table = cells(), places(N_COCO, objectness=True)
    table[:, :2] = table[:, :2] / at[:, 2:] - (at[:, :2] / at[:, 2:] - 0.5)
    table[:, 2:4] = np.log(table[:, 2:4] / at[:, 2:])
    return table[None]


def queries(n: int, n_classes: int, *, scores: str) -> tuple[np.ndarray, np.ndarray]:
    """Boxes as fractions, and logits of the classes, most of which see nothing."""
    boxes = np.full((n, 4), 0.25, np.float32)
    boxes[:2] = rows("cx cy w h", unit="fraction")
    logits = np.full((n, n_classes), -8.0, np.float32)
    if scores == "softmax":
        logits[:] = 0
        logits[:, -1] = 12
    for number, (*_, label, score) in enumerate(FINAL):
        if scores == "softmax":
            others = n_classes - 1
            logits[number] = 0
            logits[number, label] = np.log(score * others / (1 - score))
        else:
            logits[number, label] = np.log(score / (1 - score))
    return boxes[None], logits[None]


def distributions(
    strides: tuple[int, ...],
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Classes and distances by stride; an object's four distances are one bin each."""
    classes: list[np.ndarray] = []
    sides: list[np.ndarray] = []
    for stride in strides:
        n = -(-HEIGHT // stride) * -(-WIDTH // stride)
        classes.append(np.zeros((1, n, N_COCO), np.float32))
        sides.append(np.full((1, n, 32), -60, np.float32))
    for cell, label, score in ((2 * 6 + 3, 2, 0.9), (1 * 6 + 1, 0, 0.8)):
        classes[1][0, cell, label] = score
        sides[1][0, cell].reshape(4, 8)[:, 1] = 60
    return classes, sides


def gfl_objects() -> tuple[tuple[float, ...], ...]:
    """The objects of ``distributions``: a stride of 16 px to each side of a cell."""
    return ((56, 40, 32, 32, 2, 0.9), (24, 24, 32, 32, 0, 0.8))
