"""The smallest built-in detector as a net that can learn on, with or without a class.

What is shipped is an ONNX graph whose batch norms are folded into its convolutions. Its
weights are put back into the net of ``tools/builtin_net.py`` in the order in which
convolutions are run; the batch norms become a shift.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

from builtin_net import BOX_AND_OBJECTNESS, SPECS, StreetNet
from builtin_training_data import TrainingScenes
from train_builtin import WEIGHTS, export, train

from midhaul.vision.detectors.card import read_card
from midhaul.vision.detectors.onnx import OnnxDetector
from midhaul.vision.images import decode
from midhaul.vision.scenes.scene import HEIGHT, LABELS, WIDTH

if TYPE_CHECKING:
    from collections.abc import Sequence

    from frame_worlds import Frame

MODEL = "street-n"
PEAK_RATE = 1e-3
NEVER = -6.0
"""What a class is given, as a logit, that the net is to know nothing of."""


def opened() -> StreetNet:
    """The shipped detector as a net."""
    graph = onnx.load(WEIGHTS / f"{MODEL}.onnx").graph
    arrays = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    for node in graph.node:  # what is used more than once has other names as well
        if node.op_type == "Identity":
            arrays[node.output[0]] = arrays[node.input[0]]
    shipped = [node.input for node in graph.node if node.op_type == "Conv"]
    net = StreetNet(SPECS[MODEL], len(LABELS)).eval()
    order = run_order(net)
    if len(order) != len(shipped):
        message = f"{len(order)} convolutions are run, {len(shipped)} are shipped"
        raise RuntimeError(message)
    norm_of = norms(net)
    with torch.no_grad():
        for conv, (_, weight, bias) in zip(order, shipped, strict=True):
            conv.weight.copy_(torch.tensor(arrays[weight]))
            if conv.bias is not None:
                conv.bias.copy_(torch.tensor(arrays[bias]))
                continue
            norm = norm_of[conv]
            nn.init.constant_(norm.running_var, 1.0 - norm.eps)
            norm.bias.copy_(torch.tensor(arrays[bias]))
    return net


def run_order(net: StreetNet) -> list[nn.Conv2d]:
    """Convolutions in the order in which they are run; some more than once."""
    order: list[nn.Conv2d] = []
    hooks = [
        module.register_forward_hook(lambda m, _, __: order.append(m))
        for module in net.modules()
        if isinstance(module, nn.Conv2d)
    ]
    with torch.no_grad():
        net(torch.zeros(1, 3, HEIGHT, WIDTH))
    for hook in hooks:
        hook.remove()
    return order


def norms(net: StreetNet) -> dict[nn.Conv2d, nn.BatchNorm2d]:
    """The batch norm that stands behind each convolution."""
    sequences = (one for one in net.modules() if isinstance(one, nn.Sequential))
    pairs = (pair for one in sequences for pair in itertools.pairwise(one))
    return {
        before: after
        for before, after in pairs
        if isinstance(before, nn.Conv2d) and isinstance(after, nn.BatchNorm2d)
    }


def forget(net: StreetNet, label: int) -> None:
    """Let a net know nothing of a class: its row of the last layer is made anew."""
    with torch.no_grad():
        net.out.weight[BOX_AND_OBJECTNESS + label] = 0.0
        net.out.bias[BOX_AND_OBJECTNESS + label] = NEVER


def learnt_on(
    net: StreetNet, frames: Sequence[Frame], *, seed: int, steps: int
) -> StreetNet:
    """A net that went on learning, from labelled frames."""
    scenes = TrainingScenes(
        pixels=np.stack([decode(frame.jpeg) for frame in frames]),
        boxes=[frame.truth.boxes for frame in frames],
        labels=[frame.truth.labels for frame in frames],
    )
    spec = SPECS[MODEL]
    return train(spec, scenes, seed=seed, steps=steps, begin=net, peak_rate=PEAK_RATE)


def detector_of(net: StreetNet, folder: Path) -> OnnxDetector:
    """A net as midhaul runs it."""
    file = folder / "net.onnx"
    export(net, file)
    card = read_card(WEIGHTS / f"{MODEL}.toml")
    return OnnxDetector(file, card, threads=1)
