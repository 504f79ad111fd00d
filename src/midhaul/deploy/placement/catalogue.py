"""The container images of a problem as arrays: who consists of which layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from jaxtyping import Bool, Float64, Int64

    from midhaul.deploy.problem import Gateway, Layer, PlacementProblem


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Catalogue:
    """Layers and images that the analytics of a problem need, numbered.

    Attributes:
        number_of: by digest, the number of the layer.
        digests: ``l`` names of the layers.
        compressed_bytes: ``(l,)`` what a pull of each carries.
        uncompressed_bytes: ``(l,)`` what each takes on a disk.
        images: ``i`` names of the images; one that differs from platform to platform
            stands here several times.
        indptr: ``(i + 1,)`` where each image's layers begin in ``layers``.
        layers: numbers of the layers of all images, from their bases upwards.
        image_of: ``(g, a)`` number of each analytic's image on each gateway; -1 where
            its platform has it not.
    """

    number_of: Mapping[str, int]
    digests: tuple[str, ...]
    compressed_bytes: Float64[np.ndarray, " l"]
    uncompressed_bytes: Float64[np.ndarray, " l"]
    images: tuple[str, ...]
    indptr: Int64[np.ndarray, " i1"]
    layers: Int64[np.ndarray, " m"]
    image_of: Int64[np.ndarray, "g a"]

    def marks(self, digests: Collection[str]) -> Bool[np.ndarray, " l"]:
        """True for the layers among these digests, ``(l,)``."""
        marked = np.zeros(len(self.digests), np.bool_)
        known = self.number_of
        marked[[known[digest] for digest in digests if digest in known]] = True
        return marked

    def layers_of(self, image: int) -> Int64[np.ndarray, " k"]:
        """Numbers of one image's layers."""
        return self.layers[self.indptr[image] : self.indptr[image + 1]]

    def refs(
        self, images: Int64[np.ndarray, " n"]
    ) -> tuple[Int64[np.ndarray, " k"], Int64[np.ndarray, " k"]]:
        """Who needs which layer: positions in ``images``, and layers, in order."""
        lengths = np.diff(self.indptr)[images]
        positions = np.repeat(np.arange(len(images)), lengths)
        begins = np.cumsum(lengths) - lengths
        within = np.arange(len(positions)) - np.repeat(begins, lengths)
        return positions, self.layers[self.indptr[images][positions] + within]

    def image_sums(
        self, of_layers: Float64[np.ndarray, " l"]
    ) -> Float64[np.ndarray, " i"]:
        """A number of each layer, summed over the layers of each image, ``(i,)``."""
        n = len(self.images)
        owners = np.repeat(np.arange(n), np.diff(self.indptr))
        return np.bincount(owners, weights=of_layers[self.layers], minlength=n)


def catalogue_of(problem: PlacementProblem) -> Catalogue:
    """Number the images and layers of a problem, in the order of its analytics."""
    stacks: dict[tuple[str, tuple[Layer, ...]], int] = {}

    def numbers(gateway: Gateway | None) -> Int64[np.ndarray, " a"]:
        by_name: dict[str, int] = {}
        for name in dict.fromkeys(analytic.image for analytic in problem.analytics):
            image = (
                problem.images[name]
                if gateway is None
                else problem.image_at(name, gateway)
            )
            by_name[name] = (
                -1
                if image is None
                else stacks.setdefault((name, image.layers), len(stacks))
            )
        return np.array([by_name[a.image] for a in problem.analytics], np.int64)

    usual = numbers(None)
    image_of = [numbers(g) if g.images else usual for g in problem.gateways]
    number_of: dict[str, int] = {}
    layers: list[int] = []
    compressed: list[int] = []
    uncompressed: list[int] = []
    lengths = [0]
    for _, stack in stacks:
        lengths.append(len(stack))
        for layer in stack:
            number = number_of.setdefault(layer.digest, len(number_of))
            layers.append(number)
            if number == len(compressed):
                compressed.append(layer.compressed_bytes)
                uncompressed.append(layer.uncompressed_bytes)
    return Catalogue(
        number_of=number_of,
        digests=tuple(number_of),
        compressed_bytes=np.array(compressed, np.float64),
        uncompressed_bytes=np.array(uncompressed, np.float64),
        images=tuple(name for name, _ in stacks),
        indptr=np.cumsum(lengths, dtype=np.int64),
        layers=np.array(layers, np.int64),
        image_of=np.stack(image_of),
    )
