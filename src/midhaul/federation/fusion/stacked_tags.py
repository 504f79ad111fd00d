"""Fusion of tags that learns what it means when these providers name this tag.

Stacking (Wolpert, "Stacked generalization", Neural Networks 5, 1992) by a logistic
model of P(tag is true of the item), given who was asked, who named it with what score,
and who was silent. The answer is the set of tags with the greatest expected Jaccard
index (as in Chierichetti et al., "Finding the Jaccard median", SODA 2010, for sets
whose members are independent).

1. One model serves all subsets of providers: it is fitted to random ones, and what a
   provider says may count less when more are heard.
2. All tags share coefficients; each has offsets and a slope of its own for every
   provider, shrunk to 0 (a ridge of 4 items).
3. Tags are taken for independent, given the answers.
4. A tag that nobody named can be given, where that is likely to be right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from midhaul.errors import DataError
from midhaul.federation.fusion.best_prefix import best_prefixes
from midhaul.federation.fusion.hearing import draw_masks, places_of
from midhaul.federation.fusion.tag_terms import TagAnswers, n_terms, own_terms, terms
from midhaul.federation.problem import Answers

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64, Int64

    from midhaul.federation.problem import Recording
    from midhaul.federation.saving import State

_N_DRAWS = 6
"""Subsets for each item to learn from, everybody among them."""
_MAX_NUMBERS = 20_000_000
"""Of the design of the shared model; there are fewer subsets where it would be more."""
_FEWEST_ITEMS = 10
_RIDGE = 1.0
_RIDGE_OWN = 4.0
_ARRAYS = ("tag_odds", "shared", "own")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StackedTags:
    """A learned fusion of tags.

    Attributes:
        providers: names, in the order of the model.
        names: the label set.
        tag_odds: ``(c,)`` log odds that a tag is true of an item.
        shared: ``(f + 1,)`` coefficients of all tags, the intercept first.
        own: ``(c, 1 + 3 M)`` offsets of each tag: always, and for each provider when
            it is silent, when it names the tag, and times its log odds.
    """

    providers: tuple[str, ...]
    names: tuple[str, ...]
    tag_odds: Float64[np.ndarray, " c"]
    shared: Float64[np.ndarray, " f_plus_1"]
    own: Float64[np.ndarray, "c o"]

    kind: ClassVar[str] = "stacked-tags"

    @property
    def name(self) -> str:
        """Short name, as tables show it."""
        return "stacked"

    def fuse(self, recording: Recording, asked: Int64[np.ndarray, " n"]) -> Answers:
        """Fuse, for each item, the tags of the providers that were asked.

        Args:
            recording: of the providers that this was fitted to, or some of them.
            asked: ``(n,)`` mask of the providers to fuse for each item.

        Returns:
            At most 16 tags an item, likeliest first, with their probabilities.

        Raises:
            DataError: it was not fitted to a provider, or to these tags.
        """
        chances = self.chances(recording, asked)
        is_missing = np.isnan(chances[:, 0])
        heard = np.flatnonzero(~is_missing)
        order = np.argsort(-chances[heard], axis=1, kind="stable")
        falling = np.take_along_axis(chances[heard], order, axis=1)
        is_given = np.arange(order.shape[1]) < best_prefixes(falling)[:, None]
        rows, places = np.nonzero(is_given)
        return Answers.of_rows(
            heard[rows],
            len(recording),
            order[rows, places].astype(np.int32),
            falling[rows, places].astype(np.float32),
            is_missing=is_missing,
        )

    def chances(
        self, recording: Recording, asked: Int64[np.ndarray, " n"]
    ) -> Float64[np.ndarray, "n c"]:
        """The probability of each tag; NaN for items of which nothing was heard."""
        places = places_of(recording, self.providers, self.names)
        said = TagAnswers.of(recording, asked, places, len(self.providers))
        total = np.full((len(recording), len(self.names)), self.shared[0])
        for coefficient, term in zip(
            self.shared[1:], terms(said, self.tag_odds), strict=True
        ):
            total += coefficient * term
        for offsets, term in zip(self.own.T, own_terms(said), strict=True):
            total += offsets * term
        found = 0.5 * (1.0 + np.tanh(0.5 * total))
        found[~np.logical_or.reduce(said.is_heard[:, :, 0])] = np.nan
        return found

    def state(self) -> State:
        """Everything, for :meth:`from_state`."""
        arrays: State = {name: getattr(self, name) for name in _ARRAYS}
        return {
            "fuser": self.kind,
            "providers": self.providers,
            "names": self.names,
            **arrays,
        }

    @classmethod
    def from_state(cls, state: State) -> StackedTags:
        """What :meth:`state` gave."""
        return cls(
            providers=tuple(state["providers"]),
            names=tuple(state["names"]),
            **{name: np.asarray(state[name], np.float64) for name in _ARRAYS},
        )


def fit_stacked_tags(recording: Recording, rng: np.random.Generator) -> StackedTags:
    """Fit to everybody's answers to the same items.

    Args:
        recording: of tags, with a truth and all answers; items without a truth are left
            out.
        rng: draws the subsets that are learned from.

    Raises:
        DataError: there are fewer than 10 items with a truth.
    """
    truth = recording.truth
    known = np.zeros(0, np.int64)
    if truth is not None:
        known = np.flatnonzero(~truth.is_missing)
    if truth is None or len(known) < _FEWEST_ITEMS:
        message = f"fusion has to learn from {len(known)} items that have a truth"
        raise DataError(message, f"give {_FEWEST_ITEMS} items or more")
    m, c = recording.n_providers, len(recording.names)
    is_true = np.zeros((len(recording), c), bool)
    is_true[truth.items, truth.labels] = True
    shares = (is_true[known].sum(axis=0) + 0.5) / (len(known) + 1.0)
    tag_odds = np.log(shares) - np.log1p(-shares)
    n_rows = min(_N_DRAWS * len(known), _MAX_NUMBERS // (c * (n_terms(m) + 1)))
    n_rows = max(n_rows, 1)
    n_draws = -(-n_rows // len(known))
    rows = np.concatenate([rng.permutation(known) for _ in range(n_draws)])[:n_rows]
    masks = draw_masks(n_rows, m, rng)
    masks[: len(known)] = recording.everyone
    said = _said(recording, rows, masks)
    shared, own = _fit(said, is_true[rows], tag_odds, n_rows / len(known))
    return StackedTags(
        providers=recording.providers,
        names=recording.names,
        tag_odds=tag_odds,
        shared=shared,
        own=own,
    )


def _fit(
    said: TagAnswers,
    is_true: Bool[np.ndarray, "r c"],
    tag_odds: Float64[np.ndarray, " c"],
    n_draws: float,
) -> tuple[Float64[np.ndarray, " f_plus_1"], Float64[np.ndarray, "c o"]]:
    """Coefficients of all tags, then of each tag what these leave."""
    shape = len(is_true), len(tag_odds)
    m = len(said.is_heard)
    design = np.empty((*shape, n_terms(m) + 1))
    design[:, :, 0] = 1.0
    for k, term in enumerate(terms(said, tag_odds)):
        design[:, :, k + 1] = term
    flat = design.reshape(shape[0] * shape[1], n_terms(m) + 1)
    shared = _newton(flat, is_true.ravel(), np.zeros(len(flat)), _RIDGE * n_draws)
    base = (flat @ shared).reshape(shape)
    columns = [np.broadcast_to(term, shape) for term in own_terms(said)]
    own = np.zeros((shape[1], len(columns)))
    for tag in range(shape[1]):
        mine = np.column_stack([column[:, tag] for column in columns]).astype(float)
        own[tag] = _newton(mine, is_true[:, tag], base[:, tag], _RIDGE_OWN * n_draws)
    return shared, own


def _said(
    recording: Recording, rows: Int64[np.ndarray, " r"], masks: Int64[np.ndarray, " r"]
) -> TagAnswers:
    """Answers to items of which some come several times."""
    everybody = np.full(len(recording), recording.everyone, np.int64)
    m = recording.n_providers
    whole = TagAnswers.of(recording, everybody, list(range(m)), m)
    is_asked = ((masks >> np.arange(m)[:, None]) & 1 == 1)[:, :, None]
    return TagAnswers(
        is_heard=whole.is_heard[:, rows] & is_asked,
        is_named=whole.is_named[:, rows] & is_asked,
        is_best=whole.is_best[:, rows] & is_asked,
        odds=whole.odds[:, rows] * is_asked,
    )


def _newton(
    design: Float64[np.ndarray, "r f"],
    is_true: Bool[np.ndarray, " r"],
    offsets: Float64[np.ndarray, " r"],
    ridge: float,
) -> Float64[np.ndarray, " f"]:
    """Ridge logistic regression with given offsets, from 0."""
    f = design.shape[1]
    at, step, last = np.zeros(f), np.zeros(f), np.inf
    for _ in range(30):
        utility = offsets + design @ at
        loss = np.logaddexp(0.0, utility).sum() - utility[is_true].sum()
        loss += 0.5 * ridge * (at**2).sum()
        if loss > last:
            step *= 0.5
            at = at - step
            continue
        if last - loss < 1e-8 * len(design):
            break
        last = loss
        chances = 0.5 * (1.0 + np.tanh(0.5 * utility))
        slope = design.T @ (is_true - chances) - ridge * at
        bend = (design.T * (chances * (1.0 - chances))) @ design + ridge * np.eye(f)
        step = np.linalg.solve(bend, slope)
        at = at + step
    return at
