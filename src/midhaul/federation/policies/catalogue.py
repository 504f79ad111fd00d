"""All policies by name: how each is learned, read back, and what it needs.

Nothing is imported before it is used, so that names can be listed with the core alone.

How each policy of the catalogue is learned, settings given by name.

Modules are imported where they are used: names can then be listed without them.
"""

from __future__ import annotations

import difflib
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from midhaul.errors import ConfigError, DataError, require

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    import numpy as np

    from midhaul.federation.policies.armol.training import Probe
    from midhaul.federation.policies.base import Examples, PolicyFamily, SubsetPolicy

    Policy = SubsetPolicy | PolicyFamily
    Told = Mapping[str, Any]
    Watched = tuple[Callable[[int], object] | None, Probe | None]
    from collections.abc import Callable, Mapping

    from midhaul.federation.policies.base import (
        PolicyFamily,
        SubsetPolicy,
    )

    Progress = Callable[[int], object]
    """Told how many steps were taken since it was last told."""

# ruff: noqa: PLC0415


def fit_named(
    name: str,
    examples: Examples,
    told: Told,
    rng: np.random.Generator,
    calibration: Examples | None,
    watched: Watched,
) -> Policy:
    """Learn a policy of the catalogue; see :func:`catalogue.fit_policy`.

    Raises:
        ConfigError: a setting has a value that it cannot have.
    """
    try:
        if name in _SIMPLE:
            return _SIMPLE[name](examples, told)
        if name in _LEARNERS:
            return _fit_learner(name, examples, told, rng, calibration, watched)
        return _LEARNED[name](examples, told, rng)
    except (TypeError, ValueError) as error:
        if not told:
            raise
        message = f"policy {name} cannot be learned with {dict(told)}: {error}"
        raise ConfigError(message) from error


def _single(examples: Examples, told: Told) -> Policy:
    from midhaul.federation.policies.baselines import best_single, single_policies

    recording = examples.recording
    provider = told.get("provider", "")
    if provider == "":
        provider = best_single(recording, examples.fuser)
    if isinstance(provider, int):
        if not 0 <= provider < recording.n_providers:
            message = f"no provider {provider}; there are {recording.n_providers}"
            raise DataError(message)
        provider = recording.providers[provider]
    recording.only([provider])
    return single_policies(recording)[recording.providers.index(provider)]


def _random_one(examples: Examples, told: Told) -> Policy:
    from midhaul.federation.policies.baselines import RandomOne

    del examples, told
    return RandomOne()


def _random_subset(examples: Examples, told: Told) -> Policy:
    from midhaul.federation.policies.baselines import RandomSubset

    del examples, told
    return RandomSubset()


def _ensemble(examples: Examples, told: Told) -> Policy:
    from midhaul.federation.policies.baselines import ensemble_policy

    del told
    return ensemble_policy(examples.recording)


def _subset(examples: Examples, told: Told) -> Policy:
    from midhaul.federation.policies.baselines import subset_policy

    return subset_policy(examples.recording, tuple(told.get("providers", ())))


def _fixed(examples: Examples, told: Told) -> Policy:
    from midhaul.federation.policies.baselines import fit_fixed

    del told
    return fit_fixed(examples)


def _chord(examples: Examples, told: Told) -> Policy:
    from midhaul.federation.policies.baselines import fit_fixed
    from midhaul.federation.policies.mixed import chord

    if "budget_usd" not in told:
        message = "the chord needs the setting budget_usd, a mean price of an item"
        raise ConfigError(message)
    return chord(fit_fixed(examples), float(told["budget_usd"]))


def _oracle(examples: Examples, told: Told) -> Policy:
    from midhaul.federation.policies.baselines import fit_oracle

    del told
    return fit_oracle(examples)


def _confidence(examples: Examples, told: Told) -> Policy:
    from midhaul.federation.policies.confidence import fit_confidence

    del told
    return fit_confidence(examples)


def _frugal(examples: Examples, told: Told) -> Policy:
    from midhaul.federation.policies.frugal import FrugalSettings, fit_frugal

    return fit_frugal(examples, FrugalSettings(**told))


def _frugal_qs(examples: Examples, told: Told) -> Policy:
    return _frugal(examples, {"is_by_label": False, **told})


def _frugal_mct(examples: Examples, told: Told) -> Policy:
    from midhaul.federation.policies.frugal_mct import FrugalMctSettings, fit_frugal_mct

    return fit_frugal_mct(examples, FrugalMctSettings(**told))


def _linucb(examples: Examples, told: Told, rng: np.random.Generator) -> Policy:
    from midhaul.federation.policies.linucb import LinUcbSettings, fit_linucb

    return fit_linucb(examples, LinUcbSettings(**told), rng)


def _linucb_first(examples: Examples, told: Told, rng: np.random.Generator) -> Policy:
    return _linucb(examples, {"base": "cheapest", **told}, rng)


