"""Writes torchvision's detectors as ONNX files with their model cards.

ONNX Runtime runs them faster on a CPU than torch does, and needs no torch on the node.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.errors import DataError, require
from midhaul.vision.detectors import torchvision as runtime
from midhaul.vision.detectors.builtin import builtin_cards
from midhaul.vision.detectors.card import shipped_cards

if TYPE_CHECKING:
    from collections.abc import Iterator

_OPSET = 17
_OUTPUTS = ("boxes", "labels", "scores")
# Traced once with an image of this size; the graph takes every size.
_TRACED_SIZE = (240, 320)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """A detector that midhaul knows by name.

    Attributes:
        spec: how an experiment file names it; FILE where the user has the weights.
        name: what tables call it.
        licence: of the weights.
        published_ap: COCO box AP that its authors state, 0..1; not measured here, and
            None where it is not known.
    """

    spec: str
    name: str
    licence: str
    published_ap: float | None = None


def known_models() -> tuple[KnownModel, ...]:
    """Every detector known by name: built in, by a shipped card, of torchvision."""
    return (*_built_in(), *_by_card(), *_of_torchvision())


def export_torchvision(name: str, weights: str, file: Path, *, seed: int = 0) -> Path:
    """Write a torchvision detector as ONNX, and its model card beside it.

    The graph takes an image of any size and ends in boxes, labels and scores; masks and
    keypoints are left out, and with them their cost. ``weights`` is ``DEFAULT``,
    ``none`` (random by the seed) or a state dict; the file ends in ``.onnx``. The
    card's file is returned. ConfigError if there is no such builder; DataError if the
    weights do not fit, or the file cannot be written; PrerequisiteError if torch,
    torchvision or onnx is missing, or the weights cannot be downloaded.
    """
    if file.suffix != ".onnx":
        message = f"the file to export to must end in .onnx, found {file}"
        raise DataError(message, f"use {file.with_suffix('.onnx')}")
    require("onnx", "learn")
    model = runtime.build_model(name, weights, seed=seed)
    card = file.with_suffix(".toml")
    try:
        _write_graph(model, file)
        card.write_text(_card_text(name, weights, file), encoding="utf-8")
    except OSError as error:
        message = f"{file} cannot be written: {error}"
        raise DataError(message, "choose a folder that exists") from error
    return card


def _write_graph(model: Any, file: Path) -> None:
    torch: Any = require("torch", "learn")

    class BoxesLabelsScores(torch.nn.Module):  # the order differs between models
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, image: Any) -> Any:
            (found,) = self.model([image])
            return tuple(found[key] for key in _OUTPUTS)

    _resize_by_size(torch, model.transform)
    image = torch.from_numpy(_picture())
    with warnings.catch_warnings(), torch.no_grad(), file.open("wb") as target:
        warnings.simplefilter("ignore")  # tracing warns of each shape that it fixes
        torch.onnx.export(
            BoxesLabelsScores().eval(),
            (image,),
            target,
            dynamo=False,  # the other exporter fails on sizes that depend on data
            opset_version=_OPSET,
            input_names=["image"],
            output_names=list(_OUTPUTS),
            dynamic_axes={
                "image": {1: "height", 2: "width"},
                **{output: {0: "n"} for output in _OUTPUTS},
            },
        )


def _resize_by_size(torch: Any, transform: Any) -> None:
    """Have the traced model resize to a size, not by a factor.

    torch rounds the size down and samples by the ratio of the sizes. The graph that
    torchvision would trace computes the size in single precision, so that it is a pixel
    smaller for some images, and all boxes differ. Here it is computed as Python does.
    """
    if transform.fixed_size is not None:
        return
    # Of one element each: the exporter would make single precision of a mere number.
    ends = (transform.min_size[-1], transform.max_size)
    shortest, longest = (torch.tensor([end], dtype=torch.double) for end in ends)

    def resize(image: Any, target: Any = None) -> tuple[Any, Any]:
        shape = torch.onnx.operators.shape_as_tensor(image)[-2:].double()
        short, long = shape.amin(0, keepdim=True), shape.amax(0, keepdim=True)
        scale = torch.minimum(shortest / short, longest / long)
        height, width = torch.floor(shape * scale).long()
        size = (height, width)
        resized = torch.nn.functional.interpolate(
            image[None], size=size, mode="bilinear", align_corners=False
        )
        return resized[0], target

    transform.resize = resize


def _picture() -> np.ndarray:
    """An image with something in it, so that no branch of the model stays empty."""
    rng = np.random.default_rng(0)
    return rng.random((3, *_TRACED_SIZE), dtype=np.float32)


def _card_text(name: str, weights: str, file: Path) -> str:
    published = runtime.published(name)
    # Number 0 is the background, the labels begin at 1.
    labels = [*published.categories[1:]]
    is_random = weights == "none"
    names = {"DEFAULT": name, "none": f"{name} (random weights)"}
    values: dict[str, Any] = {
        "name": names.get(weights, f"{name} ({Path(weights).stem})"),
        "file": file.name,
        "input_width": 0,
        "input_height": 0,
        "layout": "chw",
        "colour": "rgb",
        "std": [255.0, 255.0, 255.0],
        "fit": "as-is",
        "decoder": "boxes",
        "outputs": list(_OUTPUTS),
        "nms_iou": 1.0,
        "score_threshold": 0.0,
        "max_detections": 300,
        "labels": labels,
        "first_label": 1,
        "licence": "BSD-3-Clause" if weights == "DEFAULT" else "unknown",
        "source": published.url if weights == "DEFAULT" else f"torchvision {name}",
        "caveat": runtime.RANDOM_WEIGHTS if is_random else "",
    }
    lines = [f"{key} = {_toml(value)}" for key, value in values.items()]
    if weights == "DEFAULT":
        lines += ["", "[training]", f"published_box_ap = {published.box_ap:.3f}"]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    """Strings, numbers and lists of them are written alike in JSON and TOML."""
    return json.dumps(value, ensure_ascii=False)


def _built_in() -> Iterator[KnownModel]:
    for card in builtin_cards():
        stem = Path(card.file).stem
        yield KnownModel(spec=f"builtin:{stem}", name=card.name, licence=card.licence)


def _by_card() -> Iterator[KnownModel]:
    for card in shipped_cards():
        kind = Path(card.file).suffix.removeprefix(".")
        spec = f"{kind}:FILE/{card.file}"
        yield KnownModel(spec=spec, name=card.name, licence=card.licence)


def _of_torchvision() -> Iterator[KnownModel]:
    for name in runtime.NAMES:
        yield KnownModel(
            spec=f"torchvision:{name}",
            name=name,
            licence="BSD-3-Clause",
            published_ap=runtime.PUBLISHED_AP[name],
        )
