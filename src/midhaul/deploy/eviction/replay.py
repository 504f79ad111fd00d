"""A disk for layers under a sequence of needs: what is pulled, under which policy.

A need is an image that is used from one time to another; its layers are held then. It
is refused where it does not fit beside what is held, whatever the policy. Who is
refused does therefore not depend on the policy, and policies can be compared by the
bytes that they pull.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from midhaul.deploy.store.store_index import (
    StoreState,
    holding,
    with_image,
    with_use,
    without,
)
from midhaul.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midhaul.deploy.eviction.base import EvictionPolicy
    from midhaul.deploy.problem import ContainerImage


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """An image that is used for some time.

    Attributes:
        image: its name.
        begin_s: from when it is held; its missing layers are pulled at that moment.
        end_s: until when.

    Raises:
        DataError: it ends before it begins.
    """

    image: str
    begin_s: float
    end_s: float

    def __post_init__(self) -> None:
        """Check the times."""
        if not self.begin_s <= self.end_s or math.isinf(self.begin_s):
            message = (
                f"need of {self.image}: expected an end after its begin, found "
                f"{self.begin_s} to {self.end_s}"
            )
            raise DataError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvictionReplay:
    """What a policy did with a sequence of needs.

    Attributes:
        policy: its name.
        pulled_bytes: ``(n)`` compressed bytes pulled for each need, in the order in
            which they were given; 0 for those that are refused.
        is_refused: ``(n)`` true where an image did not fit.
        asked_bytes: compressed bytes of all images that were not refused.
        deleted_bytes: uncompressed bytes deleted.
        peak_bytes: most uncompressed bytes on the disk at any time.
    """

    policy: str
    pulled_bytes: tuple[int, ...]
    is_refused: tuple[bool, ...]
    asked_bytes: int
    deleted_bytes: int
    peak_bytes: int

    @property
    def hit_rate(self) -> float:
        """Share of the asked bytes that were not pulled; 1 when nothing was asked."""
        if not self.asked_bytes:
            return 1.0
        return 1 - sum(self.pulled_bytes) / self.asked_bytes


def replay(
    needs: Sequence[Need],
    images: Mapping[str, ContainerImage],
    disk_bytes: float,
    policy: EvictionPolicy,
    *,
    high_water: float = 0.8,
    low_water: float = 0.6,
) -> EvictionReplay:
    """Serve needs one after the other from a disk that is empty at first.

    Args:
        needs: in any order; served by their begins.
        images: container images by name.
        disk_bytes: uncompressed bytes that it has.
        policy: says which layers go.
        high_water: share of the disk beyond which layers are deleted.
        low_water: share of the disk down to which they are.
    """
    accepted = fitting(needs, images, disk_bytes)
    pulled = [0] * len(needs)
    store, active = StoreState(), list[Need]()
    asked = deleted = peak = 0
    for number in in_order(needs):
        need = needs[number]
        if not accepted[number]:
            continue
        for ended in [n for n in active if n.end_s <= need.begin_s]:
            active.remove(ended)
            store = with_use(store, ended.image, ended.end_s, n_new=0)
        store = holding(store, images, [n.image for n in active])
        image = images[need.image]
        missing = [x for x in image.layers if x.digest not in store.layers]
        after = store.uncompressed_bytes + sum(x.uncompressed_bytes for x in missing)
        if after > high_water * disk_bytes:
            victims = policy.victims(
                store,
                n_bytes=after - low_water * disk_bytes,
                kept=frozenset(layer.digest for layer in image.layers),
                now_s=need.begin_s,
            )
            deleted += sum(store.layers[d].uncompressed_bytes for d in victims)
            store = without(store, victims)
        pulled[number] = sum(layer.compressed_bytes for layer in missing)
        asked += image.compressed_bytes
        if missing or need.image not in store.images:
            store = with_image(store, image, need.begin_s)
        store = with_use(store, need.image, need.begin_s)
        peak = max(peak, store.uncompressed_bytes)
        active.append(need)
    return EvictionReplay(
        policy=policy.name,
        pulled_bytes=tuple(pulled),
        is_refused=tuple(not fits for fits in accepted),
        asked_bytes=asked,
        deleted_bytes=deleted,
        peak_bytes=peak,
    )


def in_order(needs: Sequence[Need]) -> list[int]:
    """Numbers of the needs in the order in which they are served."""
    return sorted(range(len(needs)), key=lambda number: needs[number].begin_s)


def fitting(
    needs: Sequence[Need], images: Mapping[str, ContainerImage], disk_bytes: float
) -> list[bool]:
    """Whether each need fits beside what is held when it comes.

    Raises:
        DataError: an image is not known.
    """
    accepted = [False] * len(needs)
    active: list[Need] = []
    for number in in_order(needs):
        need = needs[number]
        if need.image not in images:
            message = f"need of {need.image}: not among the {len(images)} images"
            raise DataError(message)
        active = [n for n in active if n.end_s > need.begin_s]
        names = {need.image, *(n.image for n in active)}
        layers = {x.digest: x for name in names for x in images[name].layers}
        if sum(x.uncompressed_bytes for x in layers.values()) <= disk_bytes:
            accepted[number] = True
            active.append(need)
    return accepted
