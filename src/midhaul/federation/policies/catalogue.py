"""All policies by name: how each is learned, read back, and what it needs.

Nothing is imported before it is used, so that names can be listed with the core alone.
"""

from __future__ import annotations

import difflib
import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from midhaul.errors import ConfigError, DataError
from midhaul.federation.policies.fitting import fit_named

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np

    from midhaul.federation.policies.base import (
        Examples,
        PolicyFamily,
        SavedPolicy,
        SubsetPolicy,
    )
    from midhaul.federation.policies.training import Probe
    from midhaul.federation.saving import State

    Progress = Callable[[int], object]
    """Told how many steps were taken since it was last told."""

_HERE = "midhaul.federation.policies"

_READERS = {
    "nobody": "mixed:NobodyPolicy",
    "mixed": "mixed:MixedPolicy",
    "random-1": "random_subsets:RandomOne",
    "random-n": "random_subsets:RandomSubset",
    "fixed": "fixed:FixedPolicy",
    "table": "oracle:TablePolicy",
    "confidence": "confidence:ConfidenceCascade",
    "frugal": "frugal:FrugalPolicy",
    "frugal-mct": "frugal_mct:FrugalMctPolicy",
    "linucb": "linucb:LinUcb",
    "cascade": "cascade:CascadePolicy",
    "actor": "actors:ActorPolicy",
    "after-first": "midhaul.federation.features.first_answer:AfterFirstPolicy",
    "online": "online:OnlineRefit",
}
"""Class of each kind of state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A policy that can be learned by name.

    Attributes:
        name: in experiment files and tables.
        description: what it does, in a line.
        is_family: whether learning gives one policy for every exchange rate, which
            :func:`midhaul.federation.policies.budgets.calibrate` brings to a budget.
        knows_truth: whether it has to be learned on the items it is judged on: a bound,
            not a policy.
        settings: keys that it can be told, each with what it means.
        extra: of midhaul, that it needs to be learned.
    """

    name: str
    description: str
    is_family: bool = False
    knows_truth: bool = False
    settings: tuple[str, ...] = ()
    extra: str = "federation"


_LEARNER = ("preset", "n_steps", "first", "device")
_FRUGAL = ("is_by_label", "base", "min_support")
_LINUCB = ("alpha", "discount", "is_shared", "base", "batch", "n_passes")

CATALOGUE: tuple[Entry, ...] = (
    Entry(
        name="single",
        description="one provider, the best of the training items unless it is given",
        settings=("provider",),
    ),
    Entry(name="random-1", description="one provider, drawn for each item"),
    Entry(name="random-n", description="a subset, drawn for each item"),
    Entry(name="ensemble-n", description="everybody"),
    Entry(name="subset", description="a given subset", settings=("providers",)),
    Entry(name="fixed", description="the best fixed subset", is_family=True),
    Entry(
        name="chord",
        description="fixed subsets, mixed by chance to a price",
        settings=("budget_usd",),
    ),
    Entry(
        name="oracle",
        description="upper bound: the best subset for each item, by its truth",
        is_family=True,
        knows_truth=True,
    ),
    Entry(
        name="confidence",
        description="one after another until one is sure",
        is_family=True,
    ),
    Entry(
        name="frugal",
        description="FrugalML: a base, then by label a threshold and an add-on",
        is_family=True,
        settings=_FRUGAL,
    ),
    Entry(
        name="frugal-qs",
        description="FrugalML with one threshold for all labels",
        is_family=True,
        settings=_FRUGAL,
    ),
    Entry(
        name="frugal-mct",
        description="FrugalMCT: a base, then the add-on that is predicted to pay",
        is_family=True,
        settings=("base", "ridge"),
    ),
    Entry(
        name="linucb",
        description="LinUCB: a bandit that learns from what it asks",
        is_family=True,
        settings=_LINUCB,
    ),
    Entry(
        name="linucb-first",
        description="LinUCB after the answer of the cheapest provider",
        is_family=True,
        settings=_LINUCB,
    ),
    Entry(
        name="cascade",
        description="ours: predicts what each continuation brings",
        is_family=True,
        settings=("target", "round_quality", "n_states", "n_folds", "n_trees"),
    ),
    Entry(
        name="sac",
        description="Armol's soft actor-critic",
        settings=_LEARNER,
        extra="learn",
    ),
    Entry(
        name="td3",
        description="Armol's twin delayed policy gradient",
        settings=_LEARNER,
        extra="learn",
    ),
    Entry(
        name="ppo",
        description="Armol's proximal policy optimisation",
        settings=_LEARNER,
        extra="learn",
    ),
)


def entry_named(name: str) -> Entry:
    """The entry of a policy.

    Raises:
        ConfigError: there is no policy of that name.
    """
    for entry in CATALOGUE:
        if entry.name == name:
            return entry
    names = [entry.name for entry in CATALOGUE]
    near = difflib.get_close_matches(name, names, 1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
    message = f"there is no policy {name!r}"
    raise ConfigError(message, hint)


def fit_policy(
    name: str,
    examples: Examples,
    settings: Mapping[str, Any] | None,
    rng: np.random.Generator,
    progress: Progress | None = None,
    *,
    calibration: Examples | None = None,
    probe: Probe | None = None,
) -> SubsetPolicy | PolicyFamily:
    """Learn a policy by name.

    Args:
        name: of its entry.
        examples: items to learn from; for an oracle those that it is judged on.
        settings: some of the entry's keys; what is absent has its default.
        rng: the only source of chance.
        progress: told how many steps a long learner took.
        calibration: other items, for learners that keep the best of several states.
        probe: shown the states of long learners while they learn; where they learn
            after a first answer, without it.

    Returns:
        A family where ``entry_named(name).is_family``, a policy otherwise.

    Raises:
        ConfigError: there is no such policy, or no such setting of it.
        DataError: the settings do not fit the recording.
        PrerequisiteError: a library is missing.
    """
    entry = entry_named(name)
    told = dict(settings or {})
    unknown = [key for key in told if key not in entry.settings]
    if unknown:
        known = ", ".join(entry.settings) or "none"
        message = f"policy {name} has no setting {unknown[0]!r}"
        raise ConfigError(message, f"its settings: {known}")
    return fit_named(name, examples, told, rng, calibration, (progress, probe))


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
    place = module if "." in module else f"{_HERE}.{module}"
    policy_class: Any = getattr(importlib.import_module(place), of_class)
    return policy_class.from_state(state)
