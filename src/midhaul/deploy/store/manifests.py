"""Container images: references as people write them, and what manifests say they hold.

Formats: Docker image manifest version 2 schema 2, and OCI image specification 1.1
(image manifest and image index). No I/O; see :mod:`midhaul.deploy.store.reader`.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any, Literal, cast

from midhaul import documents
from midhaul.errors import DataError

_DOCKER_HUB = "docker.io"
_HOSTS = {
    _DOCKER_HUB: "registry-1.docker.io",
    "index.docker.io": "registry-1.docker.io",
}
_REGISTRY = re.compile(
    r"(?:\[[0-9a-fA-F:]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*))(?::\d{1,5})?"
)
_PART = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_LOOPBACK = re.compile(r"localhost|127(?:\.\d+){3}|\[::1\]")
_MAX_CHARACTERS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Where a container image is found.

    Attributes:
        registry: host, with its port if it has one, as a person writes it.
        repository: name within the registry, with slashes.
        tag: None where only a digest was given.
        digest: of the manifest; None where only a tag was given. It wins over the tag.
        mirrored: the registry that ``registry`` is a mirror of; empty for none.
    """

    registry: str
    repository: str
    tag: str | None = None
    digest: str | None = None
    mirrored: str = ""

    @property
    def host(self) -> str:
        """Host and port that answer for the registry."""
        return _HOSTS.get(self.registry, self.registry)

    @property
    def wanted(self) -> str:
        """What the registry is asked for: the digest, or else the tag."""
        return self.digest or self.tag or "latest"

    @property
    def is_loopback(self) -> bool:
        """True for a registry on this machine, which is asked by plain HTTP."""
        name = re.sub(r":\d+$", "", self.registry)
        return _LOOPBACK.fullmatch(name) is not None

    def __str__(self) -> str:
        """The whole reference; parsing it gives the same again."""
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.registry}/{self.repository}{tag}{digest}"


def parse_reference(text: str) -> Reference:
    """Read a reference by the rules of the Docker command line.

    The first part is a registry when it holds a dot or a colon, or is ``localhost``;
    else the registry is ``docker.io``, whose images without a user are in ``library``.
    Without tag and digest the tag is ``latest``.

    Args:
        text: e.g. ``debian``, ``ghcr.io/me/app:1``, ``host:5000/a/b@sha256:…``.

    Raises:
        DataError: it is no reference.
    """
    if len(text) > _MAX_CHARACTERS:
        message = f"expected a container image, found {len(text)} characters"
        raise DataError(message)
    rest, at, digest = text.partition("@")
    first, slash, after = rest.partition("/")
    has_registry = bool(slash) and (
        "." in first or ":" in first or first == "localhost"
    )
    registry, path = (first, after) if has_registry else (_DOCKER_HUB, rest)
    repository, colon, tag = path.partition(":")
    if registry == _DOCKER_HUB and "/" not in repository:
        repository = f"library/{repository}"
    for pattern, found, what in (
        (_REGISTRY, registry, "a registry"),
        (_REPOSITORY, repository, "a repository in lower case"),
        (_TAG, tag if colon else "latest", "a tag"),
        (_DIGEST, digest if at else f"sha256:{64 * '0'}", "a sha256 or sha512 digest"),
    ):
        if not pattern.fullmatch(found):
            message = f"container image {text!r}: expected {what}, found {found!r}"
            hint = "write REGISTRY/REPOSITORY:TAG or REGISTRY/REPOSITORY@sha256:DIGEST"
            raise DataError(message, hint)
    return Reference(
        registry=registry,
        repository=repository,
        tag=tag or (None if at else "latest"),
        digest=digest or None,
    )


def check_digest(digest: object, where: str) -> str:
    """A digest that can be verified (sha256, sha512) and names a file safely."""
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        message = f"{where}: expected a sha256 or sha512 digest, found {digest!r}"
        raise DataError(message)
    return digest


def digest_of(body: bytes, like: str = "sha256") -> str:
    """The digest of some bytes, by the algorithm that another digest begins with."""
    algorithm = like.partition(":")[0]
    return f"{algorithm}:{hashlib.new(algorithm, body).hexdigest()}"


Compression = Literal["gzip", "zstd"]

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
ACCEPT = (
    f"{OCI_MANIFEST}, application/vnd.oci.image.index.v1+json, "
    "application/vnd.docker.distribution.manifest.v2+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json"
)
"""What a registry is asked for; the old schema 1, which has no sizes, is not in it."""

