"""MLP over bins: the transmission-time predictor of Fugu, trained in three ways.

Yan et al., "Learning in situ: a randomized experiment in video streaming", NSDI 2020:
62 inputs, two hidden layers of 64, softmax over 21 bins, cross entropy. Puffer trains
it in many epochs on days that fade, Memento with early stopping from a first model; the
way that comparisons need is a fixed number of steps, since whoever stops early by
itself trains longer on one memory than on another.

Differences:

1. Inputs are standardised by the weighted mean and deviation of what is trained on, in
   the net itself, so that a net needs nothing beside it. Constant inputs are left out.
2. Single precision; the seed has double.
"""

from __future__ import annotations

import copy
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, cast

import numpy as np
from annotated_types import Ge, Gt, Lt

from midhaul.errors import DataError, require

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from jaxtyping import Float32

    from midhaul.memory.samples import Bins, Samples


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """How a net is trained.

    Attributes:
        n_steps: batches at most; 0 for no such limit.
        n_epochs: passes over the samples at most; 0 for no such limit.
        batch_size: samples of a batch.
        learning_rate: of Adam.
        weight_decay: of Adam, added to the gradient.
        held_share: share of the groups that is held back to stop by; 0 for none.
        patience: epochs without a better held loss after which training ends.
        least_gain: by how much a held loss must fall to be better.
        is_continued: true to go on from the net before, false to begin anew.
        hidden: units of each of the two hidden layers.
    """

    n_steps: Annotated[int, Ge(0)] = 700
    n_epochs: Annotated[int, Ge(0)] = 0
    batch_size: Annotated[int, Ge(1)] = 512
    learning_rate: Annotated[float, Gt(0)] = 1e-3
    weight_decay: Annotated[float, Ge(0)] = 0.0
    held_share: Annotated[float, Ge(0), Lt(1)] = 0.0
    patience: Annotated[int, Ge(1)] = 50
    least_gain: Annotated[float, Ge(0)] = 1e-6
    is_continued: bool = False
    hidden: Annotated[int, Ge(1)] = 64


WAYS: dict[str, TrainSettings] = {
    "steps": TrainSettings(),
    "memento": TrainSettings(
        n_steps=0,
        n_epochs=3000,
        learning_rate=1e-4,
        weight_decay=1e-4,
        held_share=0.2,
        is_continued=True,
    ),
    "puffer": TrainSettings(
        n_steps=0,
        n_epochs=500,
        batch_size=32,
        learning_rate=1e-4,
        weight_decay=1e-4,
        is_continued=True,
    ),
}
"""Ways to train by name: a fixed budget, Memento's and Puffer's."""


class MlpPredictor:
    """A net with two hidden layers and a softmax over bins."""

    def __init__(
        self, bins: Bins, settings: TrainSettings | None = None, net: Any = None
    ) -> None:
        self.bins = bins
        self.settings = settings or TrainSettings()
        self._net = net

    def predict(self, x: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n k"]:
        """Its distribution for each input; all bins alike before it is trained."""
        if self._net is None:
            return np.full((len(x), self.bins.n), 1 / self.bins.n, np.float32)
        torch = cast("Any", require("torch", "memory"))
        found = np.empty((len(x), self.bins.n), np.float32)
        with torch.inference_mode(), _one_thread():
            for at in range(0, len(x), _CHUNK):
                rows = torch.from_numpy(np.ascontiguousarray(x[at : at + _CHUNK]))
                found[at : at + _CHUNK] = self._net(rows).softmax(1).numpy()
        return found

    def trained(self, samples: Samples, rng: np.random.Generator) -> MlpPredictor:
        """A net trained on samples, each as often as its weight says.

        DataError if there are none with a weight, or some lack their output.
        """
        rows = _Rows.of(samples, self.bins)
        net = self._begin(rows, rng)
        held = None
        if self.settings.held_share:
            rows, held = rows.split(self.settings.held_share, rng)
        with _one_thread():
            fitted = _fit(net, rows, held, self, rng)
        return MlpPredictor(self.bins, self.settings, fitted)

    def save_onnx(self) -> bytes:
        """The net as an ONNX model from ``x`` to ``probability``.

        DataError if it is not trained.
        """
        if self._net is None:
            message = "a net that is not trained cannot be saved"
            raise DataError(message, "train it first")
        from midhaul.memory.predictors.onnx_net import to_onnx  # noqa: PLC0415

        return to_onnx({k: v.numpy() for k, v in self._net.state_dict().items()})

    def _begin(self, rows: _Rows, rng: np.random.Generator) -> Any:
        if self.settings.is_continued and self._net is not None:
            return copy.deepcopy(self._net)
        torch = cast("Any", require("torch", "memory"))
        seed = int(rng.integers(2**31))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            width = self.settings.hidden
            layers = torch.nn.Sequential(
                torch.nn.BatchNorm1d(rows.x.shape[1], affine=False),
                torch.nn.Linear(rows.x.shape[1], width),
                torch.nn.ReLU(),
                torch.nn.Linear(width, width),
                torch.nn.ReLU(),
                torch.nn.Linear(width, self.bins.n),
            )
        total = rows.weight.sum()
        mean = (rows.weight[:, None] * rows.x).sum(0) / total
        var = (rows.weight[:, None] * (rows.x - mean) ** 2).sum(0) / total
        # An input that never varies says nothing: it becomes 0, whatever comes later.
        var[var < _CONSTANT * np.maximum(mean**2, 1e-12)] = np.inf
        layers[0].running_mean = torch.from_numpy(mean.astype(np.float32))
        layers[0].running_var = torch.from_numpy(var.astype(np.float32))
        return layers.eval()  # the first layer only standardises


@contextmanager
def _one_thread() -> Generator[None]:
    """Nets this small take ten times as long on two threads that share other work."""
    torch = cast("Any", require("torch", "memory"))
    n = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n)


