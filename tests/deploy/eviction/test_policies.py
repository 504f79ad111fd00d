"""Every eviction policy: the protocol, and what is its own."""

from __future__ import annotations

import numpy as np
import pytest

from midhaul.deploy.eviction.checks import check_policy, check_victims, made_up_store
from midhaul.deploy.eviction.policies import ValuePerByte
from midhaul.deploy.eviction.replay import FarthestNextUse, Need
from midhaul.deploy.plan.choices import EVICTIONS, eviction_named
from midhaul.deploy.problem import ContainerImage, Layer
from midhaul.deploy.store.store_index import StoreState, with_image, with_use
from midhaul.errors import ConfigError


def layer(digest: str, n: int = 10, ratio: int = 1) -> Layer:
    """A small layer."""
    return Layer(digest=digest, compressed_bytes=n, uncompressed_bytes=n * ratio)


def image(name: str, *digests: str) -> ContainerImage:
    """An image of small layers."""
    return ContainerImage(name=name, layers=tuple(layer(d) for d in digests))


def three_images() -> StoreState:
    """Three images on one base, pulled at 0, 1 and 2 s; the second one twice."""
    state = StoreState()
    for now_s, name in enumerate(["old", "often", "new"]):
        state = with_image(
            state, image(name, "base", f"{name}-low", f"{name}-top"), now_s
        )
    often = image("often", "base", "often-low", "often-top")
    return with_image(state, often, 1.0)


@pytest.mark.parametrize("name", sorted(EVICTIONS))
def test_every_policy_keeps_the_protocol(name: str) -> None:
    """Policies free what is asked, nothing in use, each layer once."""
    check_policy(eviction_named(name), np.random.default_rng(1))


def test_the_policy_that_knows_the_future_keeps_the_protocol() -> None:
    """Belady's rule is a policy like the others."""
    pool = {f"image-{i}": image(f"image-{i}", f"layer-{i}") for i in range(5)}
    needs = [Need(image=name, begin_s=2e6, end_s=2e6) for name in pool]
    check_policy(FarthestNextUse(needs, pool), np.random.default_rng(2))


@pytest.mark.parametrize(
    ("name", "first"),
    [("lru", "old"), ("mru", "new"), ("lfu", "new"), ("mfu", "often")],
)
def test_images_go_in_the_order_of_their_pulls(name: str, first: str) -> None:
    """The four rules choose by time or number of pulls, top layer first."""
    victims = eviction_named(name).victims(
        three_images(), n_bytes=15, kept=frozenset(), now_s=9.0
    )
    assert victims == (f"{first}-top", f"{first}-low")


def test_a_shared_layer_goes_with_the_last_image_that_has_it() -> None:
    """Reference counts keep the base until nobody needs it."""
    policy = eviction_named("lru")
    state = three_images()
    victims = policy.victims(state, n_bytes=1e9, kept=frozenset(), now_s=9.0)
    assert victims[-1] == "base"
    assert len(victims) == 7
    some = policy.victims(state, n_bytes=1e9, kept=frozenset({"new-low"}), now_s=9.0)
    assert set(some) == set(victims) - {"new-low"}


def test_an_image_is_cut_where_enough_is_free() -> None:
    """The rest of the image stays, and the next eviction goes on there."""
    victims = eviction_named("lru").victims(
        three_images(), n_bytes=10, kept=frozenset(), now_s=9.0
    )
    assert victims == ("old-top",)


def test_layer_lru_goes_by_use_and_not_by_pull() -> None:
    """An image that was pulled first and used last stays."""
    state = with_use(three_images(), "old", 5.0)
    victims = eviction_named("layer-lru").victims(
        state, n_bytes=40, kept=frozenset(), now_s=9.0
    )
    assert {victim.partition("-")[0] for victim in victims} == {"often", "new"}


def test_value_per_byte_prefers_what_is_cheap_to_pull_again() -> None:
    """Of two layers that are as large on disk, the better compressed one goes."""
    small = ContainerImage(name="small", layers=(layer("small", 10, ratio=4),))
    large = ContainerImage(name="large", layers=(layer("large", 40),))
    state = with_image(with_image(StoreState(), small, 0.0), large, 0.0)
    victims = ValuePerByte().victims(state, n_bytes=1, kept=frozenset(), now_s=9.0)
    assert victims == ("small",)


def test_value_per_byte_keeps_what_is_used() -> None:
    """A layer that was used more often stays longer."""
    state = with_image(StoreState(), image("idle", "idle"), 0.0)
    state = with_image(state, image("busy", "busy"), 0.0)
    for now_s in range(5):
        state = with_use(state, "busy", float(now_s))
    victims = ValuePerByte().victims(state, n_bytes=1, kept=frozenset(), now_s=9.0)
    assert victims == ("idle",)


class Greedy:
    """A policy that deletes all there is."""

    name = "greedy"

    def victims(
        self, state: StoreState, *, n_bytes: float, kept: frozenset[str], now_s: float
    ) -> tuple[str, ...]:
        """Everything, in use or not."""
        del n_bytes, kept, now_s
        return tuple(state.layers)


def test_the_suite_finds_a_policy_that_deletes_too_much() -> None:
    """A policy that ignores holds is refused, and the rule is named."""
    with pytest.raises(ValueError, match="greedy: "):
        check_policy(Greedy(), np.random.default_rng(0))
    state = made_up_store(np.random.default_rng(0))
    with pytest.raises(ValueError, match="more than is needed"):
        check_victims(Greedy(), state.__class__(layers=state.layers), frozenset(), 0.0)


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    """Somebody who misspells a policy is told all names."""
    with pytest.raises(ConfigError, match="value-per-byte"):
        eviction_named("lur")
