"""Stacked label fusion: learns what it means when these providers say these labels.

Two stages, as in stacking (Wolpert, "Stacked generalization", Neural Networks 5, 1992).
The first knows each provider alone: P(true label | its label, its score), from counts
as in Dawid and Skene (Applied Statistics 28, 1979). The second adds these up in a
conditional logit (McFadden 1974), whose utility of label t is

    a(k) log P(t) + sum over heard p of b_p(k) (log P_p(t) - log P(t))
                  + sum over heard pairs that both say t of u_pq

where k providers are heard, and a and b_p are linear in 1 - 1/k. With b = 1 and u = 0
that is naive Bayes; it learns how much of the evidence of several is the same evidence.

1. The truth is known while fitting; the counts are no latent ones.
2. Counts are shrunk: a cell of label and score to the sum of what the label and the
   score say alone, those to the provider's accuracy. What is true when a provider is
   wrong depends on its label, not on its score.
3. Scores count at up to 12 knots, quantiles of the provider's scores, with linear
   interpolation of the log odds between them.
4. The second stage is fitted to random subsets of providers (all of up to three), so
   that one model serves every subset, and on counts of other items (five folds) than
   those it is fitted to.
5. It is shrunk to naive Bayes by half a squared unit of each coefficient.

The *evidence* is what one provider's label and score alone tell about the true label.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Float64

from midhaul.errors import DataError
from midhaul.federation.fusion.base import draw_rows, hear, places_of
from midhaul.federation.recordings.problem import Answers
from midhaul.npz_state import SavedFields

if TYPE_CHECKING:
    from jaxtyping import Int64

    from midhaul.federation.fusion.base import Heard
    from midhaul.federation.recordings.problem import Recording

_N_KNOTS = 12
_FEW_RIGHT = 20.0
"""Answers that a shrunken share of right ones is worth before any is counted."""
_FEW_WRONG = 10.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Voice(SavedFields):
    """P(true label | label, score) of one provider.

    Attributes:
        knots: ``(k,)`` rising scores.
        right: ``(c, k)`` log odds that the label is right, by label and score.
        wrong: ``(c, c)`` log probability of what is true when a label is wrong, by
            that label; 0 on the diagonal.
    """

    knots: Float64[np.ndarray, " k"]
    right: Float64[np.ndarray, "c k"]
    wrong: Float64[np.ndarray, "c c"]

    def evidence(
        self, labels: Int64[np.ndarray, " n"], scores: Float64[np.ndarray, " n"]
    ) -> Float64[np.ndarray, "n c"]:
        """Log P(true label) of each label, given one answer an item."""
        low, high, part = _places(self.knots, scores)
        odds = self.right[labels, low] * (1 - part) + self.right[labels, high] * part
        found = self.wrong[labels]
        found -= np.logaddexp(0.0, odds)[:, None]
        found[np.arange(len(labels)), labels] = -np.logaddexp(0.0, -odds)
        return found


def fit_voice(
    labels: Int64[np.ndarray, " n"],
    scores: Float64[np.ndarray, " n"],
    truths: Int64[np.ndarray, " n"],
    log_prior: Float64[np.ndarray, " c"],
) -> Voice:
    """Count and shrink; without any answer, chance."""
    c = len(log_prior)
    knots = np.zeros(1)
    if len(scores):
        knots = np.unique(np.quantile(scores, np.linspace(0, 1, _N_KNOTS)))
    low, high, part = _places(knots, scores)
    total, right = np.zeros((c, len(knots))), np.zeros((c, len(knots)))
    is_right = labels == truths
    for at, weight in ((low, 1 - part), (high, part)):
        np.add.at(total, (labels, at), weight)
        np.add.at(right, (labels, at), weight * is_right)
    accuracy = (right.sum() + 1.0) / (total.sum() + 2.0)
    by_label = _shrunk(right.sum(axis=1), total.sum(axis=1), accuracy)
    by_score = _shrunk(right.sum(axis=0), total.sum(axis=0), accuracy)
    added = _odds(by_label)[:, None] + _odds(by_score) - _odds(accuracy)
    shares = _shrunk(right, total, 1.0 / (1.0 + np.exp(-added)))
    wrong = np.zeros((c, c))
    np.add.at(wrong, (labels[~is_right], truths[~is_right]), 1.0)
    others = np.where(np.eye(c) == 1, 0.0, np.exp(log_prior))
    others /= np.maximum(others.sum(axis=1, keepdims=True), 1e-12)
    wrong = (wrong + _FEW_WRONG * others) / (
        wrong.sum(axis=1, keepdims=True) + _FEW_WRONG
    )
    np.fill_diagonal(wrong, 1.0)
    return Voice(knots=knots, right=_odds(shares), wrong=np.log(wrong))


def _places(
    knots: Float64[np.ndarray, " k"], scores: Float64[np.ndarray, " n"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The knots around each score, and how far it is from the lower to the upper."""
    place = np.interp(scores, knots, np.arange(len(knots), dtype=np.float64))
    low = place.astype(np.int64)
    return low, np.minimum(low + 1, len(knots) - 1), place - low


