"""Refit and imputation: when a policy is learned anew, and what old items still teach.

From audits since the last change, and before there are enough of them from items from
before it: what these say about subsets without the provider that changed is still true.

*Imputation*: items from before a change still teach how to do without somebody.

When one provider changes, answers of the others stay what they were. What was known
about every subset without it stays true, so a policy that leaves it out can be learned
at once from the many items from before, while one that still asks it has to wait for
audits since the change. Whether leaving out is better is judged on those audits, of
which it saw none, so that a few of them do.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.federation.policies.base import (
    Among,
    Examples,
    finite_multiplier,
    policy_from_state,
    replay,
)
from midhaul.federation.policies.catalogue import fit_policy
from midhaul.federation.policies.online.audits import Audits, Trust
from midhaul.federation.policies.online.settings import OnlineSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from jaxtyping import Float64, Int64

    from midhaul.federation.fusion.base import Fuser
    from midhaul.federation.policies.base import Situation, SubsetPolicy
    from midhaul.federation.policies.online.drift import Alarm
    from midhaul.npz_state import State

_SURE = 1.645
"""Standard errors of a gain that leave a chance of 5 % of its being none."""

_LIKELY = 1.0
"""The same with a chance of 16 %, where an alarm speaks against going on as before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What is learned anew.

    Attributes:
        name: of a policy in the catalogue.
        multiplier: quality that one USD has to buy, for a family.
    """

    name: str
    told: Mapping[str, Any]
    multiplier: float
    seed: int

    def fit(self, examples: Examples, number: int) -> SubsetPolicy:
        """Learn it for the number-th time."""
        rng = np.random.default_rng([self.seed, number])
        fitted: Any = fit_policy(self.name, examples, self.told, rng)
        return fitted.at(self.multiplier) if hasattr(fitted, "at") else fitted

    def improve(
        self, incumbent: SubsetPolicy, examples: Examples, number: int
    ) -> SubsetPolicy | None:
        """Learn anew, if that is surely better than going on as before.

        Each half of the items judges what the other half teaches, beside the incumbent;
        only if the mean gain is above 0 at 95 % all of them are learned from. None
        where the incumbent is at least as good. The ``number`` of times it was learned
        before makes chance another one.
        """
        places = np.arange(len(examples))
        halves = places[::2], places[1::2]
        gains: list[Float64[np.ndarray, " k"]] = []
        for taught, judged in (halves, halves[::-1]):
            new = self.fit(_part_of(examples, taught), number)
            rest = _part_of(examples, judged)
            gains.append(self._worth(new, rest) - self._worth(incumbent, rest))
        is_better = _is_above_zero(np.concatenate(gains), _SURE)
        return self.fit(examples, number) if is_better else None

    def seems_better(
        self, new: SubsetPolicy, old: SubsetPolicy, examples: Examples
    ) -> bool:
        """Whether one policy gains on another, on items that taught neither.

        After an alarm the other one is doubtful already, so one standard error above
        no gain has to do, and a few items.
        """
        gain = self._worth(new, examples) - self._worth(old, examples)
        return _is_above_zero(gain, _LIKELY)

    def _worth(
        self, policy: SubsetPolicy, examples: Examples
    ) -> Float64[np.ndarray, " n"]:
        """``(n,)`` quality less multiplier times price of what a policy would do."""
        from midhaul.federation.quality import item_quality  # noqa: PLC0415

        recording = examples.recording
        rng = np.random.default_rng(self.seed)
        done = replay(policy, recording, examples.features, examples.fuser, rng)
        rate = finite_multiplier(self.multiplier, recording.prices_usd)
        return item_quality(recording, done.fused) - rate * done.cost_usd


def _part_of(examples: Examples, items: Int64[np.ndarray, " k"]) -> Examples:
    return Examples(
        recording=examples.recording.take(items),
        features=examples.features[items],
        fuser=examples.fuser,
    )


def _is_above_zero(gain: Float64[np.ndarray, " k"], n_errors: float) -> bool:
    """Whether a mean gain is above 0 by so many standard errors."""
    error = float(gain.std()) / math.sqrt(max(1, len(gain)))
    return float(gain.mean()) > n_errors * error


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


_GROWTH = 1.5
"""So many times as many audits, and whom to leave out is looked at again."""


class Renewal:
    """A policy and what it is learned anew from.

    The ``inner`` policy decides at first; it was learned with the providers ``known``.

    Attributes:
        policy: who decides now, among any providers. Replaced as a whole, as requests
            are decided while another thread learns.
        is_boosted: whether more is audited because something changed.
        n_refits: how often it was learned anew, whether that was better or not.
    """

    def __init__(
        self,
        inner: SubsetPolicy,
        recipe: Recipe,
        fuser: Fuser,
        known: Sequence[str],
        settings: OnlineSettings,
    ) -> None:
        self.policy = Among(policy=inner, known=tuple(known))
        self.is_boosted = False
        self.n_refits = 0
        self.recipe, self.fuser, self.settings = recipe, fuser, settings
        self._trust, self._earlier = Trust(), EarlierItems()
        self._window: Audits | None = None
        self._is_of_window = False
        self._n_since = self._n_last = self._n_compared = 0

    @property
    def suspects(self) -> frozenset[str]:
        """Names of providers that have no part in what audits are judged by."""
        return self._trust.suspects

    @property
    def known(self) -> tuple[str, ...]:
        """Names of the providers of the policy that decides now."""
        return self.policy.known

    def remember(self, learned_on: Examples) -> None:
        """Take in what the policy was learned on."""
        self._window = Audits.of(learned_on).last(self.settings.window)
        self._n_last = len(learned_on)

    def keep(self, part: Situation, numbers: Int64[np.ndarray, " n"]) -> None:
        """Remember audits, with a truth where somebody told it."""
        self._n_since += len(part)
        later = Audits.seen(part, numbers)
        window, limit = self._window, self.settings.window
        self._window = later if window is None else window.and_then(later, limit)

    def with_other_providers(self) -> None:
        """Begin with nothing, since others are asked from now on."""
        self._window, self._earlier = None, EarlierItems()
        self.is_boosted, self._is_of_window = True, False
        self._n_since = self._n_last = self._n_compared = 0

    def at_prices(self, prices_usd: Float64[np.ndarray, " p"]) -> bool:
        """Go on at other prices of a call; whether the policy is another one."""
        self._earlier.priced(prices_usd)
        if self._window is None:
            return False
        self._window = self._window.priced(prices_usd)
        if len(self._window) < self.settings.n_fewest:
            return False
        return self._refit(self._window)

    def begin_anew(self, alarms: Sequence[Alarm]) -> None:
        """Set aside what was before a change.

        More is audited, unless all that changed got worse and is left out already.
        """
        self._trust.after(alarms)
        onset = max(alarm.onset for alarm in alarms)
        if self._window is not None:
            before = self._window.until(onset)
            self._trust.remember(before)
            self._earlier.add(before, self.settings.window)
            self._window = self._window.since(onset)
            self._n_since, self._n_last = len(self._window), 0
        self._earlier.blame(alarms)
        self._n_compared, self._is_of_window = 0, False
        relied_on = {"", *self.known}
        self.is_boosted |= any(
            alarm.provider in relied_on or alarm.direction == "rose" for alarm in alarms
        )

    def renew_if_due(self) -> bool:
        """Learn anew when there are enough audits; whether that took over."""
        window, settings = self._window, self.settings
        if window is None:
            return False
        is_new = self._leave_out_if_due(window)
        # Twice as many as the last time, then every so many.
        due = max(settings.n_fewest, self._n_last)
        if settings.n_routine:
            due = min(due, settings.n_routine)
        if len(window) >= settings.n_fewest and self._n_since >= due:
            is_new |= self._refit(window)
        if len(window) >= settings.n_enough:
            self.is_boosted = False
        return is_new

    def state(self) -> State:
        """Everything, for :meth:`from_state`."""
        inner: Any = self.policy.policy
        fuser: Any = self.fuser
        return {
            "inner": inner.state(),
            "known": self.known,
            "recipe": {**asdict(self.recipe), "told": dict(self.recipe.told)},
            "fuser": fuser.state(),
            "settings": asdict(self.settings),
            "window": None if self._window is None else self._window.state(),
            "earlier": self._earlier.state(),
            "trust": self._trust.state(),
            "is_boosted": self.is_boosted,
            "is_of_window": self._is_of_window,
            "n_since": self._n_since,
            "n_last": self._n_last,
            "n_compared": self._n_compared,
            "n_refits": self.n_refits,
        }

    @classmethod
    def from_state(
        cls,
        state: State,
        settings: OnlineSettings | None = None,
        recipe: Recipe | None = None,
    ) -> Renewal:
        """What :meth:`state` gave; settings and recipe may be others now."""
        from midhaul.federation.fusion import fuser_from_state  # noqa: PLC0415

        renewal = cls(
            policy_from_state(state["inner"]),
            recipe or Recipe(**state["recipe"]),
            fuser_from_state(state["fuser"]),
            tuple(state["known"]),
            settings or OnlineSettings(**state["settings"]),
        )
        window = state["window"]
        renewal._window = None if window is None else Audits.from_state(window)
        renewal._earlier = EarlierItems.from_state(state["earlier"])
        renewal._trust = Trust.from_state(state["trust"])
        renewal.is_boosted = bool(state["is_boosted"])
        renewal._is_of_window = bool(state["is_of_window"])
        renewal._n_since = int(state["n_since"])
        renewal._n_last = int(state["n_last"])
        renewal._n_compared = int(state["n_compared"])
        renewal.n_refits = int(state["n_refits"])
        return renewal

    def _leave_out_if_due(self, window: Audits) -> bool:
        """Do without whoever got worse, as soon as audits since then speak for it."""
        settings = self.settings
        due = max(settings.n_to_leave_out, math.ceil(_GROWTH * self._n_compared))
        if not self.is_boosted or len(window) < due:
            return False
        self._n_compared = len(window)
        self._trust.look(window)
        without = self._earlier.without_blamed(
            self.recipe, self._trust, self.fuser, settings.n_fewest
        )
        if without is None or without.known == self.known:
            return False
        examples = self._trust.judged(window, self.fuser)
        if not self.recipe.seems_better(without, self.policy, examples):
            return False
        self.policy = without
        self.is_boosted = False
        return True

    def _refit(self, window: Audits) -> bool:
        self._trust.look(window)
        examples = self._trust.judged(window, self.fuser)
        self.n_refits += 1
        number = self.n_refits
        # What was learned from fewer of the same items needs no comparison.
        new = (
            self.recipe.fit(examples, number)
            if self._is_of_window
            else self.recipe.improve(self.policy, examples, number)
        )
        self._n_since, self._n_last = 0, len(window)
        if new is None:
            return False
        self.policy = Among(policy=new, known=window.recording.providers)
        self._is_of_window, self._earlier = True, EarlierItems()
        return True