_CHUNK = 65_536
_CONSTANT = 1e-10


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Rows:
    """What is trained on, as float arrays."""

    x: np.ndarray
    bin: np.ndarray
    weight: np.ndarray
    group: np.ndarray

    @classmethod
    def of(cls, samples: Samples, bins: Bins) -> _Rows:
        found = cls(
            x=samples.x,
            bin=bins.of(samples.y),
            weight=samples.weight.astype(np.float64),
            group=samples.group,
        )
        n_unknown = int((found.bin < 0).sum())
        if n_unknown:
            message = f"{n_unknown:,} of {len(samples):,} samples lack their output"
            raise DataError(message, "train on those whose output is known")
        if not found.weight.sum() > 0:
            message = f"nothing to train on: {len(samples):,} samples without weight"
            raise DataError(message, "keep some samples first")
        return found

    def take(self, rows: np.ndarray) -> _Rows:
        return replace(
            self,
            x=self.x[rows],
            bin=self.bin[rows],
            weight=self.weight[rows],
            group=self.group[rows],
        )

    def split(self, share: float, rng: np.random.Generator) -> tuple[_Rows, _Rows]:
        """Two parts that share no group; the second has about the share."""
        groups = rng.permutation(np.unique(self.group))
        n_held = max(round(share * len(groups)), 1)
        is_held = np.isin(self.group, groups[:n_held])
        if is_held.all():
            message = f"{len(groups)} group is too few to hold one back to stop by"
            raise DataError(message, "set held_share = 0, or bring more groups")
        return self.take(~is_held), self.take(is_held)


def _fit(
    net: Any,
    rows: _Rows,
    held: _Rows | None,
    of: MlpPredictor,
    rng: np.random.Generator,
) -> Any:
    torch = cast("Any", require("torch", "memory"))
    told = of.settings
    x, target = torch.from_numpy(rows.x), torch.from_numpy(rows.bin)
    optimiser = torch.optim.Adam(
        net.parameters(), told.learning_rate, weight_decay=told.weight_decay
    )
    loss_of = torch.nn.CrossEntropyLoss()
    best, best_loss, n_worse, epoch = None, np.inf, 0, 0
    for at, is_end in _batches(rows.weight, told, rng):
        chosen = torch.from_numpy(at)
        optimiser.zero_grad(set_to_none=True)
        loss_of(net(x[chosen]), target[chosen]).backward()
        optimiser.step()
        if is_end and held is not None:
            epoch += 1
            found = _held_loss(net, held)
            n_worse += 1
            if found < best_loss - told.least_gain:
                best, best_loss, n_worse = copy.deepcopy(net.state_dict()), found, 0
            if n_worse >= told.patience:
                break
    if best is not None:
        net.load_state_dict(best)
    return net


def _batches(
    weight: np.ndarray, told: TrainSettings, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, bool]]:
    """Rows of each batch, drawn by weight, and whether a pass over all ends with it.

    Alike weights are dealt out, so that each pass has every sample once.
    """
    n = len(weight)
    n_each = max(-(-n // told.batch_size), 1)
    n_steps = min(told.n_steps or np.inf, (told.n_epochs or np.inf) * n_each)
    if not np.isfinite(n_steps):
        message = "n_steps and n_epochs are both 0: training would never end"
        raise DataError(message, "set one of them")
    is_alike = bool((weight == weight[0]).all())
    edges = np.cumsum(weight)
    order = np.zeros(0, np.int64)
    for step in range(int(n_steps)):
        if len(order) == 0:
            order = (
                rng.permutation(n)
                if is_alike
                else np.searchsorted(edges, rng.random(n) * edges[-1], side="right")
            )
        at, order = order[: told.batch_size], order[told.batch_size :]
        yield at, (step + 1) % n_each == 0


def _held_loss(net: Any, held: _Rows) -> float:
    torch = cast("Any", require("torch", "memory"))
    with torch.inference_mode():
        logits = net(torch.from_numpy(held.x))
        losses = torch.nn.functional.cross_entropy(
            logits, torch.from_numpy(held.bin), reduction="none"
        ).numpy()
    return float(np.average(losses, weights=held.weight))
