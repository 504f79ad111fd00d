"""Tests of names: each is registered once, and all that is registered is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import pytest

from midhaul.deploy.plan import choices
from midhaul.deploy.plan.config import PlanConfig
from midhaul.errors import ConfigError, DataError, PrerequisiteError
from midhaul.federation import fusion
from midhaul.federation.features.base import extractor_of
from midhaul.federation.policies.base import SAVED_POLICIES, policy_from_state
from midhaul.federation.policies.catalogue import POLICIES
from midhaul.federation.providers.catalogue import PROVIDERS
from midhaul.federation.recordings import layouts
from midhaul.registry import Entry, Registry, imported
from midhaul.vision.detectors.detector import RUNTIMES

if TYPE_CHECKING:
    from collections.abc import Callable

REGISTRIES = (
    RUNTIMES,
    POLICIES,
    SAVED_POLICIES,
    PROVIDERS,
    layouts.LAYOUTS,
    choices.PLACERS,
    choices.ALLOCATORS,
    choices.EVICTIONS,
    choices.JOINT_PLANNERS,
)


NOT_IN_CI = {"openvino"}
"""What needs a library that the tests do not install."""


@pytest.mark.parametrize(
    ("registry", "name"),
    [(registry, name) for registry in REGISTRIES for name in registry],
)
def test_all_that_is_registered_is_there(registry: Registry[Any], name: str) -> None:
    """Under its name, unless a library of an extra is missing."""
    try:
        found = registry.named(name)
    except PrerequisiteError:
        at_hand = name in NOT_IN_CI
        pytest.skip("tried where at hand" if at_hand else "a library is not installed")
    assert found is not None
    assert found is imported(registry[name].place)


def test_a_name_gives_its_thing_what_it_can_be_told() -> None:
    """What it is told always, of the rest only its options."""
    registry: Registry[Callable[..., dict[str, int]]] = Registry(
        "dictionary",
        {
            "two": Entry(place=dict, options=("a",), fixed={"b": 2}),
            "one": "builtins:dict",
        },
    )
    assert registry.called("two", a=1, c=3) == {"a": 1, "b": 2}
    assert registry.called("one", a=1) == {}
    assert registry.names == ("two", "one")


def test_an_unknown_name_is_told_with_what_was_meant() -> None:
    """By the error of the registry, with the text that it stood in."""
    registry: Registry[Any] = Registry("thing", {"alpha": dict, "beta": dict})
    with pytest.raises(ConfigError, match="thing 'alhpa' in 'alhpa:1'; did") as near:
        registry.entry("alhpa", "alhpa:1")
    assert near.value.message.endswith("did you mean 'alpha'?")
    with pytest.raises(ConfigError, match="unknown thing None\n") as far:
        registry.named(None)
    assert far.value.hint == near.value.hint == "choose one of: alpha, beta"


@pytest.mark.parametrize(
    "read", [policy_from_state, fusion.fuser_from_state, extractor_of]
)
def test_saved_things_of_no_kind_are_bad_data(read: Callable[..., object]) -> None:
    """The message lists what there is."""
    with pytest.raises(DataError, match="unknown kind of") as told:
        read({"policy": 3, "fuser": 3, "kind": 3})
    assert "choose one of" in told.value.hint


def test_configs_take_the_names_that_are_registered() -> None:
    """A plan takes all but the baselines of the simulation; these are for it alone."""
    names: Any = vars(choices)
    assert get_args(names["PlacerName"]) == choices.PLACERS.names
    assert get_args(names["EvictionName"]) == choices.EVICTIONS.names
    assert set(choices.ALLOCATORS) - set(get_args(names["PlanAllocatorName"])) == {
        "raa-as-coded"
    }
    for placer in get_args(names["PlanPlacerName"]):
        for allocator in get_args(names["PlanAllocatorName"]):
            planner = f"{placer}+{allocator}"
            assert PlanConfig(planners=(planner,)).planners == (planner,)
    for other in (
        "nowhere+exact",
        "mincut+raa-as-coded",
        "mincut",
        "mincut+exact+even",
    ):
        with pytest.raises(ConfigError, match="expected joint or PLACER"):
            PlanConfig(planners=(other,))
