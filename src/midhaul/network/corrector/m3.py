"""m3's net behind the interface of correctors: a transformer over links, and an MLP.

C. Li et al., "m3: Accurate Flow-Level Performance Estimation using Machine Learning",
SIGCOMM 2024, section 4: each link is a token, a Llama-style transformer (H. Touvron et
al., "LLaMA", 2023: RMSNorm, SwiGLU, rotary positions) reads them in their order, what
it gives is averaged, and an MLP makes of that and of the foreground the percentiles of
the slowdown in each class. It is the expensive reference beside :mod:`.compact`; torch
is needed to ask it as well.

Differences from m3:

1. Tokens are :class:`~midhaul.network.corrector.features.PathFeatures` of a link, with
   all classes side by side, instead of ten buckets of 100 raw percentiles.
2. Five classes of 24 percentiles come out, as logarithms, instead of four of 100; what
   crosses is put right by a running maximum.
3. The loss is the pinball loss; m3's is relative to the percentiles of what there is.
4. There are presets below its size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.errors import require
from midhaul.network.corrector.base import LEVELS, Correction
from midhaul.network.corrector.features import (
    HOP_CLASS_NAMES,
    HOP_NAMES,
    N_CLASSES,
    OWN_NAMES,
    PATH_NAMES,
    stacked,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Float32, Float64

    from midhaul.network.corrector.features import PathFeatures

N_TOKEN = len(HOP_NAMES) + N_CLASSES * len(HOP_CLASS_NAMES) + len(PATH_NAMES)
"""Numbers of a token: of the link, of its classes, and what is told once."""

N_OWN = N_CLASSES * len(OWN_NAMES) + len(PATH_NAMES)
"""Numbers of the foreground that the MLP sees besides."""

_CLIP, _MOST_LOG = 6.0, 12.0


@dataclass(frozen=True, slots=True, kw_only=True)
class M3Size:
    """How large the net is.

    Attributes:
        width: of a token inside the transformer.
        n_layers: of it.
        n_heads: of each layer.
        inner: width of the SwiGLU.
        hidden: width of the MLP's two layers.
        dropout: share of numbers that are left out while it learns.
    """

    width: int = 576
    n_layers: int = 4
    n_heads: int = 4
    inner: int = 1536
    hidden: int = 512
    dropout: float = 0.2


M3_SIZES: Mapping[str, M3Size] = {
    "m3": M3Size(),
    "small": M3Size(
        width=128, n_layers=2, n_heads=4, inner=256, hidden=256, dropout=0.1
    ),
    "tiny": M3Size(width=32, n_layers=1, n_heads=2, inner=64, hidden=64, dropout=0.0),
}
"""Presets; ``m3`` has the sizes of the paper's net."""


def m3_inputs(
    arrays: Mapping[str, np.ndarray],
) -> tuple[Float32[np.ndarray, "n h k"], Float32[np.ndarray, "n o"], np.ndarray]:
    """Tokens and foregrounds of stacked features, and which links are there."""
    n, h = arrays["hops"].shape[:2]
    is_there = ~np.isnan(arrays["hops"][:, :, 0])
    once = np.repeat(arrays["path"][:, None, :], h, axis=1)
    classes = arrays["hop_classes"].reshape(n, h, -1)
    tokens = np.concatenate([arrays["hops"], classes, once], axis=2)
    tokens = np.where(is_there[:, :, None], tokens, 0.0).astype(np.float32)
    own = np.concatenate([arrays["own"].reshape(n, -1), arrays["path"]], axis=1)
    return tokens, own.astype(np.float32), is_there


def m3_net(size: M3Size, seed: int = 0) -> Any:
    """The net, as torch has it, with random weights.

    Its buffers ``token_mean``, ``token_deviation``, ``own_mean`` and ``own_deviation``
    scale what comes in. PrerequisiteError if torch is not installed.
    """
    torch: Any = require("torch", "learn")
    torch.manual_seed(seed)
    return _net_class(torch)(size)


