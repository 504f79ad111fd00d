"""LinUCB learned from recorded answers, by its own decisions.

What it did not ask is hidden from it: of each training item it is told the quality of
the fused answer of the subset that it chose, and is charged for that. So it shows what
a bandit would know after so many items, not what could be known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.federation.policies.bandit_context import Context, context_of
from midhaul.federation.policies.linucb import LinUcb
from midhaul.federation.policies.ridge import RidgeBank
from midhaul.federation.policies.worth import candidate_masks
from midhaul.federation.problem import prices_of

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

    from midhaul.federation.policies.base import Examples
    from midhaul.federation.problem import Recording

_MAX_ARMS = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class LinUcbSettings:
    """How it explores and learns.

    Attributes:
        alpha: width of the bonus for what is uncertain, in standard deviations.
        discount: by how much an item less counts with each new one.
        is_shared: one regression for all subsets instead of one each.
        base: name of the provider that is asked first about every item; nobody when
            empty, the cheapest one for ``cheapest``.
        batch: items that are decided before the next are learned from.
        n_passes: passes over the training items.
    """

    alpha: float = 0.5
    discount: float = 1.0
    is_shared: bool = False
    base: str = ""
    batch: int = 32
    n_passes: int = 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinUcbFamily:
    """A bandit for every exchange rate, each learned by its own decisions.

    Attributes:
        settings: how it explores and learns.
        recording: the training items.
        contexts: ``(n, d)`` of each.
        context: what made them.
        masks: ``(k,)`` the arms.
        qualities: ``(n, k)`` what each arm would give.
        order: ``(t,)`` numbers of the items in the order of learning.
    """

    settings: LinUcbSettings
    recording: Recording
    contexts: Float64[np.ndarray, "n d"]
    context: Context
    masks: Int64[np.ndarray, " k"]
    qualities: Float64[np.ndarray, "n k"]
    order: Int64[np.ndarray, " t"]

    @property
    def name(self) -> str:
        """Short name."""
        return LinUcb.kind if self.context.base < 0 else f"{LinUcb.kind}-first"

    def at(self, multiplier: float) -> LinUcb:
        """Learn at this multiplier, then decide without exploring."""
        return self.learned(multiplier).greedy()

    def learned(self, multiplier: float) -> LinUcb:
        """The bandit after all training items, still exploring."""
        policy = self.fresh(multiplier)
        prices = self.recording.prices_usd
        for start in range(0, len(self.order), self.settings.batch):
            rows = self.order[start : start + self.settings.batch]
            contexts = self.contexts[rows]
            arms = policy.choose(contexts, prices)
            spent = float(prices_of(self.masks[arms], prices).sum())
            policy.take_in(contexts, arms, self.qualities[rows, arms], spent)
        return policy

    def fresh(self, multiplier: float) -> LinUcb:
        """A bandit that has learned nothing."""
        settings, d = self.settings, self.contexts.shape[1]
        n_providers = self.recording.n_providers
        bank = (
            RidgeBank.shared(self.masks, n_providers, d, settings.discount)
            if settings.is_shared
            else RidgeBank.disjoint(len(self.masks), d, settings.discount)
        )
        return LinUcb(self.context, self.masks, bank, multiplier, settings.alpha)


def fit_linucb(
    examples: Examples, settings: LinUcbSettings | None, rng: np.random.Generator
) -> LinUcbFamily:
    """Prepare learning; each policy of the family learns when it is asked for.

    Args:
        examples: with a truth. Only the quality of what was asked is learned from.
        settings: how it explores and learns.
        rng: order of the items.

    Raises:
        DataError: there is no provider of the name of the base.
    """
    from midhaul.federation.quality import subset_qualities  # noqa: PLC0415

    settings = LinUcbSettings() if settings is None else settings
    recording = examples.recording
    base = -1
    if settings.base == "cheapest":
        base = int(recording.prices_usd.argmin())
    elif settings.base:
        recording.only([settings.base])
        base = recording.providers.index(settings.base)
    masks = candidate_masks(recording.n_providers, _MAX_ARMS)
    if base >= 0:
        masks = np.unique(masks | 1 << base)
    context = context_of(recording, examples.features, base)
    n = len(recording)
    orders = [rng.permutation(n) for _ in range(settings.n_passes)]
    return LinUcbFamily(
        settings=settings,
        recording=recording,
        contexts=context.of(recording, examples.features),
        context=context,
        masks=masks,
        qualities=subset_qualities(recording, examples.fuser, masks),
        order=np.concatenate(orders) if orders else np.zeros(0, np.int64),
    )
