"""The pulls of one slot, one after the other, layer by layer."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from midhaul.deploy.eviction.transitions import with_image, with_layer
from midhaul.deploy.simulate.records import Pull

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midhaul.deploy.control import State
    from midhaul.deploy.placement.base import Placement
    from midhaul.deploy.problem import ContainerImage, Layer
    from midhaul.deploy.registry.store_index import StoreState


class Puller:
    """Carries out pulls; the world asks it what comes next and when.

    Args:
        images: container images by name.
        pull_bps: rate at which layers come.
    """

    def __init__(self, images: Mapping[str, ContainerImage], pull_bps: float) -> None:
        self._images = images
        self._pull_bps = pull_bps
        self._queue: deque[Pull] = deque()
        self._current: Pull | None = None
        self._missing: deque[Layer] = deque()
        self._layer_began_s = 0.0

    @property
    def is_pulling(self) -> bool:
        """True while bytes come."""
        return self._current is not None

    @property
    def layer_ends_s(self) -> float:
        """When the layer that is coming is there."""
        size = self._missing[0].compressed_bytes
        return self._layer_began_s + size * 8 / self._pull_bps

    def plan(self, pulls: list[Pull]) -> None:
        """Take over the pulls of a new slot; the old ones were stopped."""
        self._queue.extend(pulls)

    def begin_next(
        self, now_s: float, store: StoreState, wanted: frozenset[str]
    ) -> tuple[StoreState, list[Pull]]:
        """Begin the next pull that somebody still wants.

        Args:
            now_s: the time.
            store: the disk.
            wanted: names of the analytics that are still on their way.

        Returns:
            The disk, and pulls that ended at once, as nothing was missing.
        """
        ended: list[Pull] = []
        while self._queue and self._current is None:
            pull = self._queue.popleft()
            if not wanted.intersection(pull.movers):
                pull.outcome = "skipped"
                continue
            image = self._images[pull.image]
            pull.begins_s = self._layer_began_s = now_s
            self._missing = deque(
                layer for layer in image.layers if layer.digest not in store.layers
            )
            if self._missing:
                self._current = pull
            else:
                store = self._finish(pull, now_s, store)
                ended.append(pull)
        return store, ended

    def layer_arrives(
        self, now_s: float, store: StoreState
    ) -> tuple[StoreState, Pull | None]:
        """Keep the layer that came.

        Returns:
            The disk, and the pull if that was its last layer.
        """
        pull = self._current
        if pull is None:
            return store, None
        layer = self._missing.popleft()
        store = with_layer(store, layer, now_s)
        pull.pulled_bytes += layer.compressed_bytes
        self._layer_began_s = now_s
        if self._missing:
            return store, None
        self._current = None
        return self._finish(pull, now_s, store), pull

    def stop(self, now_s: float) -> None:
        """Stop at the end of a slot; the layer that was coming is lost."""
        if self._current is not None:
            part = int((now_s - self._layer_began_s) * self._pull_bps / 8)
            part = min(part, self._missing[0].compressed_bytes)
            self._current.pulled_bytes += part
            self._current.outcome = "cut"
        for pull in self._queue:
            pull.outcome = "cut"
        self._queue.clear()
        self._missing.clear()
        self._current = None

    def _finish(self, pull: Pull, now_s: float, store: StoreState) -> StoreState:
        pull.ends_s, pull.outcome = now_s, "done"
        return with_image(store, self._images[pull.image], now_s)


def pulls_of(placement: Placement, state: State) -> list[Pull]:
    """The pulls of a placement, and empty ones for images that need none."""
    placed = [a for a in state.in_cloud if a.name in placement.gateway_of]
    movers: dict[str, list[str]] = {}
    for analytic in placed:
        movers.setdefault(analytic.image, []).append(analytic.name)
    begins = {pull.image: pull.begins_s for pull in placement.pulls}
    sizes = {pull.image: pull.compressed_bytes for pull in placement.pulls}
    found: list[Pull] = []
    for image, names in movers.items():
        ends_s = _planned_end_s(placement, state, image)
        pull = Pull(
            image=image,
            slot_s=state.now_s,
            planned_begins_s=state.now_s + begins.get(image, ends_s),
            planned_ends_s=state.now_s + ends_s,
            planned_bytes=sizes.get(image, 0),
            movers=tuple(names),
        )
        found.append(pull)
    rank = {pull.image: number for number, pull in enumerate(placement.pulls)}

    def order(pull: Pull) -> tuple[float, int]:
        # What needs no pull of its own comes as soon as the others brought its layers.
        return (pull.planned_ends_s, rank.get(pull.image, len(rank)))

    return sorted(found, key=order)


def _planned_end_s(placement: Placement, state: State, image: str) -> float:
    """When all layers of an image are there, after the begin of the slot."""
    digests = {layer.digest for layer in state.images[image].layers}
    return max(
        (
            pull.ends_s
            for pull in placement.pulls
            if pull.image == image or digests.intersection(pull.digests)
        ),
        default=0.0,
    )
