"""How each policy of the catalogue is learned, settings given by name.

Modules are imported where they are used: names can then be listed without them.
"""

# ruff: noqa: PLC0415

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from midhaul.errors import ConfigError, DataError, require

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    import numpy as np

    from midhaul.federation.policies.base import Examples, PolicyFamily, SubsetPolicy
    from midhaul.federation.policies.training import Probe

    Policy = SubsetPolicy | PolicyFamily
    Told = Mapping[str, Any]
    Watched = tuple[Callable[[int], object] | None, Probe | None]


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
    from midhaul.federation.policies.fixed import best_single, single_policies

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
    from midhaul.federation.policies.random_subsets import RandomOne

    del examples, told
    return RandomOne()


def _random_subset(examples: Examples, told: Told) -> Policy:
    from midhaul.federation.policies.random_subsets import RandomSubset

    del examples, told
    return RandomSubset()


def _ensemble(examples: Examples, told: Told) -> Policy:
    from midhaul.federation.policies.fixed import ensemble_policy

    del told
    return ensemble_policy(examples.recording)


def _subset(examples: Examples, told: Told) -> Policy:
    from midhaul.federation.policies.fixed import subset_policy

    return subset_policy(examples.recording, tuple(told.get("providers", ())))


def _fixed(examples: Examples, told: Told) -> Policy:
    from midhaul.federation.policies.fixed import fit_fixed

    del told
    return fit_fixed(examples)


def _chord(examples: Examples, told: Told) -> Policy:
    from midhaul.federation.policies.chord import chord
    from midhaul.federation.policies.fixed import fit_fixed

    if "budget_usd" not in told:
        message = "the chord needs the setting budget_usd, a mean price of an item"
        raise ConfigError(message)
    return chord(fit_fixed(examples), float(told["budget_usd"]))


def _oracle(examples: Examples, told: Told) -> Policy:
    from midhaul.federation.policies.oracle import fit_oracle

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
    from midhaul.federation.policies.linucb_learning import LinUcbSettings, fit_linucb

    return fit_linucb(examples, LinUcbSettings(**told), rng)


def _linucb_first(examples: Examples, told: Told, rng: np.random.Generator) -> Policy:
    return _linucb(examples, {"base": "cheapest", **told}, rng)


def _cascade(examples: Examples, told: Told, rng: np.random.Generator) -> Policy:
    require("sklearn", "federation")
    from midhaul.federation.policies.cascade import CascadeSettings, fit_cascade

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
    from midhaul.federation.features.first_answer import AfterFirstPolicy, FirstAnswer
    from midhaul.federation.policies.ppo import fit_ppo
    from midhaul.federation.policies.presets import preset
    from midhaul.federation.policies.sac import fit_sac
    from midhaul.federation.policies.td3 import fit_td3

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
