"""Cascade over subsets: ask, look, and ask on while it pays, at any exchange rate.

For every subset that may have been asked, a forest groups the training items by what
was answered. Backward induction (:mod:`.induction`) fills its leaves with what
going on would bring beyond stopping, at one exchange rate between quality and USD.
Learning takes seconds, another exchange rate less than one.

Its *targets*, what it learns to predict, are the worth of a subset's fused answer to an
item.

Where quality is a mean over items (labels, tags) that is the quality of the item. The
pooled AP50 of boxes is no mean: a box of an image displaces those of other images. Its
linear part is one, though. With T(s) and F(s) the true and false boxes of a class that
score s or more, and N the boxes to be found, the area under the precision is

    AP = 1/N sum over true boxes j of T(s_j) / (T(s_j) + F(s_j))

so that one more box of score s adds, over N,

    true:   T/(T+F) at s + sum over true j with s_j < s of F_j / (T_j + F_j)^2
    false:               - sum over true j with s_j < s of T_j / (T_j + F_j)^2

which is the influence function (Hampel 1974) of AP. Summed over the boxes of an image
and over classes it says what the answer to that image is worth for all.

1. The precision is taken as it is, not its best value at that recall or beyond.
2. T and F are those of a reference: all subsets of the library together, so that the
   scores of small and large subsets are valued by one scale.
3. Classes count by N / (N + mean N): in a plain mean over classes one box of a class
   that has few outweighs many others, and what is learned of it is mostly noise.

By *cross-fitting*, training items look as they will when they are new: fused by who has
not seen them.

A fuser that was fitted to an item is too sure of its answer to that item. A cascade
that learned from such answers would stop too early. Its items are therefore fused by
fusers fitted to the other folds (Stone 1974, Cross-Validatory Choice; as in stacking,
Wolpert 1992), both for what a row says and for whether the fused answer was right.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from midhaul.errors import DataError
from midhaul.federation.fusion import fit_fuser
from midhaul.federation.policies.base import finite_multiplier
from midhaul.federation.policies.cascade.forests import ForestSettings, Grown, grow
from midhaul.federation.policies.cascade.policy import (
    CascadePolicy,
    Described,
    Lattice,
    all_subsets,
    continuations,
    describe_fused,
    describe_items,
    induce,
    useful_subsets,
)
from midhaul.federation.quality import item_quality, matches_of
from midhaul.federation.recordings.problem import members
from midhaul.model.display import Shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Float32, Float64, Int64

    from midhaul.federation.fusion.base import Fuser
    from midhaul.federation.policies.base import Examples
    from midhaul.federation.recordings.problem import Answers, Recording
    from midhaul.vision.judge.matching import Matches

_TINY = 1e-12

Target = Literal["influence", "item"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InfluenceCurve:
    """What one more box of a class is worth, by its score.

    Attributes:
        scores: ``(k,)`` rising.
        if_true: ``(k,)`` worth of a true box up to that score.
        if_false: ``(k,)`` worth of a false one.
    """

    scores: Float64[np.ndarray, " k"]
    if_true: Float64[np.ndarray, " k"]
    if_false: Float64[np.ndarray, " k"]


def influence_on_ap50(
    recording: Recording, fused: Sequence[Answers]
) -> Float64[np.ndarray, "n s"]:
    """What every subset's answer to every image is worth for the pooled AP50.

    The mean over images estimates the AP50 (its classes weighted, see 3) of answers
    with the scores of the reference.
    """
    n = len(recording)
    matched = [matches_of(recording, one) for one in fused]
    worth = np.zeros((n, len(fused)))
    support = matched[0].support.sum(axis=0) if matched else np.zeros(0)
    known = np.flatnonzero(support)
    shares = _shares(support)
    for label in known.tolist():
        parts = [_boxes_of(one, label) for one in matched]
        curve = _curve(
            np.concatenate([scores for scores, _, _ in parts]),
            np.concatenate([is_true for _, is_true, _ in parts]),
            1 / len(parts),
        )
        if curve is None:
            continue
        for k, (scores, is_true, images) in enumerate(parts):
            places = np.searchsorted(curve.scores, scores)
            values = np.where(is_true, curve.if_true[places], curve.if_false[places])
            gained = np.bincount(images, values, minlength=n)
            worth[:, k] += gained * (n * shares[label] / support[label])
    return worth


def _shares(support: Float64[np.ndarray, " c"]) -> Float64[np.ndarray, " c"]:
    """How much each class counts, by its boxes to be found; 1 in all."""
    n_known = max(1, np.count_nonzero(support))
    typical = max(1.0, float(support.sum()) / n_known)
    shares = support / (support + typical)
    return shares / max(float(shares.sum()), _TINY)


def _boxes_of(
    matches: Matches, label: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Score, truth and image of the boxes of a class that count."""
    where = matches.of_label(label)
    counts = ~matches.is_ignored[0, where]
    return (
        matches.scores[where][counts],
        matches.is_true[0, where][counts],
        matches.images[where][counts],
    )


