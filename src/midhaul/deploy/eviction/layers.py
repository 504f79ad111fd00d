"""Eviction of single layers: least recently used, and least value per byte.

The value of keeping a layer is what its next pull would carry, times how likely that
is soon. Per byte of disk, with *n* uses in the *t* seconds since it was pulled::

    n / t * compressed_bytes / uncompressed_bytes

L. Cherkasova, "Improving WWW Proxies Performance with Greedy-Dual-Size-Frequency
Caching Policy", HP Labs HPL-98-69R1, 1998, has frequency times cost over size. A.
Blankstein, S. Sen and M. J. Freedman, "Hyperbolic Caching: Flexible Caching for Web
Applications", USENIX ATC 2017, eq. 1, divides by the time in the cache in place of an
inflating clock, so that no state beside the store is needed.

Differences:

1. What is cached is a layer and what is asked for is an image, so a use of an image is
   a use of each of its layers.
2. *n* is the uses plus the number of known images that have the layer: before anything
   was used, a layer that more images share is likelier to be wanted.
3. The whole store is sorted; the paper draws 64 items.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from midhaul.deploy.eviction.base import deletable, until_freed

if TYPE_CHECKING:
    from midhaul.deploy.registry.store_index import StoreState

_SHORTEST_S = 1.0
"""Age below which a layer counts as this old, so that a new one is not priceless."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerLru:
    """Deletes the layers whose last use is longest ago."""

    @property
    def name(self) -> str:
        """What tables and charts call it."""
        return "layer-lru"

    def victims(
        self, state: StoreState, *, n_bytes: float, kept: frozenset[str], now_s: float
    ) -> tuple[str, ...]:
        """Digests to delete, in order; of equals the largest goes first."""
        del now_s

        def rank(digest: str) -> tuple[float, int, str]:
            layer = state.layers[digest]
            return (layer.last_used_s, -layer.uncompressed_bytes, digest)

        order = sorted(deletable(state, kept), key=rank)
        return tuple(until_freed(state, order, n_bytes))


@dataclass(frozen=True, slots=True, kw_only=True)
class ValuePerByte:
    """Deletes the layers that save the fewest pulled bytes per byte of disk."""

    @property
    def name(self) -> str:
        """What tables and charts call it."""
        return "value-per-byte"

    def victims(
        self, state: StoreState, *, n_bytes: float, kept: frozenset[str], now_s: float
    ) -> tuple[str, ...]:
        """Digests to delete, in order; of equals the largest goes first."""
        owners = Counter(d for image in state.images.values() for d in image.digests)

        def rank(digest: str) -> tuple[float, int, str]:
            layer = state.layers[digest]
            age_s = max(now_s - layer.pulled_s, _SHORTEST_S)
            gain = (layer.n_uses + owners[digest]) * layer.compressed_bytes
            size = max(layer.uncompressed_bytes, 1)
            return (gain / (age_s * size), -layer.uncompressed_bytes, digest)

        order = sorted(deletable(state, kept), key=rank)
        return tuple(until_freed(state, order, n_bytes))
