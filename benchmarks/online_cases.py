"""Sets of recorded answers, split for streams: what is learned from, and what comes.

Shared by ``federation_online.py`` and ``online_streams.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.federation.fusion import fit_fuser
from midhaul.federation.policies.base import Examples
from midhaul.federation.recordings.parquet import read_parquet
from midhaul.federation.recordings.problem import split_items

if TYPE_CHECKING:
    from pathlib import Path

    from midhaul.federation.fusion.base import Fuser
    from midhaul.federation.recordings.problem import Recording

RIGHT_PER_PRICE = 0.1
"""Quality that the price of everybody has to buy: the exchange rate of all streams."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One data set, split.

    Attributes:
        name: of the set.
        train: what is learned from.
        calibration: what nothing is fitted on, the baseline of alarms.
        later: the stream.
        multiplier: quality that one USD has to buy.
    """

    name: str
    train: Examples
    calibration: Examples
    later: Recording
    multiplier: float

    @property
    def fuser(self) -> Fuser:
        """What fuses answers."""
        return self.train.fuser


def case(folder: Path, name: str, seed: int) -> Case | None:
    """Read and split one set; None where it is not there."""
    is_tags = (folder / f"{name}_tags.parquet").is_file()
    file = folder / (f"{name}_tags.parquet" if is_tags else f"{name}.parquet")
    if not file.is_file():
        return None
    truth = folder / f"{name}_truth.parquet" if is_tags else None
    task = "tags" if is_tags else "labels"
    recording = read_parquet(file, task=task, truth_file=truth)
    train, calibration, test = split_items(recording.items, seed)
    rng = np.random.default_rng([seed, 1])
    fuser = fit_fuser("vote", recording.take(train), rng=rng)

    def examples(items: np.ndarray) -> Examples:
        return Examples(
            recording=recording.take(items),
            features=np.zeros((len(items), 0), np.float32),
            fuser=fuser,
        )

    order = np.random.default_rng([seed, 2]).permutation(test)
    return Case(
        name=name,
        train=examples(train),
        calibration=examples(calibration),
        later=recording.take(order),
        multiplier=RIGHT_PER_PRICE / float(recording.prices_usd.sum()),
    )
