"""The conformance suite of EvictionPolicy: what every implementation must keep.

Run :func:`check_policy` on a policy of your own; it raises ValueError with what is
wrong. :func:`made_up_store` makes stores to try.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from midhaul.deploy.problem import ContainerImage, Layer
from midhaul.deploy.store.store_index import StoreState, with_image, with_use, without

if TYPE_CHECKING:
    import numpy as np

    from midhaul.deploy.eviction.base import EvictionPolicy


def check_policy(policy: EvictionPolicy, rng: np.random.Generator) -> None:
    """Hold a policy to the protocol on stores that are made up.

    Args:
        policy: any implementation.
        rng: draws the stores.

    Raises:
        ValueError: it breaks a rule.
    """
    if not policy.name:
        message = "a policy needs a name"
        raise ValueError(message)
    for _ in range(20):
        state = made_up_store(rng)
        digests = sorted(state.layers)
        some = rng.random(len(digests)) < rng.choice([0.0, 0.2, 1.0])
        kept = frozenset(d for d, is_kept in zip(digests, some, strict=True) if is_kept)
        for share in (0.0, 0.1, 0.5, 1.0, 2.0):
            check_victims(policy, state, kept, share * state.uncompressed_bytes)


def check_victims(
    policy: EvictionPolicy, state: StoreState, kept: frozenset[str], n_bytes: float
) -> None:
    """Hold one answer of a policy to the protocol; a ValueError says what is broken."""
    now_s = 1e6
    victims = policy.victims(state, n_bytes=n_bytes, kept=kept, now_s=now_s)
    again = policy.victims(state, n_bytes=n_bytes, kept=kept, now_s=now_s)
    chosen, present = set(victims), state.layers.keys()
    is_known = chosen <= present
    sizes = [state.layers[d].uncompressed_bytes for d in victims] if is_known else [0]
    rules = {
        "the same question must have the same answer": victims == again,
        "a layer is deleted once": len(chosen) == len(victims),
        "only present layers can be deleted": is_known,
        "a layer in use must stay": not chosen & state.held,
        "a layer that a plan needs must stay": not chosen & kept,
        "it must free enough, or all there is": sum(sizes) >= n_bytes
        or chosen == present - state.held - kept,
        "it must not free more than is needed": not victims
        or sum(sizes[:-1]) < n_bytes,
    }
    for rule, is_kept in rules.items():
        if not is_kept:
            message = f"{policy.name}: {rule}, found {victims} for {n_bytes:g} bytes"
            raise ValueError(message)


def made_up_store(rng: np.random.Generator) -> StoreState:
    """A store with shared layers, images in use, images cut short and lost layers."""
    pool = [
        Layer(
            digest=f"layer-{number}",
            compressed_bytes=int(size),
            uncompressed_bytes=int(size * rng.uniform(1, 3)),
        )
        for number, size in enumerate(rng.choice([0, 1, 1000, 10**6, 10**8], size=30))
    ]
    state, used = StoreState(), list[ContainerImage]()
    for number in range(int(rng.integers(1, 8))):
        places = rng.choice(len(pool), size=int(rng.integers(1, 9)), replace=False)
        image = ContainerImage(
            name=f"image-{number}", layers=tuple(pool[place] for place in places)
        )
        now_s = float(rng.integers(0, 1000))
        state = with_image(state, image, now_s)
        if rng.random() < 0.7:  # noqa: PLR2004 - most were used, some never
            state = with_use(state, image.name, now_s + 10)
        if rng.random() < 0.3:  # noqa: PLR2004 - some are in use
            used.append(image)
    held = frozenset(layer.digest for image in used for layer in image.layers)
    cut = [d for d in state.layers if d not in held and rng.random() < 0.2]  # noqa: PLR2004 - a few
    return replace(without(state, cut), held=held)