_LAYER = re.compile(
    r"application/vnd\.(?:"
    r"docker\.image\.rootfs\.(?P<foreign>foreign\.)?diff\.tar"
    r"|oci\.image\.layer\.(?P<kept>nondistributable\.)?v1\.tar"
    r")(?:[.+](?P<compression>gzip|zstd))?"
)
_UNPACKED = "io.containers.estargz.uncompressed-size"
_VARIANTS = {"arm": 7, "arm64": 8}
_SYSTEMS = {"linux": "linux", "windows": "windows", "darwin": "darwin"} | {
    "macos": "darwin",
    "freebsd": "freebsd",
}
_ALIASES = {
    **dict.fromkeys(("x86_64", "x86-64", "x64"), "amd64"),
    **dict.fromkeys(("x86", "i386", "i486", "i586", "i686"), "386"),
    **dict.fromkeys(("aarch64", "armv8", "armv8l", "armv8-a"), "arm64"),
    **dict.fromkeys(("armhf", "armv7", "armv7l", "armv7-a"), "arm/v7"),
    **dict.fromkeys(("armel", "armv6", "armv6l"), "arm/v6"),
    **dict.fromkeys(("armv5", "armv5l", "armv5tel"), "arm/v5"),
    **dict.fromkeys(("ppc64el", "powerpc64le"), "ppc64le"),
    "mips64el": "mips64le",
    "mipsel": "mipsle",
    "loongarch64": "loong64",
}
"""Names of Debian, Linux (``uname -m``) and LLVM for what Go names otherwise."""

