"""Catalogue of policies by name: how each is learned, and what it needs.

Nothing is imported before it is used, so that names can be listed with the core alone.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from midhaul.errors import ConfigError
from midhaul.registry import Entry, Registry, imported

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    import numpy as np

    from midhaul.federation.policies.armol.training import Probe
    from midhaul.federation.policies.base import Examples, PolicyFamily, SubsetPolicy

    Policy = SubsetPolicy | PolicyFamily
    Progress = Callable[[int], object]
    """Told how many steps were taken since it was last told."""

_HERE = "midhaul.federation.policies"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyEntry:
    """A policy that can be learned by name.

    Attributes:
        name: in experiment files and tables.
        description: what it does, in a line.
        fit: the function that learns it from examples, in this package.
        told_as: class of the settings that the function takes, in this package; where
            empty, it takes them one by one.
        has_chance: whether it takes a source of chance as well.
        preset: settings that are not the function's own.
        is_family: whether learning gives one policy for every exchange rate, which
            :func:`midhaul.federation.policies.budgets.calibrate` brings to a budget.
        knows_truth: whether it has to be learned on the items it is judged on: a bound,
            not a policy.
        settings: keys that it can be told, each with what it means.
        library: what learning imports late.
        extra: of midhaul, that brings it.
    """

    name: str
    description: str
    fit: str
    told_as: str = ""
    has_chance: bool = False
    preset: Mapping[str, Any] = field(default_factory=dict[str, Any])
    is_family: bool = False
    knows_truth: bool = False
    settings: tuple[str, ...] = ()
    library: str = ""
    extra: str = "federation"


_LEARNER = ("preset", "n_steps", "first", "device")
_FRUGAL = ("is_by_label", "base", "min_support")
_LINUCB = ("alpha", "discount", "is_shared", "base", "batch", "n_passes")

CATALOGUE: tuple[PolicyEntry, ...] = (
    PolicyEntry(
        name="single",
        fit="baselines:fit_single",
        description="one provider, the best of the training items unless it is given",
        settings=("provider",),
    ),
    PolicyEntry(
        name="random-1",
        fit="baselines:fit_random_one",
        description="one provider, drawn for each item",
    ),
    PolicyEntry(
        name="random-n",
        fit="baselines:fit_random_subset",
        description="a subset, drawn for each item",
    ),
    PolicyEntry(
        name="ensemble-n", fit="baselines:fit_ensemble", description="everybody"
    ),
    PolicyEntry(
        name="subset",
        fit="baselines:fit_subset",
        description="a given subset",
        settings=("providers",),
    ),
    PolicyEntry(
        name="fixed",
        fit="baselines:fit_fixed",
        description="the best fixed subset",
        is_family=True,
    ),
    PolicyEntry(
        name="chord",
        fit="budgets:fit_chord",
        description="fixed subsets, mixed by chance to a price",
        settings=("budget_usd",),
    ),
    PolicyEntry(
        name="oracle",
        fit="baselines:fit_oracle",
        description="upper bound: the best subset for each item, by its truth",
        is_family=True,
        knows_truth=True,
    ),
    PolicyEntry(
        name="confidence",
        fit="confidence:fit_confidence",
        description="one after another until one is sure",
        is_family=True,
    ),
    PolicyEntry(
        name="frugal",
        fit="frugal:fit_frugal",
        told_as="frugal:FrugalSettings",
        description="FrugalML: a base, then by label a threshold and an add-on",
        is_family=True,
        settings=_FRUGAL,
    ),
    PolicyEntry(
        name="frugal-qs",
        fit="frugal:fit_frugal",
        told_as="frugal:FrugalSettings",
        preset={"is_by_label": False},
        description="FrugalML with one threshold for all labels",
        is_family=True,
        settings=_FRUGAL,
    ),
    PolicyEntry(
        name="frugal-mct",
        fit="frugal_mct:fit_frugal_mct",
        told_as="frugal_mct:FrugalMctSettings",
        description="FrugalMCT: a base, then the add-on that is predicted to pay",
        is_family=True,
        settings=("base", "ridge"),
    ),
    PolicyEntry(
        name="linucb",
        fit="linucb:fit_linucb",
        told_as="linucb:LinUcbSettings",
        has_chance=True,
        description="LinUCB: a bandit that learns from what it asks",
        is_family=True,
        settings=_LINUCB,
    ),
    PolicyEntry(
        name="linucb-first",
        fit="linucb:fit_linucb",
        told_as="linucb:LinUcbSettings",
        has_chance=True,
        preset={"base": "cheapest"},
        description="LinUCB after the answer of the cheapest provider",
        is_family=True,
        settings=_LINUCB,
    ),
    PolicyEntry(
        name="cascade",
        fit="cascade.cascade:fit_cascade",
        told_as="cascade.cascade:CascadeSettings",
        has_chance=True,
        library="sklearn",
        description="ours: predicts what each continuation brings",
        is_family=True,
        settings=("target", "round_quality", "n_states", "n_folds", "n_trees"),
    ),
    PolicyEntry(
        name="sac",
        fit="armol.sac:fit_sac",
        library="torch",
        description="Armol's soft actor-critic",
        settings=_LEARNER,
        extra="learn",
    ),
    PolicyEntry(
        name="td3",
        fit="armol.td3:fit_td3",
        library="torch",
        description="Armol's twin delayed policy gradient",
        settings=_LEARNER,
        extra="learn",
    ),
    PolicyEntry(
        name="ppo",
        fit="armol.ppo:fit_ppo",
        library="torch",
        description="Armol's proximal policy optimisation",
        settings=_LEARNER,
        extra="learn",
    ),
)


_ENTRIES = {entry.name: entry for entry in CATALOGUE}

POLICIES: Registry[Callable[..., Policy]] = Registry(
    "policy",
    {
        name: Entry(
            place=f"{_HERE}.{one.fit}",
            needs=((one.library, one.extra),) if one.library else (),
        )
        for name, one in _ENTRIES.items()
    },
)
"""What learns each."""


def entry_named(name: str) -> PolicyEntry:
    """The entry of a policy; ConfigError where there is none of that name."""
    POLICIES.entry(name)
    return _ENTRIES[name]


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
    try:
        if entry.extra == "learn":
            watching = {"progress": progress, "probe": probe}
            return _fit_learner(name, examples, told, rng, calibration, **watching)
        return _fit_at_once(entry, examples, told, rng)
    except (TypeError, ValueError) as error:
        if not told:
            raise
        message = f"policy {name} cannot be learned with {told}: {error}"
        raise ConfigError(message) from error


def _fit_at_once(
    entry: PolicyEntry,
    examples: Examples,
    told: Mapping[str, Any],
    rng: np.random.Generator,
) -> Policy:
    fit: Any = POLICIES.named(entry.name)
    told = {**entry.preset, **told}
    if not entry.told_as:
        return fit(examples, **told)
    settings = imported(f"{_HERE}.{entry.told_as}")(**told)
    return fit(examples, settings, *([rng] if entry.has_chance else []))


def _fit_learner(
    name: str,
    examples: Examples,
    told: Mapping[str, Any],
    rng: np.random.Generator,
    calibration: Examples | None,
    **watching: object,
) -> Policy:
    fit: Any = POLICIES.named(name)
    from midhaul.federation.policies.answer_features import (  # noqa: PLC0415 - torch
        AfterFirstPolicy,
        FirstAnswer,
    )
    from midhaul.federation.policies.armol.presets import preset  # noqa: PLC0415

    n_steps = told.get("n_steps")
    settings: Any = preset(name, told.get("preset", "corrected"), n_steps)
    course = replace(settings.course, device=told.get("device", "cpu"))
    settings = replace(settings, course=course)
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
    import torch  # noqa: PLC0415

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
