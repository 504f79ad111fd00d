"""Fitting of the compact corrector: nets by pinball loss, with torch.

Adam with a cosine schedule and averaged weights of the last epochs would be more; one
pass over shuffled rows after another, with a learning rate that falls to nothing, is
what there is. In each epoch half of the rows do not see the short simulation, so that
one net answers with it and without.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.errors import require
from midhaul.network.corrector.base import LEVELS
from midhaul.network.corrector.compact import (
    N_HOP,
    N_ROW,
    NetScaling,
    NetWeights,
    rows_of_classes,
)
from midhaul.network.corrector.features import OWN_NAMES, PATH_NAMES, PREFIX_NAMES
from midhaul.network.corrector.m3 import M3Corrector, m3_inputs, m3_net

if TYPE_CHECKING:
    from collections.abc import Callable

    from midhaul.network.corrector.m3 import M3Size
    from midhaul.network.train.dataset import TrainingRows

PREFIX_COLUMNS = slice(
    len(PATH_NAMES) + len(OWN_NAMES),
    len(PATH_NAMES) + len(OWN_NAMES) + len(PREFIX_NAMES),
)
_MOST_BATCH, _FEWEST_BATCH = 1024, 32
_STEPS = 20
"""Steps of an epoch at least, as long as batches are not too small for it."""


def arrays_of(rows: TrainingRows) -> dict[str, np.ndarray]:
    """The features of rows, stacked."""
    names = ("path", "hops", "hop_classes", "own", "prefix", "counts")
    return {name: getattr(rows, name) for name in names}


def scaling_of(rows: TrainingRows) -> NetScaling:
    """Means and deviations of rows that are learnt from."""
    of_rows, hops, _ = rows_of_classes(arrays_of(rows))
    flat = hops.reshape(-1, hops.shape[2])
    flat = flat[~np.isnan(flat[:, 0])]
    has_flows = rows.counts.ravel() > 0
    return NetScaling(
        row_mean=of_rows[has_flows].mean(axis=0),
        row_deviation=of_rows[has_flows].std(axis=0) + 1e-3,
        hop_mean=flat.mean(axis=0),
        hop_deviation=flat.std(axis=0) + 1e-3,
    )


def fit_net(
    rows: TrainingRows,
    scaling: NetScaling,
    *,
    seed: int,
    n_epochs: int,
    width: int = 256,
    hop_width: int = 64,
    rate: float = 2e-3,
    say: Callable[[str], None] = lambda _: None,
) -> NetWeights:
    """One net.

    Args:
        rows: what it learns from.
        scaling: of its inputs.
        seed: of its first weights and of the order of rows.
        n_epochs: passes over all rows.
        width: of its layers of rows.
        hop_width: of its layers of links.
        rate: learning rate at the beginning.
        say: is told how it goes.

    Returns:
        Its weights, for numpy.

    Raises:
        PrerequisiteError: torch is not installed.
    """
    torch: Any = require("torch", "learn")
    torch.manual_seed(seed)
    inputs = _inputs(torch, rows, scaling)
    net = _net(torch, width, hop_width)
    optimiser = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=1e-4)
    n = len(inputs["rows"])
    batch = min(max(n // _STEPS, _FEWEST_BATCH), _MOST_BATCH)
    n_steps = n_epochs * math.ceil(n / batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=rate, total_steps=n_steps + 1, pct_start=0.1
    )
    generator = torch.Generator().manual_seed(seed)
    levels = torch.tensor(LEVELS, dtype=torch.float32)
    for epoch in range(n_epochs):
        begin_s, total, mass = time.monotonic(), 0.0, 0.0
        order = torch.randperm(n, generator=generator)
        for first in range(0, n, batch):
            which = order[first : first + batch]
            one = {name: values[which] for name, values in inputs.items()}
            sees = (torch.rand(len(which), 1, generator=generator) < 0.5).float()  # noqa: PLR2004
            of_rows = one["rows"].clone()
            blank = inputs["blank"][0]
            of_rows[:, PREFIX_COLUMNS] = torch.where(
                sees > 0, of_rows[:, PREFIX_COLUMNS], blank
            )
            told = net(of_rows, one["hops"], one["there"], one["bases"])
            losses = _pinball(told, one["values"], one["shares"], levels)
            loss = (losses * one["weight"]).sum() / one["weight"].sum()
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            total += float((losses.detach() * one["weight"]).sum())
            mass += float(one["weight"].sum())
        took_s = time.monotonic() - begin_s
        say(f"epoch {epoch + 1}: loss {total / mass:.5f}, {took_s:.1f} s")
    return _weights(net)


def fit_m3(
    rows: TrainingRows,
    size: M3Size,
    *,
    seed: int,
    n_epochs: int,
    rate: float = 3e-4,
    say: Callable[[str], None] = lambda _: None,
) -> M3Corrector:
    """m3's net on the same rows.

    Args:
        rows: what it learns from.
        size: of the net.
        seed: of its first weights and of the order of rows.
        n_epochs: passes over all rows.
        rate: learning rate at the beginning.
        say: is told how it goes.

    Returns:
        The net as a corrector.

    Raises:
        PrerequisiteError: torch is not installed.
    """
    torch: Any = require("torch", "learn")
    net = m3_net(size, seed)
    tokens, own, is_there = m3_inputs(arrays_of(rows))
    flat = tokens[is_there]
    for name, values in (("token", flat), ("own", own)):
        getattr(net, f"{name}_mean").copy_(torch.from_numpy(values.mean(axis=0)))
        deviation = torch.from_numpy(values.std(axis=0) + 1e-3)
        getattr(net, f"{name}_deviation").copy_(deviation)
    flows = rows.counts.astype(np.float32)
    weight = np.where(flows > 0, np.sqrt(flows / (flows + 30.0)) + 0.02, 0.0)
    given = [
        torch.from_numpy(np.ascontiguousarray(values))
        for values in (
            *(tokens, own, is_there.astype(np.float32)),
            *(rows.values, rows.shares, weight.astype(np.float32)),
        )
    ]
    levels = torch.tensor(LEVELS, dtype=torch.float32)
    n = len(rows)
    batch = min(max(n // _STEPS, _FEWEST_BATCH), 128)
    optimiser = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=0.02)
    total = n_epochs * math.ceil(n / batch) + 1
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=rate, total_steps=total, pct_start=0.1
    )
    generator = torch.Generator().manual_seed(seed)
    net.train()
    for epoch in range(n_epochs):
        order, losses = torch.randperm(n, generator=generator), 0.0
        for first in range(0, n, batch):
            which = order[first : first + batch]
            token, foreground, there, values, shares, mass = (
                one[which] for one in given
            )
            told = net(token, foreground, there).flatten(0, 1)
            each = _pinball(told, values.flatten(0, 1), shares.flatten(0, 1), levels)
            loss = (each * mass.flatten()).sum() / mass.sum()
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            losses += float(loss.detach()) * len(which)
        say(f"epoch {epoch + 1}: loss {losses / n:.5f}")
    return M3Corrector(net=net)


def _inputs(torch: Any, rows: TrainingRows, scaling: NetScaling) -> dict[str, Any]:
    """Rows with flows as tensors."""
    of_rows, hops, bases = rows_of_classes(arrays_of(rows))
    counts = rows.counts.ravel()
    has_flows = counts > 0
    scaled, links, is_there = scaling.scaled(of_rows[has_flows], hops[has_flows])
    blank = np.clip(
        -scaling.row_mean[PREFIX_COLUMNS] / scaling.row_deviation[PREFIX_COLUMNS], -6, 6
    )
    n = int(has_flows.sum())
    flows = counts[has_flows].astype(np.float32)
    weight = np.sqrt(flows / (flows + 30.0)) + 0.02
    t = rows.values.shape[2]
    found = {
        "rows": scaled,
        "hops": links,
        "there": is_there.astype(np.float32),
        "bases": bases[has_flows],
        "values": rows.values.reshape(-1, t)[has_flows],
        "shares": rows.shares.reshape(-1, t)[has_flows],
        "weight": weight.astype(np.float32),
        "blank": np.tile(blank.astype(np.float32), (n, 1)),
    }
    return {
        name: torch.from_numpy(np.ascontiguousarray(v)) for name, v in found.items()
    }


def _pinball(told: Any, values: Any, shares: Any, levels: Any) -> Any:
    """``(r,)`` mean over levels and targets."""
    away = values[:, None, :] - told[:, :, None]
    each = away * (levels[None, :, None] - (away < 0).float())
    return (each * shares[:, None, :]).sum(dim=2).mean(dim=1)


def _net(torch: Any, width: int, hop_width: int) -> Any:
    """The net as torch has it; the same as :class:`NetWeights`."""
    nn = torch.nn

    class CompactNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hop0 = nn.Linear(N_HOP, hop_width)
            self.hop1 = nn.Linear(hop_width, hop_width)
            self.row0 = nn.Linear(N_ROW + 3 * hop_width, width)
            self.row1 = nn.Linear(width, width)
            self.row2 = nn.Linear(width, width // 2)
            self.last = nn.Linear(width // 2, 2 + len(LEVELS))
            with torch.no_grad():
                self.last.weight.mul_(0.1)
                self.last.bias[:2] = torch.tensor([-0.7, -0.7])
                self.last.bias[2:] = -4.0

        def forward(self, rows: Any, hops: Any, there: Any, bases: Any) -> Any:
            silu = nn.functional.silu
            coded = silu(self.hop1(silu(self.hop0(hops))))
            mask = there[:, :, None]
            total = (coded * mask).sum(dim=1)
            mean = total / there.sum(dim=1, keepdim=True).clamp(min=1)
            most = coded.masked_fill(mask == 0, -1e9).amax(dim=1)
            values = torch.cat([rows, mean, total / 4, most], dim=1)
            for layer in (self.row0, self.row1, self.row2):
                values = silu(layer(values))
            out = self.last(values)
            gates = nn.functional.softplus(out[:, :2])
            steps = nn.functional.softplus(out[:, 2:])
            return torch.einsum("rk,rkq->rq", gates, bases) + steps.cumsum(dim=1)

    return CompactNet()


def _weights(net: Any) -> NetWeights:
    layers: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name, layer in net.named_children():
        weight = layer.weight.detach().numpy().T.copy()
        layers[name] = weight, layer.bias.detach().numpy().copy()
    return NetWeights(layers=layers)
