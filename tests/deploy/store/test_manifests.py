"""Manifests of strangers: formats, platforms, and what is wrong with them.

References are read by the rules of the Docker command line.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midhaul.deploy.store.manifests import (
    ImageManifest,
    Index,
    Platform,
    Reference,
    parse_config,
    parse_manifest,
    parse_platform,
    parse_reference,
)
from midhaul.errors import DataError

OCI = "application/vnd.oci.image.layer"
DOCKER = "application/vnd.docker.image.rootfs"


def digest(number: int) -> str:
    """A digest of nothing in particular."""
    return f"sha256:{number:064x}"


def entry(number: int, size: Any = 10, kind: str = f"{OCI}.v1.tar+gzip") -> Any:
    """A descriptor."""
    return {"mediaType": kind, "digest": digest(number), "size": size}


def read(**parts: Any) -> ImageManifest | Index:
    """Parse a manifest with some parts."""
    whole = {"schemaVersion": 2, "config": entry(0, 5, "x"), "layers": [], **parts}
    return parse_manifest(json.dumps(whole).encode(), "h/a:1")


@pytest.mark.parametrize(
    ("kind", "compression", "is_foreign"),
    [
        (f"{OCI}.v1.tar", None, False),
        (f"{OCI}.v1.tar+gzip", "gzip", False),
        (f"{OCI}.v1.tar+zstd", "zstd", False),
        (f"{OCI}.nondistributable.v1.tar+gzip", "gzip", True),
        (f"{DOCKER}.diff.tar", None, False),
        (f"{DOCKER}.diff.tar.gzip", "gzip", False),
        (f"{DOCKER}.foreign.diff.tar.gzip", "gzip", True),
    ],
)
def test_media_types_say_how_a_layer_is_packed(
    kind: str, compression: str | None, *, is_foreign: bool
) -> None:
    """Docker's and the OCI's names are known, with every compression."""
    found = read(layers=[entry(1, kind=kind)])
    assert isinstance(found, ImageManifest)
    assert found.layers[0].compression == compression
    assert found.layers[0].is_foreign is is_foreign


def test_a_layer_that_is_listed_twice_is_one_layer() -> None:
    """A digest is stored once; the positions tell where it was listed."""
    found = read(layers=[entry(1), entry(2), entry(1)])
    assert isinstance(found, ImageManifest)
    assert [layer.digest for layer in found.layers] == [digest(1), digest(2)]
    assert found.positions == (0, 1, 0)


def test_a_layer_of_zero_bytes_is_a_layer() -> None:
    """Nothing is a content, too."""
    found = read(layers=[entry(1, 0)])
    assert isinstance(found, ImageManifest)
    assert found.layers[0].n_bytes == 0


@pytest.mark.parametrize(
    ("parts", "match"),
    [
        ({"layers": [entry(1, -1)]}, "layer 0: expected a size"),
        ({"layers": [entry(1, 1.5)]}, "expected a size"),
        ({"layers": [entry(1, size=True)]}, "expected a size"),
        ({"layers": [entry(1, None)]}, "expected a size"),
        ({"layers": [entry(1, "7")]}, "expected a size"),
        ({"layers": [entry(1), entry(1, 11)]}, "two sizes"),
        ({"layers": [{**entry(1), "digest": "sha256:../../x"}]}, "expected a sha256"),
        ({"layers": [{**entry(1), "digest": 5}]}, "expected a sha256"),
        ({"layers": [entry(1, kind="application/x-helm")]}, "no layer of a"),
        ({"layers": ["x"]}, "expected a descriptor"),
        ({"layers": {}}, "expected a manifest with config and layers"),
        ({"config": None}, "config: expected a descriptor"),
        ({"schemaVersion": 1, "fsLayers": []}, "schema 1"),
    ],
)
def test_a_manifest_that_is_wrong_is_refused(parts: Any, match: str) -> None:
    """The message names the image and the layer, and what was expected."""
    with pytest.raises(DataError, match=match) as caught:
        read(**parts)
    assert "h/a:1" in caught.value.message


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"<html>", b"\xff\xfe", b"[" * 100_000, b"{}", b"null"]
)
def test_what_is_no_manifest_is_refused(body: bytes) -> None:
    """Text, other JSON and nonsense give one error, and no traceback."""
    with pytest.raises(DataError, match="expected a"):
        parse_manifest(body, "h/a:1")


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["config", "layers", "manifests", "size", "digest", "platform",
                         "mediaType", "urls", "schemaVersion", "os", "rootfs"]),
        inner, max_size=6),
    max_leaves=20,
))  # fmt: skip
def test_any_json_is_a_manifest_or_an_error_for_the_user(content: Any) -> None:
    """No content of a manifest or a configuration causes a traceback."""
    body = json.dumps(content).encode()
    for parse in (parse_manifest, parse_config):
        try:
            parse(body, "h/a:1")
        except DataError:
            continue


def index(*platforms: tuple[str, str, str | None]) -> Index:
    """An index of some platforms, and of one attachment."""
    entries = [
        {
            **entry(number, kind="m"),
            "platform": {"os": o, "architecture": a, **({"variant": v} if v else {})},
        }
        for number, (o, a, v) in enumerate([*platforms, ("unknown", "unknown", None)])
    ]
    found = parse_manifest(
        json.dumps({"manifests": [*entries, entry(99)]}).encode(), ""
    )
    assert isinstance(found, Index)
    return found


@pytest.mark.parametrize(
    ("asked", "number"),
    [
        ("linux/amd64", 0),
        ("linux/arm/v7", 2),
        ("linux/arm", 2),
        ("linux/arm/v6", 1),
        ("linux/arm64", 3),
        ("linux/arm64/v8", 3),
        ("linux/arm64/v9", 3),
    ],
)
def test_an_index_offers_what_runs_on_a_platform(asked: str, number: int) -> None:
    """The newest variant that the platform runs is chosen."""
    found = index(
        ("linux", "amd64", None),
        ("linux", "arm", "v5"),
        ("linux", "arm", "v7"),
        ("linux", "arm64", "v8"),
        ("windows", "amd64", None),
    )
    best = found.best(parse_platform(asked))
    assert best is not None
    assert best[1] == digest(number)


def test_an_index_tells_attachments_from_what_has_no_platform() -> None:
    """What is unknown on purpose, or says that it is attached, is no offer."""
    found = index(("linux", "amd64", None), ("linux", "arm", "v7"))
    assert found.best(parse_platform("linux/arm/v6")) is None
    assert found.unnamed == (digest(99),)
    attached = [
        {**entry(1), "artifactType": "application/spdx+json"},
        {**entry(2), "annotations": {"vnd.docker.reference.type": "attestation"}},
        {**entry(3), "platform": {"os": "", "architecture": ""}},
        {**entry(4), "platform": None},
    ]
    other = parse_manifest(json.dumps({"manifests": attached}).encode(), "")
    assert isinstance(other, Index)
    assert (other.manifests, other.unnamed) == ((), (digest(3), digest(4)))


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("aarch64", "linux/arm64"),
        ("linux/aarch64", "linux/arm64/v8"),
        ("x86_64", "linux/amd64"),
        ("linux/x86-64", "linux/amd64"),
        ("armhf", "linux/arm/v7"),
        ("linux/armel", "linux/arm/v6"),
        ("linux/armv7l", "linux/arm"),
        ("Linux/ARM64", "linux/arm64"),
        ("i686", "linux/386"),
        ("ppc64el", "linux/ppc64le"),
        ("riscv64", "linux/riscv64"),
    ],
)
def test_platforms_have_the_names_that_others_give_them(text: str, same: str) -> None:
    """Debian's, the kernel's and LLVM's, with or without the system."""
    assert parse_platform(text) == parse_platform(same)


