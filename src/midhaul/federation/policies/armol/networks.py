"""Networks in torch for the learners, seeded apart from torch's own global state."""

from __future__ import annotations

import copy
import itertools
import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from midhaul.errors import ConfigError
from midhaul.federation.policies.armol.actor_policy import ActorNetwork

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from midhaul.federation.policies.armol.actor_policy import Activation
    from midhaul.federation.policies.armol.presets import ReplayMemorySettings

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh}


def device_named(name: str) -> torch.device:
    """Where networks learn: ``cpu``, ``cuda``, or ``auto`` for the better one.

    ConfigError where there is no such device, or torch does not see it.
    """
    if name not in ("cpu", "cuda", "auto"):
        message = f"device of a learner: {name!r} is none of cpu, cuda and auto"
        raise ConfigError(message)
    is_there = torch.cuda.is_available()
    if name == "cuda" and not is_there:
        message = (
            f'device of a learner: "cuda", but torch {torch.__version__} sees no CUDA '
            "device"
        )
        hint = (
            'set device = "auto" or "cpu"; on a machine with a GPU, install its '
            "driver and torch for CUDA (https://pytorch.org/get-started)"
        )
        raise ConfigError(message, hint)
    return torch.device("cuda" if name != "cpu" and is_there else "cpu")


def generator(rng: np.random.Generator, device: torch.device) -> torch.Generator:
    """A source of chance for torch on a device, that follows from numpy's."""
    source = torch.Generator(device)
    source.manual_seed(int(rng.integers(0, 2**63 - 1)))
    return source


def mlp(
    sizes: Sequence[int], activation: Activation, source: torch.Generator
) -> nn.Sequential:
    """A perceptron whose weights and biases are drawn as torch draws them."""
    layers: list[nn.Module] = []
    for place, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
        layer = nn.Linear(n_in, n_out, device="meta").to_empty(device=source.device)
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
) -> ActorNetwork:
    """What :func:`mlp` made, on numpy; only ``n_out`` outputs unless that is 0."""
    layers = [layer for layer in module if isinstance(layer, nn.Linear)]
    weights = [layer.weight.detach().cpu().numpy().T.copy() for layer in layers]
    biases = [layer.bias.detach().cpu().numpy().copy() for layer in layers]
    if n_out:
        weights[-1], biases[-1] = weights[-1][:, :n_out].copy(), biases[-1][:n_out]
    return ActorNetwork(
        weights=tuple(weights), biases=tuple(biases), activation=activation
    )


class TwinCritics:
    """Two estimates of what an action is worth, and slowly following copies.

    Fujimoto, van Hoof and Meger, "Addressing function approximation error in
    actor-critic methods", ICML 2018: the lesser of the two is believed.
    """

    def __init__(
        self,
        n_inputs: int,
        n_actions: int,
        settings: ReplayMemorySettings,
        source: torch.Generator,
    ) -> None:
        sizes = (n_inputs + n_actions, *settings.hidden, 1)
        self.nets = nn.ModuleList(mlp(sizes, "relu", source) for _ in range(2))
        self.targets = copy.deepcopy(self.nets)
        hold(self.targets)
        self._polyak = settings.polyak
        self._step = adam(self.nets.parameters(), settings.learning_rate)

    def both(
        self, inputs: torch.Tensor, actions: torch.Tensor, *, is_target: bool = False
    ) -> torch.Tensor:
        """``(2, b)`` what each thinks."""
        pairs = torch.cat([inputs, actions], dim=1)
        nets = self.targets if is_target else self.nets
        return torch.stack([net(pairs)[:, 0] for net in nets])

    def learn(
        self, inputs: torch.Tensor, actions: torch.Tensor, wanted: torch.Tensor
    ) -> torch.Tensor:
        """Move both to what is wanted; returns their mean squared errors, added up."""
        loss = ((self.both(inputs, actions) - wanted) ** 2).mean(dim=1).sum()
        self._step.zero_grad()
        loss.backward()
        self._step.step()
        return loss.detach()

    def follow(self) -> None:
        """Let the copies follow."""
        follow(self.targets, self.nets, self._polyak)

    def networks(self) -> tuple[ActorNetwork, ...]:
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


def noise_like(values: torch.Tensor, source: torch.Generator) -> torch.Tensor:
    """Standard normal noise of the same shape, on the same device."""
    return torch.randn(values.shape, generator=source, device=values.device)


def adam(parameters: Iterable[nn.Parameter], rate: float) -> torch.optim.Adam:
    """Adam; on a GPU in one kernel, and so that a CUDA graph can hold it."""
    kept = list(parameters)
    is_cuda = kept[0].is_cuda
    return torch.optim.Adam(kept, rate, fused=is_cuda or None, capturable=is_cuda)


def as_tensor(values: np.ndarray, device: torch.device) -> torch.Tensor:
    """Numbers as torch's, of single precision, on a device."""
    return torch.from_numpy(np.ascontiguousarray(values, np.float32)).to(device)
