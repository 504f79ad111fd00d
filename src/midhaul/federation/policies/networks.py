"""Networks in torch for the learners, seeded apart from torch's own global state."""

from __future__ import annotations

import copy
import itertools
import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from midhaul.federation.policies.actors import Network

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midhaul.federation.policies.actors import Activation

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh}


def generator(rng: np.random.Generator) -> torch.Generator:
    """A source of chance for torch, that follows from numpy's."""
    source = torch.Generator()
    source.manual_seed(int(rng.integers(0, 2**63 - 1)))
    return source


def mlp(
    sizes: Sequence[int], activation: Activation, source: torch.Generator
) -> nn.Sequential:
    """A perceptron whose weights and biases are drawn as torch draws those of layers.

    Args:
        sizes: of inputs, hidden layers and outputs.
        activation: between layers.
        source: of the draws.
    """
    layers: list[nn.Module] = []
    for place, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
        layer = nn.Linear(n_in, n_out, device="meta").to_empty(device="cpu")
        bound = 1 / math.sqrt(n_in)
        with torch.no_grad():
            layer.weight.uniform_(-bound, bound, generator=source)
            layer.bias.uniform_(-bound, bound, generator=source)
        layers.append(layer)
        if place < len(sizes) - 2:
            layers.append(_ACTIVATIONS[activation]())
    return nn.Sequential(*layers)


def network_of(
    module: nn.Sequential, activation: Activation, n_out: int = 0
) -> Network:
    """The same network on numpy.

    Args:
        module: what :func:`mlp` made.
        activation: as it was made with.
        n_out: only the first outputs; all of them when 0.
    """
    layers = [layer for layer in module if isinstance(layer, nn.Linear)]
    weights = [layer.weight.detach().numpy().T.copy() for layer in layers]
    biases = [layer.bias.detach().numpy().copy() for layer in layers]
    if n_out:
        weights[-1], biases[-1] = weights[-1][:, :n_out].copy(), biases[-1][:n_out]
    return Network(weights=tuple(weights), biases=tuple(biases), activation=activation)


class TwinCritics:
    """Two estimates of what an action is worth, and slowly following copies.

    Fujimoto, van Hoof and Meger, "Addressing function approximation error in
    actor-critic methods", ICML 2018: the lesser of the two is believed.

    Args:
        n_inputs: features.
        n_actions: width of an action.
        hidden: widths of the layers.
        source: of the first weights.
    """

    def __init__(
        self,
        n_inputs: int,
        n_actions: int,
        hidden: tuple[int, ...],
        source: torch.Generator,
    ) -> None:
        sizes = (n_inputs + n_actions, *hidden, 1)
        self.nets = nn.ModuleList(mlp(sizes, "relu", source) for _ in range(2))
        self.targets = copy.deepcopy(self.nets)
        hold(self.targets)

    def both(
        self, inputs: torch.Tensor, actions: torch.Tensor, *, is_target: bool = False
    ) -> torch.Tensor:
        """``(2, b)`` what each thinks."""
        pairs = torch.cat([inputs, actions], dim=1)
        nets = self.targets if is_target else self.nets
        return torch.stack([net(pairs)[:, 0] for net in nets])

    def loss(
        self, inputs: torch.Tensor, actions: torch.Tensor, wanted: torch.Tensor
    ) -> torch.Tensor:
        """Mean squared error of both, added up."""
        return ((self.both(inputs, actions) - wanted) ** 2).mean(dim=1).sum()

    def follow(self, polyak: float) -> None:
        """Let the copies follow."""
        follow(self.targets, self.nets, polyak)

    def networks(self) -> tuple[Network, ...]:
        """Both on numpy."""
        nets = [net for net in self.nets if isinstance(net, nn.Sequential)]
        return tuple(network_of(net, "relu") for net in nets)


def hold(module: nn.Module, *, is_held: bool = True) -> None:
    """Keep weights out of gradients, or let them in again."""
    for parameter in module.parameters():
        parameter.requires_grad = not is_held


def follow(target: nn.Module, source: nn.Module, polyak: float) -> None:
    """Move a copy's weights towards their origin's, by polyak averaging."""
    with torch.no_grad():
        for mine, theirs in zip(target.parameters(), source.parameters(), strict=True):
            mine.mul_(polyak).add_(theirs, alpha=1 - polyak)


def as_tensor(values: np.ndarray) -> torch.Tensor:
    """Numbers as torch's, of single precision."""
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))