def _net_class(torch: Any) -> Any:
    """The class, made late, as it is one of torch's."""
    nn = torch.nn

    class Norm(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(width))

        def forward(self, x: Any) -> Any:
            size = x.pow(2).mean(dim=-1, keepdim=True)
            return x * torch.rsqrt(size + 1e-5) * self.scale

    class Layer(nn.Module):
        def __init__(self, size: M3Size) -> None:
            super().__init__()
            width = size.width
            self.n_heads = size.n_heads
            self.before, self.between = Norm(width), Norm(width)
            self.mixed = nn.Linear(width, 3 * width, bias=False)
            self.out = nn.Linear(width, width, bias=False)
            self.gate = nn.Linear(width, size.inner, bias=False)
            self.up = nn.Linear(width, size.inner, bias=False)
            self.down = nn.Linear(size.inner, width, bias=False)
            self.dropped = nn.Dropout(size.dropout)

        def forward(self, x: Any, mask: Any) -> Any:
            n, h, width = x.shape
            parts = self.mixed(self.before(x)).chunk(3, dim=-1)
            shape = (n, h, self.n_heads, width // self.n_heads)
            query, key, value = (p.view(shape).transpose(1, 2) for p in parts)
            seen = nn.functional.scaled_dot_product_attention(
                _turned(torch, query), _turned(torch, key), value, attn_mask=mask
            )
            seen = seen.transpose(1, 2).reshape(n, h, width)
            x = x + self.dropped(self.out(seen))
            y = self.between(x)
            gated = nn.functional.silu(self.gate(y)) * self.up(y)
            return x + self.dropped(self.down(gated))

    class M3Net(nn.Module):
        def __init__(self, size: M3Size) -> None:
            super().__init__()
            self.enter = nn.Linear(N_TOKEN, size.width)
            self.layers = nn.ModuleList(Layer(size) for _ in range(size.n_layers))
            self.last = Norm(size.width)
            self.head = nn.Sequential(
                nn.Linear(N_OWN + size.width, size.hidden),
                nn.ReLU(),
                nn.Linear(size.hidden, size.hidden),
                nn.ReLU(),
                nn.Linear(size.hidden, N_CLASSES * len(LEVELS)),
            )
            for name, n in (("token", N_TOKEN), ("own", N_OWN)):
                self.register_buffer(f"{name}_mean", torch.zeros(n))
                self.register_buffer(f"{name}_deviation", torch.ones(n))

        def forward(self, tokens: Any, own: Any, there: Any) -> Any:
            scaled = (tokens - self.token_mean) / self.token_deviation
            x = self.enter(scaled.clamp(-_CLIP, _CLIP))
            h = x.shape[1]
            # Each link sees itself and those before it, as in m3.
            causal = torch.ones(h, h, dtype=torch.bool).tril()
            mask = causal[None, None] & (there[:, None, None, :] > 0)
            mask = mask | torch.eye(h, dtype=torch.bool)[None, None]
            for layer in self.layers:
                x = layer(x, mask)
            x = self.last(x) * there[:, :, None]
            mean = x.sum(dim=1) / there.sum(dim=1, keepdim=True).clamp(min=1)
            told = ((own - self.own_mean) / self.own_deviation).clamp(-_CLIP, _CLIP)
            out = self.head(torch.cat([told, mean], dim=1))
            return out.view(-1, N_CLASSES, len(LEVELS))

    return M3Net


def _turned(torch: Any, x: Any) -> Any:
    """Rotary positions: pairs of numbers are turned by the place of their token."""
    half = x.shape[-1] // 2
    place = torch.arange(x.shape[-2], dtype=x.dtype)
    speed = 10_000.0 ** (-torch.arange(half, dtype=x.dtype) / half)
    angle = place[:, None] * speed[None, :]
    one, other = x[..., :half], x[..., half:]
    cos, sin = angle.cos(), angle.sin()
    return torch.cat([one * cos - other * sin, one * sin + other * cos], dim=-1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class M3Corrector:
    """m3's net as a corrector; it knows no intervals and no ranges.

    Attributes:
        net: of :func:`m3_net`.
    """

    net: Any

    @property
    def name(self) -> str:
        """What tables call it."""
        return "m3"

    def predict(self, features: Sequence[PathFeatures]) -> Correction:
        """Percentiles of slowdowns of each path; intervals are the answer itself.

        Args:
            features: of each path, at least one.

        Returns:
            What packets would say of them.
        """
        arrays = stacked(features)
        told = np.exp(self.log_slowdown(arrays))
        return Correction(
            slowdown=told,
            low=told,
            high=told,
            counts=arrays["counts"],
            outside=tuple(one.odd for one in features),
        )

    def log_slowdown(
        self, arrays: Mapping[str, np.ndarray]
    ) -> Float64[np.ndarray, "n b q"]:
        """Logarithms of percentiles of stacked features, put in order."""
        torch: Any = require("torch", "learn")
        tokens, own, is_there = m3_inputs(arrays)
        self.net.eval()
        with torch.no_grad():
            told = self.net(
                torch.from_numpy(tokens),
                torch.from_numpy(own),
                torch.from_numpy(is_there.astype(np.float32)),
            )
        logs = np.clip(told.numpy().astype(np.float64), 0.0, _MOST_LOG)
        return np.maximum.accumulate(logs, axis=2)
