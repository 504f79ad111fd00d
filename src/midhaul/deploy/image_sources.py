"""Container images by name and platform, from wherever a config says they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from midhaul.deploy.catalogue import (
    builtin_images,
    conflicting_digests,
    read_platforms,
)
from midhaul.deploy.registry.manifests import parse_platform
from midhaul.errors import DataError
from midhaul.model import Tally

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

    from midhaul.deploy.config_parts import ImagesConfig
    from midhaul.deploy.problem import ContainerImage
    from midhaul.deploy.registry.reader import ImageRecord

Wanted = tuple[str, str | None]
"""Name of a container image and the platform it is wanted for; None for the usual."""

_Offers = dict[str, dict[str, "ContainerImage"]]  # by name and platform
_ON_NETWORK, _ON_DISK = "on the network", "on a disk"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundImages:
    """Container images for a plan, and what is to be said of them.

    Attributes:
        images: by name, for the usual platform, or for the first that has it.
        by_platform: by platform as it was wanted and by name; None for an image that is
            not offered for it. A platform or a name is missing where ``images`` holds.
        tallies: what was estimated, assumed or ruled out.
        notes: what else was odd.
        private: registries that wanted to know who asks.
    """

    images: Mapping[str, ContainerImage]
    by_platform: Mapping[str | None, Mapping[str, ContainerImage | None]]
    tallies: tuple[Tally, ...] = ()
    notes: tuple[str, ...] = ()
    private: frozenset[str] = frozenset()


def find_images(
    config: ImagesConfig,
    wanted: Iterable[Wanted],
    seed: int,
    keep: Path | None = None,
) -> FoundImages:
    """Find container images, each for the platforms that it is wanted for.

    Args:
        config: where they are.
        wanted: names and platforms; a registry is asked for nothing else.
        seed: of the experiment, for what is made up.
        keep: where to write what a registry said, so that the plan can be made again
            when its tags have moved on. What is there from an earlier attempt is not
            asked for again. None for nowhere.

    Raises:
        DataError: images are missing or wrong; all are named.
        NodeError: a registry does not answer as it should.
        PrerequisiteError: an engine or a password is missing.
    """
    pairs = list(dict.fromkeys(wanted))
    if config.kind == "registry":
        return _of_registries(config, pairs, keep)
    if config.kind == "file":
        return _of_file(config, pairs)
    if config.kind == "engine":
        return _of_engine(config, pairs)
    images = builtin_images(scale=config.scale, seed=seed)
    return FoundImages(images=images, by_platform={})


def _of_file(config: ImagesConfig, wanted: Collection[Wanted]) -> FoundImages:
    assert config.file is not None  # noqa: S101 - the config says so
    offers: _Offers = {}
    by_platform = read_platforms(
        config.file, uncompressed_ratio=config.uncompressed_ratio
    )
    for platform, images in by_platform.items():
        for name, image in images.items():
            offers.setdefault(name, {})[platform] = image
    conflicts = conflicting_digests(config.file)
    tally = Tally(
        what="layers have several sizes, of which the largest counts",
        n=len(conflicts),
        of=len(
            {x.digest for o in offers.values() for i in o.values() for x in i.layers}
        ),
        max_share=1.0,
        advice=f"Write {config.file.name} anew: a digest has one size.",
        places=tuple(digest[:19] for digest in conflicts),
    )
    return _chosen(config, offers, wanted, (tally,), _ON_DISK)


def _of_engine(config: ImagesConfig, wanted: Collection[Wanted]) -> FoundImages:
    from midhaul.deploy import registry  # noqa: PLC0415  needs aiohttp

    found = registry.read_engine(sorted({name for name, _ in wanted}))
    offers: _Offers = {
        name: {one.platform: one.image(config.uncompressed_ratio)}
        for name, one in found.items()
    }
    return _chosen(config, offers, wanted, (), _ON_NETWORK)


def _of_registries(
    config: ImagesConfig, wanted: Collection[Wanted], keep: Path | None
) -> FoundImages:
    from midhaul.deploy import registry  # noqa: PLC0415  needs aiohttp

    usual = config.platform
    asked = {
        (name, str(parse_platform(platform or usual))): None
        for name, platform in wanted
    }
    known = registry.read_layers(keep) if keep is not None else []
    records = {
        key: one
        for one in known
        if (key := (one.image.name, one.asked_platform)) in asked
    }
    reading = registry.read_wanted(
        [key for key in asked if key not in records],
        ratio=config.uncompressed_ratio,
        access=registry.Access(
            plain_http=frozenset(config.plain_http),
            ca_file=config.ca_file,
            mirrors=config.mirrors,
        ),
        with_skopeo=config.reader == "skopeo",
    )
    records |= reading.records
    if keep is not None and records:
        registry.write_layers(records.values(), keep)
    have = {name for name, _ in records}
    bad = {
        f"{name} for {platform}": error
        for (name, platform), error in reading.problems.items()
        if name not in have or not isinstance(error, registry.NotOfferedError)
    }
    if bad:
        raise registry.all_of(bad, len(asked))
    offers: _Offers = {}
    for record in records.values():
        offers.setdefault(record.image.name, {})[record.platform] = record.image
    found = _chosen(config, offers, wanted, _tallies(records.values()), _ON_DISK)
    notes = dict.fromkeys(one.remark for one in records.values() if one.remark)
    notes |= {
        f"mirror {mirror} was left out: {why}": None
        for mirror, why in reading.mirrors_down.items()
    }
    return FoundImages(
        images=found.images,
        by_platform=found.by_platform,
        tallies=found.tallies,
        notes=tuple(notes),
        private=frozenset(
            registry.parse_reference(one.reference).registry
            for one in records.values()
            if one.is_private
        ),
    )


def _chosen(
    config: ImagesConfig,
    offers: _Offers,
    wanted: Collection[Wanted],
    tallies: tuple[Tally, ...],
    where: str,
) -> FoundImages:
    """What is wanted of what is offered.

    Raises:
        DataError: images are offered for none of the platforms they are wanted for.
    """
    by_platform: dict[str | None, dict[str, ContainerImage | None]] = {}
    for name, platform in wanted:
        if name in offers:
            asked = platform or config.platform
            one = _best(offers[name], asked)
            if one is None and platform is None and config.kind != "registry":
                one = next(iter(offers[name].values()))  # nobody asked for a platform
            by_platform.setdefault(platform, {})[name] = one
    images = {
        name: by_platform.get(None, {}).get(name) or next(iter(some.values()))
        for name, some in offers.items()
    }
    pairs = [(n, p, one) for p, some in by_platform.items() for n, one in some.items()]
    possible = {name for name, _, one in pairs if one is not None}
    if nowhere := sorted({name for name, _, _ in pairs} - possible):
        said = "".join(
            f"\n  {name}, only for: {', '.join(sorted(offers[name]))}"
            for name in nowhere
        )
        message = f"not offered for the platforms of their gateways:{said}"
        raise DataError(message, "build them for these platforms, or change platform")
    missing = [f"{n} for {p or config.platform}" for n, p, one in pairs if one is None]
    ruled_out = Tally(
        what="pairs of a container image and a platform are ruled out, since the image "
        "is not offered for it",
        n=len(missing),
        of=len(pairs),
        max_share=1.0,
        advice="Build the images for these platforms, too.",
        places=tuple(missing),
    )
    used = [one for _, _, one in pairs if one is not None]
    return FoundImages(
        images=images,
        by_platform=by_platform,
        tallies=(_estimates(used, where), ruled_out, *tallies),
    )


def _best(offers: Mapping[str, ContainerImage], asked: str) -> ContainerImage | None:
    """The image for a platform, or an older variant; one without a platform fits."""
    wanted = parse_platform(asked)
    fitting = [
        (parse_platform(platform).variant if platform else 0, image)
        for platform, image in offers.items()
        if not platform or wanted.runs(parse_platform(platform))
    ]
    return max(fitting, key=lambda pair: pair[0], default=(0, None))[1]


def _estimates(images: Iterable[ContainerImage], where: str) -> Tally:
    """How many layers have a size that is not known."""
    layers = {layer.digest: layer for image in images for layer in image.layers}
    guessed = [layer for layer in layers.values() if layer.is_estimated]
    total, unsure = (
        sum(layer.uncompressed_bytes for layer in some) / 1e6
        for some in (layers.values(), guessed)
    )
    return Tally(
        what=f"layers, {unsure:,.1f} of {total:,.1f} MB, have estimated sizes {where}",
        n=len(guessed),
        of=len(layers),
        max_share=1.0,
        advice="Give them exact sizes from an engine or a layer store, or set "
        "images.uncompressed_ratio to what such layers have.",
        places=tuple(layer.digest[:19] for layer in guessed),
    )


def _tallies(records: Collection[ImageRecord]) -> tuple[Tally, ...]:
    """What a registry's images leave to be assumed."""
    unnamed = [one.reference for one in records if not one.is_named]
    foreign = {digest for one in records for digest in one.foreign}
    return (
        Tally(
            what="container images name no platform and are taken to fit",
            n=len(unnamed),
            of=len(records),
            max_share=1.0,
            advice="Push them with a configuration that names os and architecture.",
            places=tuple(unnamed),
        ),
        Tally(
            what="layers are foreign: their registry need not have them",
            n=len(foreign),
            of=len({x.digest for one in records for x in one.image.layers}),
            max_share=1.0,
            advice="Gateways must reach the places that the manifest names.",
            places=tuple(digest[:19] for digest in sorted(foreign)),
        ),
    )