def _shrunk(right: np.ndarray, total: np.ndarray, to: np.ndarray | float) -> np.ndarray:
    return (right + _FEW_RIGHT * to) / (total + _FEW_RIGHT)


def _odds(share: np.ndarray | float) -> np.ndarray:
    return np.log(share) - np.log1p(-np.asarray(share))


_N_FOLDS = 5
_N_DRAWS = 8
"""Subsets for each item to learn from, everybody among them."""
_MAX_NUMBERS = 20_000_000
"""Of the design of the second stage; fewer rows are drawn where it would be more."""
_FEWEST_ITEMS = 10
_SHRINKAGE = 1.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StackedLabels(SavedFields):
    """A learned fusion of labels.

    Attributes:
        providers: names, in the order of the model.
        log_prior: ``(c,)`` log share of each label.
        voices: what each provider alone tells.
        coefficients: ``(2 + 2 M + M (M - 1) / 2,)`` of the second stage.
    """

    name = "stacked"
    providers: tuple[str, ...]
    names: tuple[str, ...]
    log_prior: Float64[np.ndarray, " c"]
    voices: tuple[Voice, ...]
    coefficients: Float64[np.ndarray, " f"]

    tag: ClassVar[str] = "fuser"
    kind: ClassVar[str] = "stacked-labels"

    def fuse(self, recording: Recording, asked: Int64[np.ndarray, " n"]) -> Answers:
        """The likeliest label of each item, with its probability, of those asked.

        DataError where it was not fitted to one of them, or to these labels.
        """
        chances = self.chances(recording, asked)
        items = np.flatnonzero(~np.isnan(chances[:, 0]))
        labels = chances[items].argmax(axis=1)
        return Answers.of_rows(
            items,
            len(recording),
            labels.astype(np.int32),
            chances[items, labels].astype(np.float32),
            is_missing=np.isnan(chances[:, 0]),
        )

    def chances(
        self, recording: Recording, asked: Int64[np.ndarray, " n"]
    ) -> Float64[np.ndarray, "n c"]:
        """The probability of each label; NaN for items of which nothing was heard."""
        places = places_of(recording, self.providers, self.names)
        heard = hear(recording, asked)
        n_heard = heard.is_heard.sum(axis=0)
        growth = 1.0 - 1.0 / np.maximum(n_heard, 1)
        m = len(self.providers)
        prior, slopes = self.coefficients[:2], self.coefficients[2 : 2 + 2 * m]
        pairs = _pair_table(self.coefficients[2 + 2 * m :], m)
        total = (prior[0] + prior[1] * growth)[:, None] * self.log_prior
        for p, place in enumerate(places):
            who = np.flatnonzero(heard.is_heard[p])
            labels = heard.labels[p, who]
            told = self.voices[place].evidence(labels, heard.scores[p, who])
            told -= self.log_prior
            told *= (slopes[place] + slopes[m + place] * growth[who])[:, None]
            total[who] += told
            for q, other in enumerate(places[:p]):
                agrees = heard.is_heard[q, who] & (heard.labels[q, who] == labels)
                total[who[agrees], labels[agrees]] += pairs[place, other]
        total -= total.max(axis=1, keepdims=True)
        np.exp(total, out=total)
        total /= total.sum(axis=1, keepdims=True)
        total[n_heard == 0] = np.nan
        return total


def fit_stacked_labels(recording: Recording, rng: np.random.Generator) -> StackedLabels:
    """Fit to everybody's answers to the same items.

    Items without a truth are left out; DataError where fewer than 10 have one.
    """
    truth = recording.truth
    known = np.zeros(0, np.int64)
    if truth is not None:
        known = np.flatnonzero(~truth.is_missing & (truth.counts > 0))
    if truth is None or len(known) < _FEWEST_ITEMS:
        message = f"fusion has to learn from {len(known)} items that have a truth"
        raise DataError(message, f"give {_FEWEST_ITEMS} items or more")
    truths = truth.labels[truth.starts[known]].astype(np.int64)
    n, n_names = len(known), len(recording.names)
    heard = hear(recording.take(known), np.full(n, recording.everyone, np.int64))
    prior = np.log((np.bincount(truths, minlength=n_names) + 0.5) / (n + n_names / 2))
    folds = rng.permutation(n) % _N_FOLDS
    evidence = np.zeros((recording.n_providers, n, n_names))
    for fold in range(_N_FOLDS):
        kept, held = folds != fold, np.flatnonzero(folds == fold)
        for p, voice in enumerate(_fit_voices(heard, truths, prior, kept)):
            told = voice.evidence(heard.labels[p, held], heard.scores[p, held])
            evidence[p, held] = told - prior
    return StackedLabels(
        providers=recording.providers,
        names=recording.names,
        log_prior=prior,
        voices=_fit_voices(heard, truths, prior, np.ones(n, bool)),
        coefficients=_fit_second(heard, evidence, prior, truths, rng),
    )


