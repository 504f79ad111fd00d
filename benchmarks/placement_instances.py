"""What benchmarks/placement.py places: Docker Hub's layers, and edges of graphs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq

from midhaul.deploy.placement.arrays import Instance
from midhaul.deploy.problem import (
    Analytic,
    ContainerImage,
    Gateway,
    Layer,
    PlacementProblem,
)

if TYPE_CHECKING:
    from pathlib import Path

ZIPF = 0.9
PRIVATE_BYTES = (3e3, 1e8)
SAVED_BPS = (20e3, 5e6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bases:
    """Container images that analytics build upon.

    Attributes:
        name: where they are from.
        layers: of each image, from the base upwards.
    """

    name: str
    layers: tuple[tuple[Layer, ...], ...]


def docker_hub(file: Path) -> Bases:
    """The official amd64 images of 2018 with their layers' exact sizes.

    A layer takes as many bytes on the disk as compressed: other sizes are not known.
    """
    table = pq.read_table(file).to_pydict()
    stacks: dict[str, dict[str, Layer]] = {}
    columns = (table["image"], table["digest"], table["size_bytes"])
    for image, digest, size in zip(*columns, strict=True):
        layer = Layer(digest=digest, compressed_bytes=size, uncompressed_bytes=size)
        stacks.setdefault(image, {})[digest] = layer
    layers = tuple(tuple(stack.values()) for stack in stacks.values())
    return Bases(name=f"Docker Hub, {len(layers)} images", layers=layers)


def look_alike(rng: np.random.Generator, n_images: int = 1084) -> Bases:
    """A synthetic catalogue of a like shape: trees of layers, most of them small."""
    stacks: list[tuple[Layer, ...]] = []
    n_made = 0
    while len(stacks) < n_images:
        is_root = not stacks or rng.random() < 0.06  # noqa: PLR2004 - a share
        below = () if is_root else stacks[rng.integers(len(stacks))]
        kept = below[: int(rng.integers(1, len(below) + 1))] if below else ()
        n_new = int(rng.integers(1, 6))
        sizes = np.exp(rng.normal(9.5, 3.6, n_new)).clip(32, 4e8)
        if is_root:
            sizes[0] = rng.uniform(2e6, 6e7)
        new = tuple(
            Layer(
                digest=f"base {n_made + i}",
                compressed_bytes=int(size),
                uncompressed_bytes=int(size),
            )
            for i, size in enumerate(sizes)
        )
        n_made += n_new
        stacks.append((*kept, *new))
    return Bases(name=f"synthetic look-alike, {n_images} images", layers=tuple(stacks))


def hub_problem(bases: Bases, n: int, share: float, seed: int) -> PlacementProblem:
    """Analytics with a base image and private layers, for a disk of limited size.

    Args:
        bases: their base images, drawn by Zipf's law with exponent 0.9.
        n: number of analytics.
        share: the disk, as a share of the bytes of all their layers.
        seed: of the order of popularity, the draws, and all sizes and values.
    """
    rng = np.random.default_rng(seed)
    ranks = rng.permutation(len(bases.layers))
    shares = 1 / np.arange(1, len(ranks) + 1) ** ZIPF
    drawn = ranks[rng.choice(len(ranks), n, p=shares / shares.sum())]
    n_private = rng.integers(1, 6, n)
    sizes = _log_uniform(rng, PRIVATE_BYTES, int(n_private.sum())).astype(np.int64)
    saved_bps = _log_uniform(rng, SAVED_BPS, n)
    images: dict[str, ContainerImage] = {}
    seen: dict[str, int] = {}
    begin = 0
    for number, (base, n_own) in enumerate(
        zip(drawn.tolist(), n_private.tolist(), strict=True)
    ):
        own = tuple(
            Layer(digest=f"own {i}", compressed_bytes=size, uncompressed_bytes=size)
            for i, size in enumerate(sizes[begin : begin + n_own].tolist(), begin)
        )
        begin += n_own
        layers = (*bases.layers[base], *own)
        seen.update((layer.digest, layer.uncompressed_bytes) for layer in layers)
        images[f"image {number}"] = ContainerImage(
            name=f"image {number}", layers=layers
        )
    analytics = tuple(
        Analytic(name=f"analytic {i}", image=f"image {i}", saved_bps=value)
        for i, value in enumerate(saved_bps.tolist())
    )
    disk = float(int(share * sum(seen.values())))
    gateways = (Gateway(name="gateway", disk_bytes=disk),)
    return PlacementProblem(analytics=analytics, images=images, gateways=gateways)


def many_limits(bases: Bases, n: int, n_gateways: int, seed: int) -> PlacementProblem:
    """The same with cores, memory, lifetimes and downlinks, on some gateways."""
    plain = hub_problem(bases, n, 0.3 / n_gateways, seed)
    rng = np.random.default_rng(seed + 1)
    cores = rng.choice([0.25, 0.5, 1.0, 2.0], n)
    memory = _log_uniform(rng, (5e7, 2e9), n)
    lifetimes = rng.choice([300.0, 600.0, 1200.0, 3600.0], n)
    analytics = tuple(
        Analytic(
            name=analytic.name,
            image=analytic.image,
            saved_bps=analytic.saved_bps,
            n_cores=float(cores[i]),
            memory_bytes=float(memory[i]),
            lifetime_s=float(lifetimes[i]),
        )
        for i, analytic in enumerate(plain.analytics)
    )
    disk = plain.gateways[0].disk_bytes
    gateways = tuple(
        Gateway(
            name=f"gateway {g}",
            disk_bytes=disk,
            n_cores=float(0.35 * cores.sum() / n_gateways),
            memory_bytes=float(0.3 * memory.sum() / n_gateways),
            downlink_bps=8 * disk / 2400,
        )
        for g in range(n_gateways)
    )
    return PlacementProblem(
        analytics=analytics, images=plain.images, gateways=gateways, slot_s=3600.0
    )


def graph_instance(
    n_nodes: int, n_edges: int, share: float, rng: np.random.Generator
) -> Instance:
    """Items are edges of a random graph, elements its nodes, all of size and worth 1.

    The densest subgraph with so many nodes: no method is known to be near the best.
    """
    pairs = np.stack(np.triu_indices(n_nodes, 1), axis=1)
    edges = pairs[rng.choice(len(pairs), n_edges, replace=False)]
    return Instance(
        values=np.ones(n_edges),
        usage=np.zeros((n_edges, 1)),
        indptr=2 * np.arange(n_edges + 1),
        indices=edges.ravel().astype(np.int64),
        costs=np.ones((n_nodes, 1)),
        capacities=np.array([float(int(share * n_nodes))]),
        rows=("nodes",),
        groups=np.arange(n_edges),
    )


def _log_uniform(
    rng: np.random.Generator, limits: tuple[float, float], n: int
) -> np.ndarray:
    return np.exp(rng.uniform(np.log(limits[0]), np.log(limits[1]), n))
