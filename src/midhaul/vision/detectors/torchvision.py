"""Detectors of torchvision, by the name of their builder."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.errors import (
    ConfigError,
    DataError,
    PrerequisiteError,
    choice_hint,
    require,
)
from midhaul.model import Detections
from midhaul.vision.detectors.card import COCO80
from midhaul.vision.detectors.detector import Stated
from midhaul.vision.detectors.geometry import Geometry

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from midhaul.vision.images.image import Pixels

# COCO box AP on val2017 (of persons for the keypoint model) as torchvision states it
# for the default weights: published, not measured here. Kept so that a list of models
# needs no torch; a test holds it against torchvision's metadata.
PUBLISHED_AP = {
    "fasterrcnn_mobilenet_v3_large_320_fpn": 0.228,
    "fasterrcnn_mobilenet_v3_large_fpn": 0.328,
    "fasterrcnn_resnet50_fpn": 0.370,
    "fasterrcnn_resnet50_fpn_v2": 0.467,
    "fcos_resnet50_fpn": 0.392,
    "keypointrcnn_resnet50_fpn": 0.546,
    "maskrcnn_resnet50_fpn": 0.379,
    "maskrcnn_resnet50_fpn_v2": 0.474,
    "retinanet_resnet50_fpn": 0.364,
    "retinanet_resnet50_fpn_v2": 0.415,
    "ssd300_vgg16": 0.251,
    "ssdlite320_mobilenet_v3_large": 0.213,
}
NAMES = tuple(PUBLISHED_AP)
# Their published weights were trained with an epsilon of 0 in the batch norm layers.
_NO_EPSILON = (
    "fasterrcnn_resnet50_fpn",
    "keypointrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn",
    "retinanet_resnet50_fpn",
)
RANDOM_WEIGHTS = "random weights: no accuracy"
_UNUSED_CATEGORIES = ("__background__", "no person", "N/A")


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What torchvision says about the weights of a detector; not measured here.

    Attributes:
        box_ap: COCO box AP on val2017, in 0..1; of persons for the keypoint model.
        gflops: 1e9 multiply-adds per image, as torchvision counts them.
        n_parameters: number of parameters.
        url: where the weights are.
        categories: label of every number; empty where a number is not in use.
    """

    box_ap: float
    gflops: float
    n_parameters: int
    url: str
    categories: tuple[str, ...]


class TorchvisionDetector:
    """A torchvision model on the CPU; takes one image at a time.

    The setting of threads holds for the process; ``weights`` as :func:`build_model` has
    it. ConfigError if there is no such builder; DataError if the file of weights is
    missing or does not fit; PrerequisiteError if torch or torchvision is missing or
    broken, or the weights cannot be downloaded.
    """

    def __init__(self, name: str, *, weights: str, threads: int, seed: int) -> None:
        self._torch: Any = require("torch", "learn")
        self._torch.set_num_threads(threads)
        self._model = build_model(name, weights, seed=seed)
        categories = np.array([bool(one) for one in published(name).categories])
        # Index into names by number; -1 where a number is not in use.
        self._index = np.where(categories, np.cumsum(categories) - 1, -1)
        self.names = tuple(one for one in published(name).categories if one)
        self.caveat = RANDOM_WEIGHTS if weights == "none" else ""
        self.name = name
        if weights == "none":
            self.name = f"{name} (random weights)"
        elif weights != "DEFAULT":
            self.name = f"{name} ({Path(weights).stem})"

    def detect(self, pixels: Pixels, *, image_id: str = "") -> Detections:  # noqa: ARG002
        """Find boxes on one image; see :class:`Detector`."""
        height, width = pixels.shape[:2]
        planes = np.ascontiguousarray(pixels.transpose(2, 0, 1), np.float32)
        planes *= np.float32(1 / 255)
        with self._torch.inference_mode():
            (found,) = self._model([self._torch.from_numpy(planes)])
        boxes = found["boxes"].numpy().astype(np.float32)
        scores = found["scores"].numpy().astype(np.float32)
        labels = self._index[found["labels"].numpy()].astype(np.int32)
        order = np.argsort(-scores, kind="stable")
        order = order[labels[order] >= 0]
        frame = Geometry(width=width, height=height, scale_x=1, scale_y=1)
        return Detections(
            boxes=frame.to_image(boxes[order]),
            scores=np.clip(scores[order], 0, 1),
            labels=labels[order],
            names=self.names,
        )


