"""Makes torchvision from PyPI importable beside the CPU build of torch.

That wheel is linked against CUDA, so its operators do not load without it, and the
import ends in "operator torchvision::nms does not exist". ``install`` gives torch the
two operators that detection models need, in Python, and imports torchvision. For
inference on the CPU and for ONNX export only, and for tests only: users install
torchvision from the same index as torch.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

import numpy as np
import torch

_CHUNK = 64


@functools.cache
def install() -> Any:
    """Import torchvision, with its own operators where they load, else with ours."""
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    library = torch.library.Library("torchvision", "FRAGMENT")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define(
        "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    )
    library.define(
        "roi_align(Tensor input, Tensor rois, float spatial_scale, "
        "SymInt pooled_height, SymInt pooled_width, int sampling_ratio, bool aligned) "
        "-> Tensor",
    )
    library.impl("nms", _nms, "CPU")
    library.impl("roi_align", _roi_align, "CPU")
    _kept.append(library)  # the operators live as long as the library object
    torchvision = importlib.import_module("torchvision")
    for name in ("extension", "ops.boxes", "ops.roi_align"):
        module = importlib.import_module(f"torchvision.{name}")
        module._assert_has_ops = _has_them
        module._has_ops = _is_there
    return torchvision


_kept: list[Any] = []


def _has_them() -> None:
    """Nothing is missing (a plain function: the ONNX exporter compiles it)."""


def _is_there() -> bool:
    return True


def _nms(
    dets: torch.Tensor, scores: torch.Tensor, iou_threshold: float
) -> torch.Tensor:
    boxes = dets.detach().numpy()
    order = np.argsort(-scores.detach().numpy(), kind="stable")
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept: list[int] = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(int(best))
        low = np.maximum(boxes[best, :2], boxes[rest, :2])
        high = np.minimum(boxes[best, 2:], boxes[rest, 2:])
        shared = np.prod(np.maximum(high - low, 0), axis=1)
        union = areas[best] + areas[rest] - shared
        order = rest[~(shared > iou_threshold * union)]
    return torch.tensor(kept, dtype=torch.int64)


def _roi_align(
    features: torch.Tensor,
    rois: torch.Tensor,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
    aligned: bool,  # noqa: FBT001
) -> torch.Tensor:
    if sampling_ratio <= 0:
        message = "the shim's roi_align needs a fixed sampling ratio"
        raise NotImplementedError(message)
    features, rois = features.detach(), rois.detach()
    height, width = features.shape[2:]
    n = sampling_ratio
    parts: list[torch.Tensor] = []
    for some in torch.split(rois, _CHUNK):
        ends = some[:, 1:] * spatial_scale - (0.5 if aligned else 0.0)
        yl, yh, wy = _samples(
            ends[:, 1], ends[:, 3], pooled_height * n, height, aligned
        )
        xl, xh, wx = _samples(ends[:, 0], ends[:, 2], pooled_width * n, width, aligned)
        batch = some[:, 0].long()[:, None, None]
        total = 0
        for y, rows in ((yl, wy[0]), (yh, wy[1])):
            for x, columns in ((xl, wx[0]), (xh, wx[1])):
                # (k, rows, columns, channels): the two index arrays come first
                picked = features.permute(0, 2, 3, 1)[batch, y[:, :, None], x[:, None]]
                weight = rows[:, :, None] * columns[:, None]
                total = total + picked * weight[..., None]
        total = torch.as_tensor(total).permute(0, 3, 1, 2)
        parts.append(torch.nn.functional.avg_pool2d(total, n))
    if not parts:
        return features.new_zeros((0, features.shape[1], pooled_height, pooled_width))
    return torch.cat(parts)


def _samples(
    low: torch.Tensor,
    high: torch.Tensor,
    n: int,
    length: int,
    aligned: bool,  # noqa: FBT001
) -> tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
    """Neighbours and weights of ``n`` evenly spread points between two ends."""
    span = high - low
    if not aligned:
        span = span.clamp(min=1)
    points = low[:, None] + span[:, None] * (torch.arange(n) + 0.5) / n
    inside = (points >= -1) & (points <= length)
    points = points.clamp(0, length - 1)
    first = points.floor().long()
    second = (first + 1).clamp(max=length - 1)
    weight = points - first
    return first, second, ((1 - weight) * inside, weight * inside)
