"""Saved policies: from the state that one gave of itself to the policy again."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from midhaul.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from midhaul.federation.npz_state import State
    from midhaul.federation.policies.base import (
        SavedPolicy,
    )

    Progress = Callable[[int], object]
    """Told how many steps were taken since it was last told."""

_HERE = "midhaul.federation.policies"

_READERS = {
    "nobody": "mixed:NobodyPolicy",
    "mixed": "mixed:MixedPolicy",
    "random-1": "baselines:RandomOne",
    "random-n": "baselines:RandomSubset",
    "fixed": "baselines:FixedPolicy",
    "table": "baselines:TablePolicy",
    "confidence": "confidence:ConfidenceCascade",
    "frugal": "frugal:FrugalPolicy",
    "frugal-mct": "frugal_mct:FrugalMctPolicy",
    "linucb": "linucb:LinUcb",
    "cascade": "cascade.policy:CascadePolicy",
    "actor": "armol.actor_policy:ActorPolicy",
    "after-first": "after_first:AfterFirstPolicy",
    "online": "online.online:OnlineRefit",
}
"""Class of each kind of state."""


def policy_from_state(state: State) -> SavedPolicy:
    """What a policy's ``state()`` gave.

    Raises:
        DataError: the state is of no policy that is known.
    """
    kind = state.get("policy")
    if not isinstance(kind, str) or kind not in _READERS:
        message = f"a saved policy is of one of the kinds {', '.join(_READERS)}"
        raise DataError(message, f"found {kind!r}")
    module, _, of_class = _READERS[kind].partition(":")
    place = importlib.import_module(f"{_HERE}.{module}")
    policy_class: Any = getattr(place, of_class)
    return policy_class.from_state(state)
