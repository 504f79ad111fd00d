"""Ridge regressions that learn item by item, and know what they do not know."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from midhaul.federation.problem import members

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

    from midhaul.federation.saving import State

_SHARED, _DISJOINT = "shared", "disjoint"


class RidgeBank:
    """Predicts a number for each of k arms, by a regression for each or one for all.

    Args:
        weights: ``(k, d, f)`` from an item's numbers to the features of an arm, of one
            regression for all; None where each arm has its own.
        gram: ``(r, f, f)`` sums of outer products, with the ridge.
        moment: ``(r, f)`` sums of features times what was learned.
        prior: ``(r, f)`` moment before anything was learned: what is not known is
            expected to be 1.
        discount: by which all sums shrink with each item.
    """

    def __init__(
        self,
        weights: Float64[np.ndarray, "k d f"] | None,
        gram: Float64[np.ndarray, "r f f"],
        moment: Float64[np.ndarray, "r f"],
        prior: Float64[np.ndarray, "r f"],
        discount: float,
    ) -> None:
        self._weights = weights
        self._gram = gram
        self._moment = moment
        self._prior = prior
        self._discount = discount
        self._inverse = np.linalg.inv(gram)

    @classmethod
    def disjoint(cls, n_arms: int, d: int, discount: float = 1.0) -> RidgeBank:
        """One regression on d numbers for each arm; the first is a constant."""
        gram = np.tile(np.eye(d), (n_arms, 1, 1))
        prior = np.zeros((n_arms, d))
        prior[:, 0] = 1.0
        return cls(None, gram, prior.copy(), prior, discount)

    @classmethod
    def shared(
        cls,
        masks: Int64[np.ndarray, " k"],
        n_providers: int,
        d: int,
        discount: float = 1.0,
    ) -> RidgeBank:
        """One regression: d numbers for each member of an arm, 1 for each pair of them.

        The first of the d numbers is a constant; the arms have one in common.
        """
        n_pairs = n_providers * (n_providers - 1) // 2
        width = n_providers * d + n_pairs + 1
        weights = np.zeros((len(masks), d, width))
        pairs = itertools.combinations(range(n_providers), 2)
        place = {pair: n_providers * d + k for k, pair in enumerate(pairs)}
        weights[:, 0, -1] = 1.0
        for arm, mask in enumerate(masks.tolist()):
            chosen = members(mask)
            for p in chosen:
                weights[arm, :, p * d : (p + 1) * d] = np.eye(d)
            for pair in itertools.combinations(chosen, 2):
                weights[arm, 0, place[pair]] = 1.0
        prior = np.zeros((1, width))
        prior[0, -1] = 1.0
        return cls(weights, np.eye(width)[None], prior.copy(), prior, discount)

    def bounds(
        self, contexts: Float64[np.ndarray, "n d"], alpha: float
    ) -> Float64[np.ndarray, "n k"]:
        """Prediction and alpha times its width, for each item and arm."""
        theta = np.einsum("rfg,rg->rf", self._inverse, self._moment)
        if self._weights is None:
            means = contexts @ theta.T
            if alpha == 0:
                return means
            squares = np.stack(
                [((contexts @ inverse) * contexts).sum(1) for inverse in self._inverse],
                axis=1,
            )
        else:
            means = contexts @ (self._weights @ theta[0]).T
            if alpha == 0:
                return means
            squares = np.stack(
                [
                    ((features @ self._inverse[0]) * features).sum(1)
                    for features in (contexts @ weight for weight in self._weights)
                ],
                axis=1,
            )
        return means + alpha * np.sqrt(np.maximum(squares, 0.0))

    def update(
        self,
        contexts: Float64[np.ndarray, "n d"],
        arms: Int64[np.ndarray, " n"],
        values: Float64[np.ndarray, " n"],
    ) -> None:
        """Learn values of some arms.

        Args:
            contexts: ``(n, d)`` of the items.
            arms: ``(n,)`` numbers of the arms.
            values: ``(n,)`` what came of them.
        """
        changed = np.unique(arms) if self._weights is None else np.zeros(1, np.int64)
        if self._discount < 1:
            kept = self._discount ** len(arms)
            self._gram *= kept
            self._gram += (1 - kept) * np.eye(self._gram.shape[1])
            self._moment = kept * self._moment + (1 - kept) * self._prior
            changed = np.arange(len(self._gram))
        for arm in np.unique(arms).tolist():
            rows = arms == arm
            features, place = contexts[rows], arm
            if self._weights is not None:
                features, place = features @ self._weights[arm], 0
            self._gram[place] += features.T @ features
            self._moment[place] += features.T @ values[rows]
        self._inverse[changed] = np.linalg.inv(self._gram[changed])

    def state(self) -> State:
        """Everything, for :meth:`from_state`."""
        return {
            "kind": _DISJOINT if self._weights is None else _SHARED,
            "weights": np.zeros(0) if self._weights is None else self._weights,
            "gram": self._gram.copy(),
            "moment": self._moment.copy(),
            "prior": self._prior,
            "discount": self._discount,
        }

    @classmethod
    def from_state(cls, state: State) -> RidgeBank:
        """What :meth:`state` gave."""
        weights = np.asarray(state["weights"], np.float64)
        return cls(
            weights if state["kind"] == _SHARED else None,
            np.array(state["gram"], np.float64),
            np.array(state["moment"], np.float64),
            np.asarray(state["prior"], np.float64),
            float(state["discount"]),
        )
