"""A cascade over subsets: ask, look, and ask on while it pays, at any exchange rate.

For every subset that may have been asked, a forest groups the training items by what
was answered. Backward induction (:mod:`.cascade_induction`) fills its leaves with what
going on would bring beyond stopping, at one exchange rate between quality and USD.
Learning takes seconds, another exchange rate less than one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import DataError
from midhaul.federation.policies.cascade_induction import Lattice, induce
from midhaul.federation.policies.cascade_library import (
    all_subsets,
    continuations,
    useful_subsets,
)
from midhaul.federation.policies.cascade_policy import CascadePolicy
from midhaul.federation.policies.cascade_targets import influence_on_ap50
from midhaul.federation.policies.cascade_training import look_at
from midhaul.federation.policies.forests import ForestSettings, Grown, grow
from midhaul.federation.policies.worth import finite_multiplier
from midhaul.federation.problem import members
from midhaul.federation.quality import item_quality

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Float64, Int64

    from midhaul.federation.fusion.base import Fuser
    from midhaul.federation.policies.base import Examples
    from midhaul.federation.policies.cascade_targets import Target
    from midhaul.federation.problem import Answers, Recording

__all__ = ["CascadeFamily", "CascadePolicy", "CascadeSettings", "fit_cascade"]

_MOST_COMPONENTS = 6
"""Directions of the targets that splits are chosen by."""

_MOST_TREES = 3840
"""Trees of all forests together, wherever that leaves as many as are needed."""

_FEWEST_TREES = 30
"""Trees of a forest that are needed, if as many are wanted."""

_MOST_ITEMS = 400
"""Items that subsets are chosen by, where not all subsets are taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CascadeSettings:
    """How a cascade is learned.

    Attributes:
        target: what it predicts of boxes: their influence on the pooled AP50, or the
            AP50 of the image alone. Labels and tags have their own quality.
        round_quality: quality that one more round of calls has to bring. 0 asks one
            provider after another; more asks several at once where waiting is dear.
        n_states: subsets that may have been asked, at most; all of them if they are
            as few.
        n_folds: folds that a learned fuser is fitted anew for, so that none has seen
            the items that it fuses for the cascade to learn from; 1 for none.
        n_trees: trees of each forest, at most: with many subsets there are fewer.
        leaf_scale: fewest items of a leaf, over the square root of a tree's items.
        item_share: share of the items that each tree sees.
        column_share: share of the columns that each split may look at.
    """

    target: Target = "influence"
    round_quality: float = 0.0
    n_states: int = 128
    n_folds: int = 4
    n_trees: int = 100
    leaf_scale: float = 1.0
    item_share: float = 0.6
    column_share: float = 0.5
    splitter: str = "random"

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: one is out of its range.
        """
        if self.target not in ("influence", "item"):
            message = f'target must be "influence" or "item", found {self.target!r}'
            raise ValueError(message)
        shares = (self.item_share, self.column_share)
        if not all(0 < share <= 1 for share in shares) or self.round_quality < 0:
            message = f"shares {shares}, round_quality {self.round_quality}"
            raise ValueError(message)
        if min(self.n_states, self.n_trees, self.n_folds) < 1 or self.leaf_scale <= 0:
            message = f"{self.n_states} states, {self.n_trees} trees"
            raise ValueError(message)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CascadeFamily:
    """A learned cascade, to be had at any exchange rate.

    Attributes:
        providers: names, in the order of the bits.
        lattice: the subsets and the ways between them.
        grown: forest of each subset.
        worth: ``(n, s)`` of stopping at each subset, of the training items.
        is_whole: ``(n, s)`` whether everybody in the subset answered.
        fuser: what fuses the answers.
        n_features: columns of the items' features.
        wait: quality that one more round has to bring.
    """

    providers: tuple[str, ...]
    lattice: Lattice
    grown: tuple[Grown, ...]
    worth: Float64[np.ndarray, "n s"]
    is_whole: Bool[np.ndarray, "n s"]
    fuser: Fuser
    n_features: int
    wait: float

    @property
    def name(self) -> str:
        """Short name."""
        return "cascade"

    def at(self, multiplier: float) -> CascadePolicy:
        """The cascade for one exchange rate.

        Args:
            multiplier: quality that one USD has to buy.

        Raises:
            ValueError: it is negative or NaN.
        """
        rate = finite_multiplier(multiplier, self.lattice.prices_usd)
        tables = induce(
            self.lattice, self.grown, self.worth, self.is_whole, rate, self.wait
        )
        return CascadePolicy(
            providers=self.providers,
            lattice=self.lattice,
            forests=tuple(one.forest for one in self.grown),
            tables=tables,
            fuser=self.fuser,
            n_features=self.n_features,
        )


def fit_cascade(
    examples: Examples, settings: CascadeSettings, rng: np.random.Generator
) -> CascadeFamily:
    """Learn what going on brings, in every situation that can come.

    Args:
        examples: items with a truth, and the fuser that will fuse their answers.
        settings: how.
        rng: chance of the forests.

    Raises:
        DataError: there are no items, or no truth.
    """
    recording = examples.recording
    if not len(recording) or recording.truth is None:
        message = f"a cascade learns from items with a truth, found {len(recording)}"
        raise DataError(message, "name the file of the truth")
    lattice = _lattice(examples, settings)
    looks = look_at(examples, lattice.masks, settings.n_folds, rng)
    worth = _worth(recording, looks.answers, settings.target)
    is_whole = _wholes(recording, lattice.masks)
    shape = ForestSettings(
        n_trees=_n_trees(settings.n_trees, len(lattice.masks)),
        leaf_scale=settings.leaf_scale,
        item_share=settings.item_share,
        column_share=settings.column_share,
        splitter=settings.splitter,
    )
    grown: list[Grown] = []
    for number, mask in enumerate(lattice.masks.tolist()):
        items = np.flatnonzero(is_whole[:, number])
        rows = looks.described.rows(mask, looks.fused[number], items)
        ways = lattice.onward[number]
        if not len(ways):
            rows = rows[:, :0]
        targets = worth[items][:, _wider(lattice.masks, number)]
        grown.append(grow(rows, _main_directions(targets), shape, rng))
    return CascadeFamily(
        providers=recording.providers,
        lattice=lattice,
        grown=tuple(grown),
        worth=worth,
        is_whole=is_whole,
        fuser=examples.fuser,
        n_features=examples.features.shape[1],
        wait=settings.round_quality,
    )


def _n_trees(wanted: int, n_states: int) -> int:
    """Trees of each forest: as many as wanted while there are few subsets."""
    return min(wanted, max(_FEWEST_TREES, _MOST_TREES // n_states))


def _lattice(examples: Examples, settings: CascadeSettings) -> Lattice:
    recording = examples.recording
    if 1 << recording.n_providers <= settings.n_states:
        masks = all_subsets(recording.n_providers)
    else:
        some = replace(examples, recording=recording.take(_spread(len(recording))))
        masks = useful_subsets(
            lambda mask: item_quality(some.recording, _fuse(some, mask)),
            recording.prices_usd,
            settings.n_states,
        )
    one_by_one = settings.round_quality == 0
    return Lattice(
        masks=masks,
        onward=tuple(
            continuations(masks, number, is_one_by_one=one_by_one)
            for number in range(len(masks))
        ),
        prices_usd=recording.prices_usd,
    )


def _spread(n: int) -> Int64[np.ndarray, " k"]:
    """Some items, evenly spread, to choose subsets by."""
    return np.unique(np.linspace(0, n - 1, min(n, _MOST_ITEMS)).astype(np.int64))


def _fuse(examples: Examples, mask: int) -> Answers:
    asked = np.full(len(examples.recording), mask, np.int64)
    return examples.fuser.fuse(examples.recording, asked)


def _worth(
    recording: Recording, fused: Sequence[Answers], target: Target
) -> Float64[np.ndarray, "n s"]:
    """What stopping at each subset is worth; nothing where nobody was asked."""
    if recording.task == "boxes" and target == "influence":
        worth = influence_on_ap50(recording, fused[1:])
    else:
        worth = np.stack([item_quality(recording, one) for one in fused[1:]], axis=1)
    return np.concatenate([np.zeros((len(recording), 1)), worth], axis=1)


def _wholes(
    recording: Recording, masks: Int64[np.ndarray, " s"]
) -> Bool[np.ndarray, "n s"]:
    """Whether everybody in a subset answered."""
    is_whole = np.ones((len(recording), len(masks)), bool)
    for number, mask in enumerate(masks.tolist()):
        for p in members(mask):
            is_whole[:, number] &= ~recording.answers[p].is_missing
    return is_whole


def _wider(masks: Int64[np.ndarray, " s"], number: int) -> Int64[np.ndarray, " a"]:
    """Numbers of a subset and of all that contain it."""
    return np.flatnonzero((masks & masks[number]) == masks[number])


def _main_directions(
    targets: Float64[np.ndarray, "n k"],
) -> Float64[np.ndarray, "n j"]:
    """Targets turned to their main directions, of which the first are kept.

    Splits reduce the total variance of the targets, which turning leaves as it is; so
    the few directions that hold nearly all of it choose nearly the same splits.
    """
    if targets.shape[1] <= _MOST_COMPONENTS or len(targets) < 2:  # noqa: PLR2004
        return np.ascontiguousarray(targets)
    centred = targets - targets.mean(axis=0)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    return np.ascontiguousarray(centred @ vectors[:, -_MOST_COMPONENTS:])
