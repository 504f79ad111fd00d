"""Saved policies: from the state that one gave of itself to the policy again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from midhaul.errors import DataError
from midhaul.registry import Registry

if TYPE_CHECKING:
    from midhaul.federation.npz_state import State
    from midhaul.federation.policies.base import SavedPolicy

_HERE = "midhaul.federation.policies"

SAVED_POLICIES: Registry[Any] = Registry(
    "kind of saved policy",
    {
        "nobody": f"{_HERE}.mixed:NobodyPolicy",
        "mixed": f"{_HERE}.mixed:MixedPolicy",
        "random-1": f"{_HERE}.baselines:RandomOne",
        "random-n": f"{_HERE}.baselines:RandomSubset",
        "fixed": f"{_HERE}.baselines:FixedPolicy",
        "table": f"{_HERE}.baselines:TablePolicy",
        "confidence": f"{_HERE}.confidence:ConfidenceCascade",
        "frugal": f"{_HERE}.frugal:FrugalPolicy",
        "frugal-mct": f"{_HERE}.frugal_mct:FrugalMctPolicy",
        "linucb": f"{_HERE}.linucb:LinUcb",
        "cascade": f"{_HERE}.cascade.policy:CascadePolicy",
        "actor": f"{_HERE}.armol.actor_policy:ActorPolicy",
        "after-first": f"{_HERE}.after_first:AfterFirstPolicy",
        "online": f"{_HERE}.online.online:OnlineRefit",
    },
    error=DataError,
)
"""Class of each kind of state."""


def policy_from_state(state: State) -> SavedPolicy:
    """What a policy's ``state()`` gave; DataError where no policy is known that did."""
    return SAVED_POLICIES.named(state.get("policy")).from_state(state)
