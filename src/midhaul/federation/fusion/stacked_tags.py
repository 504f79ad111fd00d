"""Stacked tag fusion: learns what it means when these providers name these tags.

Stacking (Wolpert, "Stacked generalization", Neural Networks 5, 1992) by a log-linear
model of the whole set of true tags, given who was asked, who named
what with which score, and who was silent. The answer is the set of tags with the
greatest expected Jaccard index (as in Chierichetti et al., "Finding the Jaccard
median", SODA 2010, where the members of sets are independent).

1. One model serves all subsets of providers: it is fitted to all or, of more than
   three providers, to random ones; what one says may count less when more are heard.
2. All tags share coefficients; each has offsets and a slope of its own for every
   provider, and for every other tag that a provider names (a ridge of 2 items).
3. How many tags are true has weights of its own; beyond these and what was answered,
   tags are taken for independent.
4. A tag that nobody named can be given, where that is likely to be right.

The *terms* are what is told of a tag and an item to that model. A set S of tags has the
probability

    P(S) = w(|S|) prod over i in S of o_i / Z

(the n-choose-k model of Swersky, Tarlow, Adams, Zemel and Frey, "Probabilistic
n-choose-k models for classification and ranking", NIPS 2012). With w = 1 tags are
independent with odds o; with any other w one tag makes others likelier or less likely,
as in pictures that mostly show one thing and never nothing. All sums over sets are
elementary symmetric polynomials of the odds, one tag after another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Float64, Int64
from numba import njit

from midhaul.errors import DataError
from midhaul.federation.fusion.base import draw_rows, has_answered, places_of
from midhaul.federation.recordings.problem import Answers
from midhaul.npz_state import SavedFields

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Bool

    from midhaul.federation.recordings.problem import Recording

_LEAST = 1e-3
_LEAST_ODDS = -7.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TagAnswers:
    """What the providers said of every tag of n items; rows are items.

    Attributes:
        is_heard: ``(M, n, 1)`` true where a provider was asked and answered.
        is_named: ``(M, n, c)`` true where it was heard and named the tag.
        is_best: ``(M, n, c)`` true where none of its tags is stronger.
        odds: ``(M, n, c)`` log odds of the scores; 0 where it did not name the tag.
    """

    is_heard: Bool[np.ndarray, "p n 1"]
    is_named: Bool[np.ndarray, "p n c"]
    is_best: Bool[np.ndarray, "p n c"]
    odds: Float64[np.ndarray, "p n c"]

    @classmethod
    def of(
        cls,
        recording: Recording,
        asked: Int64[np.ndarray, " n"],
        places: list[int],
        n_places: int,
    ) -> TagAnswers:
        """Answers of the providers asked, at their ``places`` in the result."""
        n, c = len(recording), len(recording.names)
        is_heard = np.zeros((n_places, n, 1), bool)
        scores = np.full((n_places, n * c), -1.0)
        heard = has_answered(recording, asked)
        for place, answers, has in zip(places, recording.answers, heard, strict=True):
            is_heard[place, :, 0] = has
            entries = np.flatnonzero(np.repeat(has, answers.counts))
            cells = answers.items[entries] * c + answers.labels[entries]
            np.maximum.at(scores[place], cells, answers.scores[entries])
        scores = scores.reshape(n_places, n, c)
        is_named = scores >= 0.0
        inside = np.clip(scores, _LEAST, 1 - _LEAST)
        return cls(
            is_heard=is_heard,
            is_named=is_named,
            is_best=is_named & (scores == scores.max(axis=2, keepdims=True)),
            odds=np.where(is_named, np.log(inside) - np.log1p(-inside), 0.0),
        )

    def take(
        self,
        rows: Int64[np.ndarray, " r"],
        masks: Int64[np.ndarray, " r"] | None = None,
    ) -> TagAnswers:
        """Answers to some items, any number of times; all answers without masks."""
        kept = np.ones((len(self.is_heard), len(rows), 1), bool)
        if masks is not None:
            kept = (masks >> np.arange(len(kept))[:, None] & 1 == 1)[:, :, None]
        return TagAnswers(
            is_heard=self.is_heard[:, rows] & kept,
            is_named=self.is_named[:, rows] & kept,
            is_best=self.is_best[:, rows] & kept,
            odds=self.odds[:, rows] * kept,
        )


def terms(
    said: TagAnswers, tag_odds: Float64[np.ndarray, " c"]
) -> Iterator[np.ndarray]:
    """One term of the shared model after another, each broadcast to ``(n, c)``.

    First the tag's own log odds, and 1 - 1/k where k providers were heard; then of each
    provider whether it is silent on the tag, names no tag at all, names it, and with
    what log odds, whether it names none stronger, by how much, and what its strongest
    has where it is silent; some of these again times 1 - 1/k; then for each pair
    whether both name it, and whether neither does.
    """
    growth = 1.0 - 1.0 / np.maximum(said.is_heard.sum(axis=0), 1)
    yield tag_odds
    yield growth
    silent = said.is_heard & ~said.is_named
    for p in range(len(silent)):
        yield silent[p]
        yield growth * silent[p]
        yield said.is_heard[p] & ~said.is_named[p].any(axis=1, keepdims=True)
        yield said.is_named[p]
        yield growth * said.is_named[p]
        yield said.odds[p]
        yield growth * said.odds[p]
        yield said.is_best[p]
        strongest = np.where(said.is_named[p], said.odds[p], _LEAST_ODDS).max(
            axis=1, keepdims=True
        )
        yield np.where(said.is_named[p], said.odds[p] - strongest, 0.0)
        yield silent[p] * strongest
    for p in range(len(silent)):
        for q in range(p):
            yield said.is_named[p] & said.is_named[q]
            yield silent[p] & silent[q]


def n_terms(m: int) -> int:
    """How many terms there are for m providers."""
    return 2 + 10 * m + m * (m - 1)


def own_terms(said: TagAnswers) -> Iterator[np.ndarray]:
    """One term after another of what each tag has of its own, ``(n, c)``."""
    yield np.ones((1, 1))
    silent = said.is_heard & ~said.is_named
    for p in range(len(silent)):
        yield silent[p]
        yield said.is_named[p]
        yield said.odds[p]


MAX_TAGS = 16
"""Of an item that are given, likeliest first."""


@njit(cache=True)
def set_chances(
    utilities: Float64[np.ndarray, "n c"], log_weights: Float64[np.ndarray, " k"]
) -> tuple[
    Float64[np.ndarray, " n"], Float64[np.ndarray, "n c"], Float64[np.ndarray, "n k"]
]:
    """Log Z of each item, chances of each tag, and chances of each size of the set.

    Larger sets than there are weights of the sizes 0, 1, ... are impossible.
    """
    n, c = utilities.shape
    n_sizes = len(log_weights)
    log_z, tags, sizes = np.empty(n), np.empty((n, c)), np.empty((n, n_sizes))
    sums = np.empty((c + 1, n_sizes))
    weights, back, odds = np.empty(n_sizes), np.empty(n_sizes), np.empty(c)
    for i in range(n):
        lift = _scale(utilities[i], log_weights, odds, weights)
        sums[0] = 0.0
        sums[0, 0] = 1.0
        for j in range(c):
            sums[j + 1, 0] = 1.0
            for k in range(1, n_sizes):
                sums[j + 1, k] = sums[j, k] + odds[j] * sums[j, k - 1]
        total = 0.0
        for k in range(n_sizes):
            sizes[i, k] = weights[k] * sums[c, k]
            total += sizes[i, k]
        log_z[i] = np.log(total) + lift
        sizes[i] /= total
        back[:] = weights / total
        for j in range(c - 1, -1, -1):
            found = 0.0
            for k in range(1, n_sizes):
                found += back[k] * sums[j, k - 1]
                back[k - 1] += back[k] * odds[j]
            tags[i, j] = min(1.0, odds[j] * found)
    return log_z, tags, sizes


@njit(cache=True)
def best_sizes(
    falling: Float64[np.ndarray, "n c"], log_weights: Float64[np.ndarray, " k"]
) -> Int64[np.ndarray, " n"]:
    """How many of an item's likeliest tags have the greatest expected Jaccard index.

    The first m tags have, with E and R the polynomials of these and of the others,

        sum over a, b of w(a + b) E_a R_b a / (m + b)

    and no other set of m tags has more: a likelier tag in place of one that is less
    likely can only add. No tag at all has the chance that none is true. Utilities are
    falling in each row; sizes are at most 16.
    """
    n, c = falling.shape
    n_sizes, top = len(log_weights), min(c, MAX_TAGS)
    found = np.zeros(n, np.int64)
    others = np.empty((top + 1, n_sizes))
    weights, first, odds = np.empty(n_sizes), np.empty(n_sizes), np.empty(c)
    for i in range(n):
        _scale(falling[i], log_weights, odds, weights)
        row = np.zeros(n_sizes)
        row[0] = 1.0
        for j in range(c - 1, -1, -1):
            if j < top:
                others[j + 1] = row
            for k in range(n_sizes - 1, 0, -1):
                row[k] += odds[j] * row[k - 1]
        best = weights[0]
        first[:] = 0.0
        first[0] = 1.0
        for m in range(1, top + 1):
            for k in range(n_sizes - 1, 0, -1):
                first[k] += odds[m - 1] * first[k - 1]
            value = 0.0
            for a in range(1, min(m, n_sizes - 1) + 1):
                for b in range(n_sizes - a):
                    value += weights[a + b] * first[a] * others[m, b] * a / (m + b)
            if value > best:
                best, found[i] = value, m
    return found


@njit(cache=True)
def _scale(
    utilities: Float64[np.ndarray, " c"],
    log_weights: Float64[np.ndarray, " k"],
    odds: Float64[np.ndarray, " c"],
    weights: Float64[np.ndarray, " k"],
) -> float:
    """Odds of at most 1 with the weights that go with them; returns what was taken out.

    A set of k tags has k times the greatest utility less, which its weight has more.
    """
    most = utilities.max()
    odds[:] = np.exp(utilities - most)
    weights[:] = log_weights + most * np.arange(len(log_weights))
    lift = weights.max()
    weights[:] = np.exp(weights - lift)
    return lift


_RIDGE = 2.0
_MOST_TRUE = 24
"""Sizes of true sets that are told apart; items with more tags are not learned from."""
_MOST_NAMED = 100
"""Tags that are taken as evidence of others: those that are named most."""
_MOST_STEPS = 60
"""Of the optimiser: it stops before it has converged, which takes four times as many
and brings nothing on items that it has not seen."""
_FLAT = 1e-7
"""A step that betters the loss by less than this share of it is the last."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TagModel(SavedFields):
    """Coefficients of M providers and c tags.

    Attributes:
        tag_odds: ``(c,)`` log odds that a tag is true of an item.
        shared: ``(f + 1,)`` coefficients of all tags, the intercept first.
        own: ``(c, 1 + 3 M)`` offsets of each tag: always, and for each provider when
            it is silent, when it names the tag, and times its log odds.
        named: ``(e,)`` tags that are evidence of others.
        others: ``(M, e, c)`` what it means for a tag that a provider names another.
        log_weights: ``(k,)`` of the number of true tags.
    """

    tag_odds: Float64[np.ndarray, " c"]
    shared: Float64[np.ndarray, " f_plus_1"]
    own: Float64[np.ndarray, "c o"]
    named: Int64[np.ndarray, " e"]
    others: Float64[np.ndarray, "p e c"]
    log_weights: Float64[np.ndarray, " k"]

    def utilities(self, said: TagAnswers) -> Float64[np.ndarray, "n c"]:
        """Log odds of every tag, before the number of true tags is weighed.

        Term by term, so that an item has the same answer alone and among others, which
        a product of matrices does not promise.
        """
        total = np.full(said.is_named.shape[1:], self.shared[0])
        for coefficient, term in zip(
            self.shared[1:], terms(said, self.tag_odds), strict=True
        ):
            total += coefficient * term
        for offsets, term in zip(self.own.T, own_terms(said), strict=True):
            total += offsets * term
        for p, of_provider in enumerate(self.others):
            for tag, offsets in zip(self.named.tolist(), of_provider, strict=True):
                rows = np.flatnonzero(said.is_named[p, :, tag])
                total[rows] += offsets
        return total


