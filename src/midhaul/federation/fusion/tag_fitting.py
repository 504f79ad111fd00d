"""The log-linear model of sets of tags, and how it is fitted."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from midhaul.federation.fusion.tag_sets import set_chances
from midhaul.federation.fusion.tag_terms import n_terms, own_terms, terms

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64, Int64

    from midhaul.federation.fusion.tag_terms import TagAnswers
    from midhaul.federation.saving import State

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
class TagModel:
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

    def state(self) -> State:
        """Everything, for :meth:`from_state`."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_state(cls, state: State) -> TagModel:
        """What :meth:`state` gave."""
        return cls(**{field.name: state[field.name] for field in fields(cls)})


def fit_tag_model(
    said: TagAnswers, is_true: Bool[np.ndarray, "r c"], n_draws: float
) -> TagModel:
    """Penalised maximum likelihood, which is convex, by at most 60 steps of L-BFGS.

    Args:
        said: answers to r items, of which some may come several times.
        is_true: ``(r, c)`` their tags.
        n_draws: how often an item comes; ridges count in items.
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
