"""Fusion of tags that learns what it means when these providers name these tags.

Stacking (Wolpert, "Stacked generalization", Neural Networks 5, 1992) by a log-linear
model of the whole set of true tags (:mod:`.tag_sets`), given who was asked, who named
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
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from midhaul.errors import DataError
from midhaul.federation.fusion.hearing import draw_rows, places_of
from midhaul.federation.fusion.tag_fitting import TagModel, fit_tag_model
from midhaul.federation.fusion.tag_sets import best_sizes, set_chances
from midhaul.federation.fusion.tag_terms import TagAnswers, n_terms
from midhaul.federation.problem import Answers

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

    from midhaul.federation.problem import Recording
    from midhaul.federation.saving import State

_N_DRAWS = 7
"""Subsets for each item to learn from, everybody among them; of three, all."""
_MAX_NUMBERS = 40_000_000
"""Of the design of the shared model; fewer rows are drawn where it would be more."""
_FEWEST_ITEMS = 10


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StackedTags:
    """A learned fusion of tags.

    Attributes:
        providers: names, in the order of the model.
        names: the label set.
        model: what was learned.
    """

    providers: tuple[str, ...]
    names: tuple[str, ...]
    model: TagModel

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

    def state(self) -> State:
        """Everything, for :meth:`from_state`."""
        return {
            "fuser": self.kind,
            "providers": self.providers,
            "names": self.names,
            **self.model.state(),
        }

    @classmethod
    def from_state(cls, state: State) -> StackedTags:
        """What :meth:`state` gave."""
        return cls(
            providers=tuple(state["providers"]),
            names=tuple(state["names"]),
            model=TagModel.from_state(state),
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