def _curve(
    scores: Float64[np.ndarray, " m"], is_true: np.ndarray, weight: float
) -> InfluenceCurve | None:
    """The influence of one box, from boxes of which each counts ``weight`` times."""
    if not len(scores):
        return None
    levels, place = np.unique(scores, return_inverse=True)
    true_at = np.bincount(place, is_true, len(levels)) * weight
    false_at = np.bincount(place, ~is_true, len(levels)) * weight
    n_true = np.cumsum(true_at[::-1])[::-1]
    n_false = np.cumsum(false_at[::-1])[::-1]
    n_all = n_true + n_false
    lifted = _below(true_at * n_false / n_all**2)
    lowered = _below(true_at * n_true / n_all**2)
    return InfluenceCurve(
        scores=levels, if_true=n_true / n_all + lifted, if_false=-lowered
    )


def _below(values: Float64[np.ndarray, " k"]) -> Float64[np.ndarray, " k"]:
    """The sum of all values before each place."""
    return np.concatenate([[0.0], np.cumsum(values)[:-1]])


_LEARNED = "stacked"
_FEWEST_ITEMS = 40
"""Below this, folds are too small to fit a fuser to the others."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Looks:
    """Training items in every situation that they can come to.

    Attributes:
        described: every answer by itself.
        fused: fused answers of each subset of a library, described: ``(n, f)``.
        answers: the same answers.
    """

    described: Described
    fused: tuple[Float32[np.ndarray, "n f"], ...]
    answers: tuple[Answers, ...]


def look_at(
    examples: Examples,
    masks: Int64[np.ndarray, " s"],
    n_folds: int,
    rng: np.random.Generator,
) -> Looks:
    """Fuse every subset's answers to every item, by a fuser that is new to the item.

    Below 2 folds the fuser is taken as it is.
    """
    n = len(examples)
    is_new = examples.fuser.name != _LEARNED or n_folds < 2 or n < _FEWEST_ITEMS  # noqa: PLR2004
    folds = [np.arange(n)]
    if not is_new:
        folds = [np.sort(x) for x in np.array_split(rng.permutation(n), n_folds)]
    parts: list[Looks] = []
    for items in folds:
        fuser = examples.fuser if is_new else _fitted_without(examples, items, rng)
        recording = examples.recording.take(items)
        parts.append(_look(recording, examples.features[items], fuser, masks))
    return parts[0] if len(parts) == 1 else _joined(parts, folds)


def _fitted_without(
    examples: Examples, items: Int64[np.ndarray, " k"], rng: np.random.Generator
) -> Fuser:
    others = np.setdiff1d(np.arange(len(examples)), items)
    fuser: Any = examples.fuser
    iou = {"iou": fuser.iou} if hasattr(fuser, "iou") else {}
    return fit_fuser(fuser.name, examples.recording.take(others), rng=rng, **iou)


def _look(
    recording: Recording,
    features: Float32[np.ndarray, "n d"],
    fuser: Fuser,
    masks: Int64[np.ndarray, " s"],
) -> Looks:
    n = len(recording)
    answers = tuple(
        fuser.fuse(recording, np.full(n, mask, np.int64)) for mask in masks.tolist()
    )
    return Looks(
        described=describe_items(recording, features, fuser),
        fused=tuple(describe_fused(one, recording) for one in answers),
        answers=answers,
    )


def _joined(parts: Sequence[Looks], folds: Sequence[Int64[np.ndarray, " k"]]) -> Looks:
    """The looks of all folds, in the order of the items."""
    back = np.argsort(np.concatenate(folds))
    described = [part.described for part in parts]
    return Looks(
        described=Described(
            features=np.concatenate([one.features for one in described])[back],
            blocks=np.concatenate([one.blocks for one in described], axis=1)[:, back],
            bests=np.concatenate([one.bests for one in described], axis=1)[:, back],
        ),
        fused=tuple(
            np.concatenate(rows)[back]
            for rows in zip(*(part.fused for part in parts), strict=True)
        ),
        answers=tuple(
            _concatenated(several).take(back)
            for several in zip(*(part.answers for part in parts), strict=True)
        ),
    )


def _concatenated(several: Sequence[Answers]) -> Answers:
    """Answers to the items of several recordings, one after another."""
    ends = np.cumsum([0] + [int(one.starts[-1]) for one in several])
    starts = [one.starts[:-1] + end for one, end in zip(several, ends, strict=False)]
    names = ("labels", "scores", "boxes", "is_missing", "is_ignored")
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(one, name) for one in several]) for name in names
    }
    return replace(several[0], starts=np.concatenate([*starts, ends[-1:]]), **joined)


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
        """Check the values."""
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class CascadeFamily(Shown):
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

    name = "cascade"
    providers: tuple[str, ...]
    lattice: Lattice
    grown: tuple[Grown, ...]
    worth: Float64[np.ndarray, "n s"]
    is_whole: Bool[np.ndarray, "n s"]
    fuser: Fuser
    n_features: int
    wait: float

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


def _main_directions(targets: Float64[np.ndarray, "n k"]) -> Float64[np.ndarray, "n j"]:
    """Targets turned to their main directions, of which the first are kept.

    Splits reduce the total variance of the targets, which turning leaves as it is; so
    the few directions that hold nearly all of it choose nearly the same splits.
    """
    if targets.shape[1] <= _MOST_COMPONENTS or len(targets) < 2:  # noqa: PLR2004
        return np.ascontiguousarray(targets)
    centred = targets - targets.mean(axis=0)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    return np.ascontiguousarray(centred @ vectors[:, -_MOST_COMPONENTS:])