def test_a_registry_may_use_another_name_for_an_architecture() -> None:
    """Some builders write ``aarch64`` into an index."""
    found = index(("linux", "x86_64", None), ("linux", "aarch64", None))
    best = found.best(parse_platform("linux/arm64"))
    assert best is not None
    assert best[1] == digest(1)


@pytest.mark.parametrize("text", ["", "linux", "linux/", "linux/arm/7", "a/b/v1/c"])
def test_what_is_no_platform_is_refused(text: str) -> None:
    """The message shows the form."""
    with pytest.raises(DataError, match="expected a platform like"):
        parse_platform(text)


def test_a_platform_shows_its_variant_where_it_is_not_the_usual_one() -> None:
    """Arm means v7, and arm64 means v8."""
    assert str(parse_platform("linux/arm/v7")) == "linux/arm"
    assert str(parse_platform("linux/arm/v6")) == "linux/arm/v6"
    assert parse_platform("linux/arm64") == Platform(
        os="linux", architecture="arm64", variant=8
    )


DIGEST = "sha256:" + "0a" * 32


@pytest.mark.parametrize(
    ("text", "registry", "repository", "tag", "digest"),
    [
        ("debian", "docker.io", "library/debian", "latest", None),
        ("debian:12", "docker.io", "library/debian", "12", None),
        ("me/app", "docker.io", "me/app", "latest", None),
        ("docker.io/debian", "docker.io", "library/debian", "latest", None),
        ("ghcr.io/me/app:v1", "ghcr.io", "me/app", "v1", None),
        ("localhost/app", "localhost", "app", "latest", None),
        ("host:5000/a/b/c:1.2-x", "host:5000", "a/b/c", "1.2-x", None),
        ("[::1]:5000/a", "[::1]:5000", "a", "latest", None),
        (f"h.io/a@{DIGEST}", "h.io", "a", None, DIGEST),
        (f"h.io:1/a:t@{DIGEST}", "h.io:1", "a", "t", DIGEST),
    ],
)
def test_a_reference_has_its_parts(
    text: str, registry: str, repository: str, tag: str | None, digest: str | None
) -> None:
    """Registry, repository, tag and digest are found, with Docker's defaults."""
    found = parse_reference(text)
    assert found == Reference(
        registry=registry, repository=repository, tag=tag, digest=digest
    )
    assert found.wanted == (digest or tag)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Debian",
        "a b",
        "host:5000/",
        "debian:",
        "debian@",
        "debian@sha256:12",
        "debian@md5:" + "0" * 32,
        "a//b",
        "../etc/passwd",
        "h.io/../x",
        "debian:" + "t" * 200,
        "h.io/a\nb",
        "x" * 10_000,
        "user@host.io/a",
        "host:99999999/a",
    ],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    """The message says what was expected."""
    with pytest.raises(DataError, match="expected"):
        parse_reference(text)