_WORD = re.compile(r"[a-z0-9][a-z0-9_.-]*")
_VARIANT = re.compile(r"v\d{1,3}(?:\.\d{1,3})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """What a container image runs on.

    Attributes:
        os: e.g. ``linux``.
        architecture: as Go names it, e.g. ``amd64``.
        variant: version of the instruction set, e.g. 7 of ``arm/v7``.
    """

    os: str
    architecture: str
    variant: int

    def __str__(self) -> str:
        """As a person writes it; the variant that goes without saying is left out."""
        usual = _VARIANTS.get(self.architecture, 1)
        tail = "" if self.variant == usual else f"/v{self.variant}"
        return f"{self.os}/{self.architecture}{tail}"

    def runs(self, other: Platform) -> bool:
        """True if an image for ``other`` runs on this platform."""
        same = (self.os, self.architecture) == (other.os, other.architecture)
        return same and other.variant <= self.variant


def parse_platform(text: str) -> Platform:
    """Read ``os/architecture[/variant]``, in Go's names or in others' usual ones.

    ``aarch64``, ``x86_64`` and ``armhf`` are taken as well, and so is an architecture
    alone, which means Linux.
    """
    parts = text.strip().lower().split("/")
    if len(parts) == 1 and parts[0] not in _SYSTEMS:
        parts = ["linux", *parts]
    is_platform = len(parts) in {2, 3} and all(map(_WORD.fullmatch, parts))
    if not is_platform or (parts[2:] and not _VARIANT.fullmatch(parts[2])):
        message = f"expected a platform like linux/arm/v7, found {text!r}"
        raise DataError(message)
    architecture, _, usual = _ALIASES.get(parts[1], parts[1]).partition("/")
    return _platform(
        _SYSTEMS.get(parts[0], parts[0]), architecture, (parts[2:] or [usual])[0]
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """A reference to content, with its size.

    Attributes:
        digest: its name.
        n_bytes: its size.
        media_type: what it is.
        urls: where else it may be, for layers that are foreign.
        unpacked_bytes: what a layer takes unpacked, where who made it wrote that down
            (estargz does); None else.
    """

    digest: str
    n_bytes: int
    media_type: str
    urls: tuple[str, ...] = ()
    unpacked_bytes: int | None = None

    @property
    def compression(self) -> Compression | None:
        """``gzip``, ``zstd``, or None for a plain tar."""
        match = _LAYER.fullmatch(self.media_type)
        return cast("Compression | None", match["compression"]) if match else None

    @property
    def is_foreign(self) -> bool:
        """True for a layer that registries may not keep (Windows base images)."""
        match = _LAYER.fullmatch(self.media_type)
        return match is not None and bool(match["foreign"] or match["kept"])


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageManifest:
    """What an image for one platform consists of.

    Attributes:
        config: its configuration.
        layers: from the base upwards, each digest once.
        positions: for every layer that the manifest lists, repeated ones as well, its
            index in ``layers``.
    """

    config: Descriptor
    layers: tuple[Descriptor, ...]
    positions: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """The manifests of an image, by platform.

    Attributes:
        manifests: platform and digest.
        unnamed: digests of those without a platform; attachments that say that they
            are one (signatures, provenance) are not in it.
    """

    manifests: tuple[tuple[Platform, str], ...]
    unnamed: tuple[str, ...] = ()

    def best(self, platform: Platform) -> tuple[Platform, str] | None:
        """Platform and digest of the manifest that fits best; None where none fits.

        An older variant serves where the wanted one is not offered, the newest first:
        ``arm/v6`` runs on ``arm/v7``.
        """
        fitting = [entry for entry in self.manifests if platform.runs(entry[0])]
        return max(fitting, key=lambda entry: entry[0].variant, default=None)


def parse_manifest(body: bytes, where: str) -> ImageManifest | Index:
    """Read what a registry answers for a reference; DataError for other formats."""
    found = parse_json(body, where)
    if found.get("schemaVersion") == 1 or "fsLayers" in found:
        message = f"{where} is in the old format schema 1, which tells no sizes"
        raise DataError(message, "push it again with a current Docker or skopeo")
    if isinstance(found.get("manifests"), list):
        return _index(found["manifests"], where)
    if "config" not in found or not isinstance(found.get("layers"), list):
        message = f"{where}: expected a manifest with config and layers, found "
        message += ", ".join(sorted(found)[:10]) or "an empty object"
        raise DataError(message)
    layers: dict[str, Descriptor] = {}
    places: dict[str, int] = {}
    positions: list[int] = []
    for number, entry in enumerate(found["layers"]):
        layer = _descriptor(entry, f"{where}, layer {number}")
        if not _LAYER.fullmatch(layer.media_type):
            message = f"{where}, layer {number}: {layer.media_type!r} is no layer of a "
            raise DataError(message + "container image", "is this another artifact?")
        if layers.setdefault(layer.digest, layer).n_bytes != layer.n_bytes:
            message = f"{where} lists layer {layer.digest} with two sizes"
            raise DataError(message)
        positions.append(places.setdefault(layer.digest, len(places)))
    return ImageManifest(
        config=_descriptor(found["config"], f"{where}, config"),
        layers=tuple(layers.values()),
        positions=tuple(positions),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """The platform, if it says one, and digests of uncompressed layers in order."""

    platform: Platform | None
    diff_ids: tuple[str, ...]


def parse_config(body: bytes, where: str) -> ImageConfig:
    """Read the configuration of an image."""
    found = parse_json(body, where)
    rootfs = found.get("rootfs")
    inner = cast("dict[str, Any]", rootfs) if isinstance(rootfs, dict) else {}
    diff_ids = inner.get("diff_ids")
    return ImageConfig(
        platform=_named(
            str(found["os"]),
            str(found["architecture"]),
            str(found.get("variant") or ""),
        )
        if found.get("os") and found.get("architecture")
        else None,
        diff_ids=tuple(map(str, diff_ids)) if isinstance(diff_ids, list) else (),
    )


def parse_json(body: bytes, where: str) -> dict[str, Any]:
    """Read a JSON object that a stranger sent; anything else is a DataError."""
    try:
        found = documents.parse_json(body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        start = body[:60].decode("utf-8", "replace")
        message = f"{where}: expected a JSON object, found {start!r}"
        raise DataError(message)
    return cast("dict[str, Any]", found)


def _descriptor(entry: Any, where: str) -> Descriptor:
    if not isinstance(entry, dict):
        message = f"{where}: expected a descriptor, found {entry!r}"
        raise DataError(message)
    entry = cast("dict[str, Any]", entry)
    n_bytes = entry.get("size")
    if type(n_bytes) is not int or n_bytes < 0:
        message = f"{where}: expected a size of at least 0 bytes, found {n_bytes!r}"
        raise DataError(message)
    urls = entry.get("urls") or []
    notes = entry.get("annotations")
    written = str(notes.get(_UNPACKED, "")) if isinstance(notes, dict) else ""
    return Descriptor(
        digest=check_digest(entry.get("digest"), where),
        n_bytes=n_bytes,
        media_type=str(entry.get("mediaType", "")),
        urls=tuple(map(str, urls)) if isinstance(urls, list) else (),
        unpacked_bytes=int(written) if re.fullmatch(r"[0-9]{1,15}", written) else None,
    )


def _index(entries: list[Any], where: str) -> Index:
    found: list[tuple[Platform, str]] = []
    unnamed: list[str] = []
    for number, entry in enumerate(entries):
        digest = _descriptor(entry, f"{where}, manifest {number}").digest
        named = entry.get("platform")
        named = cast("dict[str, Any]", named) if isinstance(named, dict) else {}
        name, architecture = named.get("os"), named.get("architecture")
        if "unknown" in {str(name), str(architecture)}:
            continue  # how buildx marks provenance
        if name and architecture:
            variant = str(named.get("variant") or "")
            found.append((_named(str(name), str(architecture), variant), digest))
        elif not _is_attachment(cast("dict[str, Any]", entry)):
            unnamed.append(digest)
    return Index(manifests=tuple(found), unnamed=tuple(unnamed))


def _is_attachment(entry: dict[str, Any]) -> bool:
    """True for what an index lists beside images, and says so."""
    notes = entry.get("annotations")
    return bool(entry.get("artifactType")) or (
        isinstance(notes, dict) and "vnd.docker.reference.type" in notes
    )


def _named(name: str, architecture: str, variant: str) -> Platform:
    """A platform as a registry or a configuration names it, aliases as well."""
    known, _, usual = _ALIASES.get(architecture.lower(), architecture).partition("/")
    return _platform(name, known, variant or usual)


def _platform(name: str, architecture: str, variant: str) -> Platform:
    digits = variant.removeprefix("v").partition(".")[0]
    usual = _VARIANTS.get(architecture, 1)
    number = int(digits) if re.fullmatch(r"[0-9]{1,3}", digits) else usual
    return Platform(os=name, architecture=architecture, variant=number)