def published(name: str) -> Published:
    """What torchvision's metadata says about a builder's default weights.

    ConfigError if there is no such builder; PrerequisiteError if torchvision is missing
    or broken.
    """
    weights = _weights_enum(name).DEFAULT
    meta = weights.meta
    return Published(
        box_ap=meta["_metrics"]["COCO-val2017"]["box_map"] / 100,
        gflops=meta["_ops"],
        n_parameters=meta["num_params"],
        url=weights.url,
        categories=tuple(
            "" if one in _UNUSED_CATEGORIES else one for one in meta["categories"]
        ),
    )


def build_model(name: str, weights: str, *, seed: int = 0) -> Any:
    """A torchvision model in evaluation mode.

    ``weights`` is ``DEFAULT`` (downloaded once, then from torch's cache), ``none``
    (random by the seed), or the path of a state dict; only tensors are read from it,
    never code. Errors as of :class:`TorchvisionDetector`.
    """
    enum = _weights_enum(name)
    torch: Any = require("torch", "learn")
    models = _torchvision().models
    if weights == "DEFAULT":
        return _published_model(models, name, enum.DEFAULT).eval()
    state = None if weights == "none" else _read_state(torch, Path(weights))
    with _seeded(torch, seed):
        model = models.get_model(name, weights=None, weights_backbone=None)
    if state is None:
        return model.eval()
    try:
        model.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        message = f"the weights {weights} do not fit {name}: {reason}"
        raise DataError(message, f"give a state dict of {name}") from error
    is_published = enum.DEFAULT.url.endswith(f"/{Path(weights).name}")
    if is_published and name in _NO_EPSILON:
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eps = 0.0
    return model.eval()


def stated(location: str, options: Mapping[str, str]) -> Stated:
    """The label set of a builder's published weights; needs no torch."""
    del options
    return Stated(names=("person",) if location.startswith("keypoint") else COCO80)


def load(
    location: str, options: Mapping[str, str], *, threads: int, seed: int
) -> TorchvisionDetector:
    """Load a builder by name, with ``weights``; see :class:`TorchvisionDetector`."""
    weights = options.get("weights", "DEFAULT")
    return TorchvisionDetector(location, weights=weights, threads=threads, seed=seed)


def _torchvision() -> Any:
    try:
        return require("torchvision", "learn")
    except RuntimeError as error:  # its operators did not load
        reason = str(error).splitlines()[0]
        message = f"torchvision is installed but does not fit torch: {reason}"
        hint = (
            "install both from one index: pip install --force-reinstall torch "
            "torchvision --index-url https://download.pytorch.org/whl/cpu"
        )
        raise PrerequisiteError(message, hint) from error


def _weights_enum(name: str) -> Any:
    if name not in NAMES:
        message = f"torchvision detector {name!r} is not known"
        raise ConfigError(message, choice_hint(name, NAMES))
    return _torchvision().models.get_model_weights(name)


def _published_model(models: Any, name: str, weights: Any) -> Any:
    try:
        return models.get_model(
            name, weights=weights, weights_backbone=None, progress=False
        )
    except (OSError, RuntimeError) as error:
        message = f"weights of {name} cannot be downloaded from {weights.url}: {error}"
        hint = (
            f"download that file where there is a network, keep its name, and use "
            f"torchvision:{name}?weights=FILE (or ?weights=none for cost only)"
        )
        raise PrerequisiteError(message, hint) from error


def _read_state(torch: Any, file: Path) -> Any:
    if not file.is_file():
        message = f"weights {file} do not exist"
        raise DataError(message, "use weights=DEFAULT, weights=none or a file")
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a file that is no state dict makes of it
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        message = f"weights {file} hold no plain state dict: {reason}"
        hint = "save them with torch.save(model.state_dict(), FILE)"
        raise DataError(message, hint) from error


@contextlib.contextmanager
def _seeded(torch: Any, seed: int) -> Generator[None]:
    """Random numbers of torch from a seed, without touching its global state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