@given(
    registry=st.sampled_from(["docker.io", "ghcr.io", "localhost:5000", "[::1]:80"]),
    repository=st.from_regex(r"[a-z0-9]{1,8}(/[a-z0-9]{1,8}){1,3}", fullmatch=True),
    tag=st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True),
    digest=st.none() | st.just(DIGEST),
)
def test_the_text_of_a_reference_leads_back_to_it(
    registry: str, repository: str, tag: str, digest: str | None
) -> None:
    """Parsing what a reference says of itself gives the same reference."""
    reference = Reference(
        registry=registry, repository=repository, tag=tag, digest=digest
    )
    assert parse_reference(str(reference)) == reference


@pytest.mark.parametrize(
    ("text", "is_loopback"),
    [
        ("localhost:5000/a", True),
        ("127.0.0.1:5000/a", True),
        ("[::1]:5000/a", True),
        ("10.0.0.1:5000/a", False),
        ("localhost.example.com/a", False),
        ("127.0.0.1.example.com/a", False),
        ("debian", False),
    ],
)
def test_only_registries_on_this_machine_are_asked_by_plain_http(
    text: str, *, is_loopback: bool
) -> None:
    """A name that only looks like loopback is none."""
    assert parse_reference(text).is_loopback is is_loopback


def test_docker_hub_answers_under_another_name() -> None:
    """The registry is docker.io to people, and registry-1.docker.io to programs."""
    assert parse_reference("debian").host == "registry-1.docker.io"
    assert parse_reference("ghcr.io/a").host == "ghcr.io"


@given(text=st.text(max_size=60) | st.from_regex(r"[a-z./:@0-9-]{0,40}"))
def test_any_text_is_a_reference_or_an_error_for_the_user(text: str) -> None:
    """No text causes a traceback, and what is accepted is safe in a URL."""
    try:
        found = parse_reference(text)
    except DataError:
        return
    assert ".." not in found.repository.split("/")
    assert not set(found.repository) & set("?#%\\ ")