def _fit_voices(
    heard: Heard,
    truths: Int64[np.ndarray, " n"],
    log_prior: Float64[np.ndarray, " c"],
    which: np.ndarray,
) -> tuple[Voice, ...]:
    return tuple(
        fit_voice(
            labels[has & which], scores[has & which], truths[has & which], log_prior
        )
        for labels, scores, has in zip(
            heard.labels, heard.scores, heard.is_heard, strict=True
        )
    )


def _fit_second(
    heard: Heard,
    evidence: Float64[np.ndarray, "p n c"],
    log_prior: Float64[np.ndarray, " c"],
    truths: Int64[np.ndarray, " n"],
    rng: np.random.Generator,
) -> Float64[np.ndarray, " f"]:
    """Newton's method on the penalised likelihood, from naive Bayes."""
    m, n, c = evidence.shape
    start = np.zeros(2 + 2 * m + m * (m - 1) // 2)
    start[0] = start[2 : 2 + m] = 1.0
    n_most = _MAX_NUMBERS // (c * len(start))
    rows, masks = draw_rows(np.arange(n), m, _N_DRAWS, n_most, rng)
    has = heard.is_heard[:, rows] & ((masks >> np.arange(m)[:, None]) & 1 == 1)
    rows, has = rows[has.any(axis=0)], has[:, has.any(axis=0)]
    design = _design(heard.labels[:, rows], has, evidence[:, rows], log_prior)
    return _newton(design, truths[rows], start, _SHRINKAGE * len(rows) / n)


def _design(
    labels: Int64[np.ndarray, "p r"],
    has: np.ndarray,
    evidence: Float64[np.ndarray, "p r c"],
    log_prior: Float64[np.ndarray, " c"],
) -> Float64[np.ndarray, "r c f"]:
    """What every coefficient is multiplied with, for each label of each row."""
    m, r, c = evidence.shape
    growth = (1.0 - 1.0 / has.sum(axis=0))[:, None]
    design = np.zeros((r, c, 2 + 2 * m + m * (m - 1) // 2))
    design[:, :, 0] = log_prior
    design[:, :, 1] = growth * log_prior
    for p in range(m):
        design[:, :, 2 + p] = np.where(has[p][:, None], evidence[p], 0.0)
        design[:, :, 2 + m + p] = growth * design[:, :, 2 + p]
    place = 2 + 2 * m
    for p in range(m):
        for q in range(p):
            both = np.flatnonzero(has[p] & has[q] & (labels[p] == labels[q]))
            design[both, labels[p, both], place] = 1.0
            place += 1
    return design


def _newton(
    design: Float64[np.ndarray, "r c f"],
    truths: Int64[np.ndarray, " r"],
    start: Float64[np.ndarray, " f"],
    shrinkage: float,
) -> Float64[np.ndarray, " f"]:
    r, c, f = design.shape
    flat = design.reshape(r * c, f)
    chosen = design[np.arange(r), truths].sum(axis=0)
    at, step, last = start.copy(), np.zeros(f), np.inf
    for _ in range(30):
        utility = (flat @ at).reshape(r, c)
        utility -= utility.max(axis=1, keepdims=True)
        loss = -utility[np.arange(r), truths].sum()
        chances = np.exp(utility)
        loss += np.log(chances.sum(axis=1)).sum()
        loss += 0.5 * shrinkage * ((at - start) ** 2).sum()
        if loss > last:
            step *= 0.5
            at -= step
            continue
        if last - loss < 1e-7 * r:
            break
        last = loss
        chances /= chances.sum(axis=1, keepdims=True)
        weighted = flat * chances.reshape(r * c, 1)
        means = weighted.reshape(r, c, f).sum(axis=1)
        slope = chosen - means.sum(axis=0) - shrinkage * (at - start)
        bend = flat.T @ weighted - means.T @ means + shrinkage * np.eye(f)
        step = np.linalg.solve(bend, slope)
        at = at + step
    return at


def _pair_table(pairs: Float64[np.ndarray, " k"], m: int) -> Float64[np.ndarray, "m m"]:
    table = np.zeros((m, m))
    below = np.tril_indices(m, -1)
    table[below] = pairs
    return table + table.T
