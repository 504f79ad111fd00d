"""Items from before a change, and what they still teach: how to do without somebody.

When one provider changes, answers of the others stay what they were. What was known
about every subset without it stays true, so a policy that leaves it out can be learned
at once from the many items from before, while one that still asks it has to wait for
audits since the change. Whether leaving out is better is judged on those audits, of
which it saw none, so that a few of them do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.federation.policies.audits import Audits
from midhaul.federation.policies.base import Examples
from midhaul.federation.policies.situations import Among

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from jaxtyping import Float64

    from midhaul.federation.fusion.base import Fuser
    from midhaul.federation.policies.base import SubsetPolicy
    from midhaul.federation.policies.drift import Alarm
    from midhaul.federation.policies.recipes import Recipe
    from midhaul.federation.policies.trust import Trust
    from midhaul.federation.saving import State


class EarlierItems:
    """Remembers items from before changes, and who changed since.

    Attributes:
        blamed: names of providers of which these items say nothing any more.
    """

    def __init__(self) -> None:
        self.blamed: frozenset[str] = frozenset()
        self._items: Audits | None = None
        self._learned: tuple[frozenset[str], SubsetPolicy] | None = None

    def add(self, before: Audits, limit: int) -> None:
        """Remember items from before a change, at most so many in all."""
        items = self._items
        self._items = before if items is None else items.and_then(before, limit)
        self._learned = None

    def blame(self, alarms: Iterable[Alarm]) -> None:
        """Take in who got worse, or better again."""
        found = set(self.blamed)
        for alarm in alarms:
            change = found.add if alarm.direction == "fell" else found.discard
            change(alarm.provider)
        self.blamed = frozenset(found - {""})

    def priced(self, prices_usd: Float64[np.ndarray, " p"]) -> None:
        """Go on at other prices of a call."""
        if self._items is not None:
            self._items = self._items.priced(prices_usd)
        self._learned = None

    def without_blamed(
        self, recipe: Recipe, trust: Trust, fuser: Fuser, n_fewest: int
    ) -> Among | None:
        """A policy that leaves out who is blamed or suspected.

        Args:
            recipe: how it is learned.
            trust: what items are judged by, and who is a suspect.
            fuser: what fuses answers.
            n_fewest: items that learning needs.

        Returns:
            None where nobody is blamed, nobody else is left, or items are too few.
        """
        items = self._items
        if items is None or len(items) < n_fewest:
            return None
        providers = items.recording.providers
        left_out = (self.blamed | trust.suspects) & set(providers)
        known = tuple(name for name in providers if name not in left_out)
        if not left_out or not known:
            return None
        if self._learned is None or self._learned[0] != left_out:
            judged = trust.judged(items, fuser)
            examples = Examples(
                recording=judged.recording.only(known),
                features=judged.features,
                fuser=fuser,
            )
            self._learned = left_out, recipe.fit(examples, 0)
        return Among(policy=self._learned[1], known=known)

    def state(self) -> State:
        """Everything, for :meth:`from_state`."""
        items = self._items
        return {
            "blamed": sorted(self.blamed),
            "items": None if items is None else items.state(),
        }

    @classmethod
    def from_state(cls, state: State) -> EarlierItems:
        """What :meth:`state` gave."""
        earlier = cls()
        earlier.blamed = frozenset(state["blamed"])
        items = state["items"]
        earlier._items = None if items is None else Audits.from_state(items)
        return earlier
