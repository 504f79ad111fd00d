"""The built-in detectors' networks: one family of small anchor-free convnets.

A strided stem, four stages, a top-down neck and one head shared by the three strides.
The head answers with YOLOX's raw layout per cell: x, y, log width, log height,
objectness and one score per class, rows first, strides 8, 16 and 32 one after another.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

STRIDES = (8, 16, 32)
BOX_AND_OBJECTNESS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class NetSpec:
    """What makes one detector larger than another.

    Attributes:
        channels: of the stem and of the stages at strides 4, 8, 16 and 32.
        depths: residual blocks of the four stages.
        neck: channels that the strides share.
        head_depth: convolutions before the outputs.
        is_head_separable: the head's convolutions are depthwise and pointwise.
        iterations: length of the training, in batches.
        batch: crops in a batch.
        is_stem_patched: the stem looks at squares of 4x4 px once and is the whole stage
            at stride 4.
    """

    channels: tuple[int, int, int, int, int]
    depths: tuple[int, int, int, int]
    neck: int
    head_depth: int
    is_head_separable: bool
    iterations: int
    batch: int = 16
    is_stem_patched: bool = False


SPECS = {
    "street-n": NetSpec(
        channels=(16, 16, 24, 32, 32),
        depths=(0, 0, 1, 1),
        neck=20,
        head_depth=1,
        is_head_separable=True,
        iterations=4000,
        is_stem_patched=True,
    ),
    "street-s": NetSpec(
        channels=(8, 12, 24, 32, 32),
        depths=(0, 0, 1, 1),
        neck=24,
        head_depth=1,
        is_head_separable=False,
        iterations=2400,
    ),
    "street-m": NetSpec(
        channels=(12, 24, 40, 56, 64),
        depths=(0, 1, 2, 1),
        neck=40,
        head_depth=1,
        is_head_separable=False,
        iterations=2000,
    ),
    "street-l": NetSpec(
        channels=(16, 32, 56, 72, 80),
        depths=(1, 2, 2, 1),
        neck=48,
        head_depth=1,
        is_head_separable=False,
        iterations=1600,
    ),
    "street-x": NetSpec(
        channels=(24, 40, 64, 72, 64),
        depths=(2, 4, 3, 1),
        neck=48,
        head_depth=2,
        is_head_separable=False,
        iterations=2400,
    ),
}
"""The five, from the smallest to the largest."""


def _conv(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, *, groups: int = 1
) -> nn.Sequential:
    padding = kernel // 2
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _patches(outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, outputs, 4, 4, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _head_conv(channels: int, *, is_separable: bool) -> nn.Sequential:
    if is_separable:
        return nn.Sequential(
            _conv(channels, channels, groups=channels), _conv(channels, channels, 1)
        )
    return _conv(channels, channels)


class Bottleneck(nn.Module):
    """A residual block: pointwise to half the channels, then 3x3 back."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.narrow = _conv(channels, channels // 2, 1)
        self.widen = _conv(channels // 2, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Add what the block found to what came in."""
        return x + self.widen(self.narrow(x))


class StreetNet(nn.Module):
    """A detector without its decoding.

    Args:
        spec: its size.
        n_classes: number of labels.
    """

    def __init__(self, spec: NetSpec, n_classes: int) -> None:
        super().__init__()
        stem, *stages = spec.channels
        self.stem = _patches(stem) if spec.is_stem_patched else _conv(3, stem, 3, 2)
        self.stages = nn.ModuleList()
        before = stem
        for level, (channels, depth) in enumerate(
            zip(stages, spec.depths, strict=True)
        ):
            is_strided = level > 0 or not spec.is_stem_patched
            blocks = [Bottleneck(channels) for _ in range(depth)]
            down = [_conv(before, channels, 3, 2)] if is_strided else []
            self.stages.append(nn.Sequential(*down, *blocks))
            before = channels
        self.laterals = nn.ModuleList(_conv(c, spec.neck, 1) for c in stages[1:])
        self.smooth = nn.ModuleList(
            _head_conv(spec.neck, is_separable=True) for _ in STRIDES[:-1]
        )
        self.head = nn.Sequential(
            *(
                _head_conv(spec.neck, is_separable=spec.is_head_separable)
                for _ in range(spec.head_depth)
            )
        )
        self.out = nn.Conv2d(spec.neck, BOX_AND_OBJECTNESS + n_classes, 1)
        nn.init.constant_(self.out.bias[4:], -4.0)
        nn.init.normal_(self.out.weight, std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        """Raw outputs ``(b, cells, 5 + classes)``: logits where scores will be."""
        x = self.stages[0](self.stem(x))
        levels: list[Tensor] = []
        for stage, lateral in zip(self.stages[1:], self.laterals, strict=True):
            x = stage(x)
            levels.append(lateral(x))
        for i in (1, 0):
            up = nn.functional.interpolate(levels[i + 1], scale_factor=2.0)
            levels[i] = self.smooth[i](levels[i] + up)
        outs = [self.out(self.head(level)).flatten(2) for level in levels]
        return torch.cat(outs, dim=2).transpose(1, 2)


class WithScores(nn.Module):
    """The network as it is shipped: objectness and class scores in 0..1."""

    def __init__(self, net: StreetNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Raw boxes, then scores, as YOLOX's exports lay them out."""
        raw = self.net(x)
        return torch.cat([raw[..., :4], raw[..., 4:].sigmoid()], dim=-1)


def count_macs(net: nn.Module, width: int, height: int) -> int:
    """Multiplications of all convolutions for one image."""
    total = 0

    def add(module: nn.Module, _: object, output: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            kernel = module.weight[0].numel()
            total += kernel * output.shape[1] * output.shape[2] * output.shape[3]

    hooks = [m.register_forward_hook(add) for m in net.modules()]
    with torch.no_grad():
        net(torch.zeros(1, 3, height, width))
    for hook in hooks:
        hook.remove()
    return total