def fit_tag_model(
    said: TagAnswers, is_true: Bool[np.ndarray, "r c"], n_draws: float
) -> TagModel:
    """Penalised maximum likelihood, which is convex, by at most 60 steps of L-BFGS.

    Items may come ``n_draws`` times; ridges count in items.
    """
    from scipy.optimize import minimize  # noqa: PLC0415  optional

    shares = (is_true.sum(axis=0) + 0.5 * n_draws) / (len(is_true) + n_draws)
    tag_odds = np.log(shares) - np.log1p(-shares)
    problem = Likelihood(said, is_true, tag_odds, n_draws)
    found = minimize(
        problem.loss,
        problem.start(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": _MOST_STEPS, "ftol": _FLAT},
    )
    return problem.model(found.x)


class Likelihood:
    """The likelihood of sets of tags as a function of all coefficients in a row.

    Coefficients are held to those by which every tag has its own log odds, whatever was
    answered. Designs are of single precision, sums over sets of double.
    """

    def __init__(
        self,
        said: TagAnswers,
        is_true: Bool[np.ndarray, "r c"],
        tag_odds: Float64[np.ndarray, " c"],
        n_draws: float,
    ) -> None:
        """Lay out what is answered as designs; see :func:`fit_tag_model`."""
        m, c = len(said.is_named), len(tag_odds)
        few = np.flatnonzero(is_true.sum(axis=1) <= _MOST_TRUE)
        said, is_true = said.take(few), is_true[few]
        shape = is_true.shape
        self.tag_odds = tag_odds
        self.is_true = is_true
        self.sizes = is_true.sum(axis=1)
        self.design = np.empty((*shape, n_terms(m) + 1), np.float32)
        self.design[:, :, 0] = 1.0
        for k, term in enumerate(terms(said, tag_odds)):
            self.design[:, :, k + 1] = term
        self.design = self.design.reshape(shape[0] * c, n_terms(m) + 1)
        self.own = [
            np.broadcast_to(x, shape).astype(np.float32) for x in own_terms(said)
        ]
        n_named = said.is_named.sum(axis=(0, 1))
        self.named = np.sort(np.argsort(-n_named, kind="stable")[:_MOST_NAMED])
        is_named = said.is_named[:, :, self.named].transpose(1, 0, 2)
        self.is_named = is_named.reshape(len(is_true), -1).astype(np.float32)
        n_weights = max(1, int(self.sizes.max(initial=0))) + 1
        self.shapes = (
            (self.design.shape[1],),
            (len(self.own), c),
            (self.is_named.shape[1], c),
            (n_weights,),
        )
        self.ridge = _RIDGE * n_draws

    def start(self) -> Float64[np.ndarray, " v"]:
        """What coefficients are held to."""
        at = np.zeros(sum(int(np.prod(shape)) for shape in self.shapes))
        at[1] = 1.0
        return at

    def parts(self, at: Float64[np.ndarray, " v"]) -> list[np.ndarray]:
        """``(f + 1,)`` shared, ``(o, c)`` own, ``(M e, c)`` others, ``(k,)`` sizes."""
        ends = np.cumsum([int(np.prod(shape)) for shape in self.shapes])
        cut = np.split(at, ends[:-1])
        return [x.reshape(shape) for x, shape in zip(cut, self.shapes, strict=True)]

    def loss(
        self, at: Float64[np.ndarray, " v"]
    ) -> tuple[float, Float64[np.ndarray, " v"]]:
        """The negative penalised log likelihood and its gradient."""
        parts = self.parts(at)
        shared, own, others = (part.astype(np.float32) for part in parts[:3])
        total = (self.design @ shared).reshape(self.is_true.shape)
        for offsets, term in zip(own, self.own, strict=True):
            total += offsets * term
        total += self.is_named @ others
        utilities = total.astype(np.float64)
        log_z, tags, sizes = set_chances(utilities, parts[3])
        loss = log_z.sum() - utilities[self.is_true].sum() - parts[3][self.sizes].sum()
        wrong = (tags - self.is_true).astype(np.float32)
        weights = sizes.sum(axis=0)
        np.subtract.at(weights, self.sizes, 1.0)
        slopes = [
            self.design.T @ wrong.ravel(),
            np.stack([(wrong * term).sum(axis=0) for term in self.own]),
            self.is_named.T @ wrong,
            weights,
        ]
        moved = at - self.start()
        loss += 0.5 * self.ridge * float(moved @ moved)
        slope = np.concatenate([x.ravel() for x in slopes], dtype=np.float64)
        return float(loss), slope + self.ridge * moved

    def model(self, at: Float64[np.ndarray, " v"]) -> TagModel:
        """The model of some coefficients."""
        shared, own, others, log_weights = self.parts(at)
        m = self.is_named.shape[1] // max(1, len(self.named))
        return TagModel(
            tag_odds=self.tag_odds,
            shared=shared.copy(),
            own=own.T.copy(),
            named=self.named,
            others=others.reshape(m, len(self.named), -1).copy(),
            log_weights=log_weights.copy(),
        )


_N_DRAWS = 7
"""Subsets for each item to learn from, everybody among them; of three, all."""
_MAX_NUMBERS = 40_000_000
"""Of the design of the shared model; fewer rows are drawn where it would be more."""
_FEWEST_ITEMS = 10


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StackedTags(SavedFields):
    """A learned fusion of tags.

    Attributes:
        providers: names, in the order of the model.
    """

    name = "stacked"
    providers: tuple[str, ...]
    names: tuple[str, ...]
    model: TagModel

    tag: ClassVar[str] = "fuser"
    flat: ClassVar[tuple[str, ...]] = ("model",)
    kind: ClassVar[str] = "stacked-tags"

    def fuse(self, recording: Recording, asked: Int64[np.ndarray, " n"]) -> Answers:
        """At most 16 tags an item, likeliest first, of the providers asked.

        DataError where it was not fitted to one of them, or to these tags.
        """
        said = self._said(recording, asked)
        heard = np.flatnonzero(np.logical_or.reduce(said.is_heard[:, :, 0]))
        utilities = self.model.utilities(said)[heard]
        _, chances, _ = set_chances(utilities, self.model.log_weights)
        order = np.argsort(-utilities, axis=1, kind="stable")
        sizes = best_sizes(
            np.take_along_axis(utilities, order, axis=1), self.model.log_weights
        )
        rows, places = np.nonzero(np.arange(order.shape[1]) < sizes[:, None])
        tags = order[rows, places]
        is_missing = np.ones(len(recording), bool)
        is_missing[heard] = False
        return Answers.of_rows(
            heard[rows],
            len(recording),
            tags.astype(np.int32),
            chances[rows, tags].astype(np.float32),
            is_missing=is_missing,
        )

    def chances(
        self, recording: Recording, asked: Int64[np.ndarray, " n"]
    ) -> Float64[np.ndarray, "n c"]:
        """The probability of each tag; NaN for items of which nothing was heard."""
        said = self._said(recording, asked)
        _, found, _ = set_chances(self.model.utilities(said), self.model.log_weights)
        found[~np.logical_or.reduce(said.is_heard[:, :, 0])] = np.nan
        return found

    def _said(self, recording: Recording, asked: Int64[np.ndarray, " n"]) -> TagAnswers:
        places = places_of(recording, self.providers, self.names)
        return TagAnswers.of(recording, asked, places, len(self.providers))


def fit_stacked_tags(recording: Recording, rng: np.random.Generator) -> StackedTags:
    """Fit to everybody's answers to the same items.

    Items without a truth are left out; DataError where fewer than 10 have one.
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
    n_most = _MAX_NUMBERS // (c * (n_terms(m) + 1))
    rows, masks = draw_rows(known, m, _N_DRAWS, n_most, rng)
    everybody = np.full(len(recording), recording.everyone, np.int64)
    whole = TagAnswers.of(recording, everybody, list(range(m)), m)
    model = fit_tag_model(
        whole.take(rows, masks), is_true[rows], len(rows) / len(known)
    )
    return StackedTags(
        providers=recording.providers, names=recording.names, model=model
    )
