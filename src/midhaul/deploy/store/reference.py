"""References to container images, as people write them: ``host:port/repo/name:tag``."""

from __future__ import annotations

import re
from dataclasses import dataclass

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
    """A digest that can be verified, and whose text is safe as the name of a file.

    Raises:
        DataError: it is none, or of an algorithm other than sha256 and sha512.
    """
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        message = f"{where}: expected a sha256 or sha512 digest, found {digest!r}"
        raise DataError(message)
    return digest