def _cascade(examples: Examples, told: Told, rng: np.random.Generator) -> Policy:
    require("sklearn", "federation")
    from midhaul.federation.policies.cascade.cascade import CascadeSettings, fit_cascade

    return fit_cascade(examples, CascadeSettings(**told), rng)


def _fit_learner(
    name: str,
    examples: Examples,
    told: Told,
    rng: np.random.Generator,
    calibration: Examples | None,
    watched: Watched,
) -> Policy:
    require("torch", "learn")
    from midhaul.federation.policies.after_first import AfterFirstPolicy, FirstAnswer
    from midhaul.federation.policies.armol.ppo import fit_ppo
    from midhaul.federation.policies.armol.presets import preset
    from midhaul.federation.policies.armol.sac import fit_sac
    from midhaul.federation.policies.armol.td3 import fit_td3

    progress, probe = watched
    n_steps = told.get("n_steps")
    settings: Any = preset(name, told.get("preset", "corrected"), n_steps)
    course = replace(settings.course, device=told.get("device", "cpu"))
    settings = replace(settings, course=course)
    fit: Any = {"sac": fit_sac, "td3": fit_td3, "ppo": fit_ppo}[name]
    watching = {"progress": progress, "probe": probe}
    with _one_thread():
        if not told.get("first"):
            return fit(examples, settings, rng, calibration=calibration, **watching)
        first = FirstAnswer(provider=told["first"])
        inner = fit(
            first.widened(examples),
            settings,
            rng,
            always=first.mask(examples.recording),
            calibration=None if calibration is None else first.widened(calibration),
            **watching,
        )
    return AfterFirstPolicy(first=first, inner=inner)


@contextmanager
def _one_thread() -> Generator[None]:
    """Products of small matrices take longer when threads wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


_LEARNERS = ("sac", "td3", "ppo")

_SIMPLE: dict[str, Callable[[Examples, Told], Policy]] = {
    "single": _single,
    "random-1": _random_one,
    "random-n": _random_subset,
    "ensemble-n": _ensemble,
    "subset": _subset,
    "fixed": _fixed,
    "chord": _chord,
    "oracle": _oracle,
    "confidence": _confidence,
    "frugal": _frugal,
    "frugal-qs": _frugal_qs,
    "frugal-mct": _frugal_mct,
}

_LEARNED: dict[str, Callable[[Examples, Told, np.random.Generator], Policy]] = {
    "linucb": _linucb,
    "linucb-first": _linucb_first,
    "cascade": _cascade,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyEntry:
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

CATALOGUE: tuple[PolicyEntry, ...] = (
    PolicyEntry(
        name="single",
        description="one provider, the best of the training items unless it is given",
        settings=("provider",),
    ),
    PolicyEntry(name="random-1", description="one provider, drawn for each item"),
    PolicyEntry(name="random-n", description="a subset, drawn for each item"),
    PolicyEntry(name="ensemble-n", description="everybody"),
    PolicyEntry(name="subset", description="a given subset", settings=("providers",)),
    PolicyEntry(name="fixed", description="the best fixed subset", is_family=True),
    PolicyEntry(
        name="chord",
        description="fixed subsets, mixed by chance to a price",
        settings=("budget_usd",),
    ),
    PolicyEntry(
        name="oracle",
        description="upper bound: the best subset for each item, by its truth",
        is_family=True,
        knows_truth=True,
    ),
    PolicyEntry(
        name="confidence",
        description="one after another until one is sure",
        is_family=True,
    ),
    PolicyEntry(
        name="frugal",
        description="FrugalML: a base, then by label a threshold and an add-on",
        is_family=True,
        settings=_FRUGAL,
    ),
    PolicyEntry(
        name="frugal-qs",
        description="FrugalML with one threshold for all labels",
        is_family=True,
        settings=_FRUGAL,
    ),
    PolicyEntry(
        name="frugal-mct",
        description="FrugalMCT: a base, then the add-on that is predicted to pay",
        is_family=True,
        settings=("base", "ridge"),
    ),
    PolicyEntry(
        name="linucb",
        description="LinUCB: a bandit that learns from what it asks",
        is_family=True,
        settings=_LINUCB,
    ),
    PolicyEntry(
        name="linucb-first",
        description="LinUCB after the answer of the cheapest provider",
        is_family=True,
        settings=_LINUCB,
    ),
    PolicyEntry(
        name="cascade",
        description="ours: predicts what each continuation brings",
        is_family=True,
        settings=("target", "round_quality", "n_states", "n_folds", "n_trees"),
    ),
    PolicyEntry(
        name="sac",
        description="Armol's soft actor-critic",
        settings=_LEARNER,
        extra="learn",
    ),
    PolicyEntry(
        name="td3",
        description="Armol's twin delayed policy gradient",
        settings=_LEARNER,
        extra="learn",
    ),
    PolicyEntry(
        name="ppo",
        description="Armol's proximal policy optimisation",
        settings=_LEARNER,
        extra="learn",
    ),
)


def entry_named(name: str) -> PolicyEntry:
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
