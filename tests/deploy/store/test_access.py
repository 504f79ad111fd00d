"""How registries are reached: TLS, authorities, proxies, mirrors, logins, skopeo."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import ssl
import subprocess
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import yarl
from aiohttp import web
from tests.deploy.store.stub import Stub, answers, digest_of, packed

from midhaul.deploy.problem import ContainerImage, Layer
from midhaul.deploy.store import (
    RegistryServer,
    SkopeoSource,
    make_images,
    push_image,
    read_wanted,
)
from midhaul.deploy.store.access import Access, login_for
from midhaul.deploy.store.checks import check_image_source
from midhaul.deploy.store.client import RegistryClient
from midhaul.deploy.store.failures import Patience, RegistryRetries
from midhaul.deploy.store.manifests import parse_reference
from midhaul.deploy.store.reader import ImageReader, ImageRecord
from midhaul.errors import DataError, NodeError, PrerequisiteError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WORD = "s:ü"
LAYER = b"base" * 300
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl")


def with_image(**options: Any) -> Stub:
    """A stub with one image."""
    stub = Stub(**options)
    stub.add_image([LAYER], "latest")
    return stub


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 that is its own authority, with its key beside it."""
    folder = tmp_path_factory.mktemp("certificate")
    argv = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1"
    argv += " -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem"
    subprocess.run(argv.split(), cwd=folder, capture_output=True, check=True)
    return folder / "cert.pem"


@contextmanager
def tls(stub: Stub, certificate: Path) -> Iterator[str]:
    """Serve a stub by TLS beside a program that is not asynchronous; its address."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    loop = asyncio.new_event_loop()

    async def start() -> str:
        await stub.__aenter__()
        assert stub._runner is not None
        site = web.TCPSite(stub._runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        return f"127.0.0.1:{stub._runner.addresses[-1][1]}"

    address = loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield address
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(stub.__aexit__())
        loop.close()


@needs_openssl
def test_a_registry_on_loopback_may_speak_tls(
    certificate: Path, tmp_path: Path
) -> None:
    """Its authority is named, or lies where Docker looks; without one it is refused."""
    with tls(with_image(), certificate) as address:
        wanted = [(f"{address}/a/b:latest", "linux/amd64")]
        found = read_wanted(wanted, access=Access(ca_file=certificate, environ={}))
        assert list(found.records) == wanted
        folder = tmp_path / address
        folder.mkdir()
        shutil.copy(certificate, folder / "ca.crt")
        docker = Access(certs=(tmp_path,), environ={})
        assert list(read_wanted(wanted, access=docker).records) == wanted
        (problem,) = read_wanted(wanted, access=Access(environ={})).problems.values()
    assert isinstance(problem, PrerequisiteError)
    assert "certificate" in problem.message
    assert "images.ca_file" in problem.hint


def test_a_file_that_is_no_authority_is_named(tmp_path: Path) -> None:
    """Before anything is sent."""
    file = tmp_path / "ca.pem"
    for content in (None, "nonsense"):
        if content:
            file.write_text(content)
        with pytest.raises(PrerequisiteError, match="cannot be read"):
            Access(ca_file=file).context("ghcr.io")


def test_a_proxy_is_asked_for_what_it_is_for() -> None:
    """A registry elsewhere is reached through it."""

    async def run() -> ImageRecord:
        async with with_image() as stub:
            environ = {"HTTP_PROXY": f"http://{stub.address}"}
            name = "registry.test:8080"
            access = Access(plain_http=frozenset({name}), environ=environ)
            async with RegistryClient(access=access) as client:
                reader = ImageReader(client, access=access)
                return await reader.read(f"{name}/a/b:latest", "linux/amd64")

    assert asyncio.run(run()).image.layers[0].digest == digest_of(packed(LAYER))


@pytest.mark.parametrize(
    ("url", "listed", "expected"),
    [
        ("https://ghcr.io/v2/", "", "http://p:3128"),
        ("https://ghcr.io/v2/", "*", None),
        ("https://ghcr.io/v2/", "ghcr.io", None),
        ("https://ghcr.io/v2/", "other.io, GHCR.io", None),
        ("https://eu.ghcr.io/v2/", "ghcr.io", None),
        ("https://eu.ghcr.io/v2/", ".ghcr.io", None),
        ("https://notghcr.io/v2/", "ghcr.io", "http://p:3128"),
        ("https://10.1.2.3:5000/v2/", "10.0.0.0/8", None),
        ("https://11.1.2.3:5000/v2/", "10.0.0.0/8", "http://p:3128"),
        ("https://ghcr.io:5000/v2/", "ghcr.io:5001", "http://p:3128"),
        ("https://ghcr.io:5001/v2/", "ghcr.io:5001", None),
        ("https://[2001:db8::1]:5000/", "2001:db8::/32", None),
        ("https://127.0.0.1:5000/v2/", "", None),
        ("https://localhost:5000/v2/", "", None),
        ("http://ghcr.io/v2/", "", None),
    ],
)
def test_what_no_proxy_names_is_asked_directly(
    url: str, listed: str, expected: str | None
) -> None:
    """Hosts, domains, networks and ports, as Go reads them; never loopback."""
    access = Access(environ={"https_proxy": "p:3128", "NO_PROXY": listed})
    assert access.proxy(yarl.URL(url)) == expected


def test_a_proxy_of_another_kind_is_refused() -> None:
    """The message says which."""
    access = Access(environ={"ALL_PROXY": "socks5://p:1080"})
    with pytest.raises(PrerequisiteError, match="socks5"):
        access.proxy(yarl.URL("https://ghcr.io/"))


def test_mirrors_are_asked_before_the_registry() -> None:
    """With a path before the repository if they have one, and told whom they mirror."""
    reference = parse_reference("debian:12")
    access = Access(mirrors={"docker.io": ("m:5000", "h.lan/hub/")})
    first, second, last = access.places(reference)
    assert (first.registry, first.repository) == ("m:5000", "library/debian")
    assert (second.registry, second.repository) == ("h.lan", "hub/library/debian")
    assert first.mirrored == "docker.io"
    assert last == reference


def test_an_image_of_a_mirror_is_that_of_its_registry() -> None:
    """It keeps the name under which it was asked for."""

    async def run() -> ImageRecord:
        async with with_image() as stub:
            access = Access(mirrors={"docker.io": (stub.address,)}, environ={})
            async with RegistryClient(access=access) as client:
                reader = ImageReader(client, access=access)
                return await reader.read("a/b:latest", "linux/amd64")

    record = asyncio.run(run())
    assert record.reference == "docker.io/a/b:latest"
    assert record.image.name == "a/b:latest"


def test_a_mirror_that_fails_is_left_out() -> None:
    """The registry is asked instead, and what the mirror said is kept."""

    async def run() -> ImageReader:
        async with with_image() as stub, Stub() as mirror:
            access = Access(mirrors={stub.address: (mirror.address,)}, environ={})
            async with RegistryClient(access=access) as client:
                patience = Patience(RegistryRetries(n_most=0))
                reader = ImageReader(client, patience=patience, access=access)
                await reader.read(stub.reference, "linux/amd64")  # it has it not
                assert not reader.mirrors_down
                mirror.slow_downs.append(answers(503))
                again = ImageReader(client, patience=patience, access=access)
                await again.read(stub.reference, "linux/amd64")
                return again

    (why,) = asyncio.run(run()).mirrors_down.values()
    assert "answered 503" in why


def _config(home: Path, content: Any) -> dict[str, str]:
    folder = home / ".docker"
    folder.mkdir(exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "config.json").write_text(text, encoding="utf-8")
    return {"HOME": str(home), "PATH": f"{home}:{os.environ['PATH']}"}


def _auth(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.mark.parametrize(
    ("key", "image"),
    [
        ("https://index.docker.io/v1/", "debian"),
        ("docker.io", "me/app:1"),
        ("ghcr.io", "ghcr.io/me/app"),
        ("https://ghcr.io", "ghcr.io/me/app"),
        ("https://ghcr.io/v2/", "ghcr.io/me/app"),
        ("r.lan:5000", "r.lan:5000/app"),
        ("quay.io/org", "quay.io/org/app"),
    ],
)
def test_logins_of_docker_are_used(tmp_path: Path, key: str, image: str) -> None:
    """However their registry is written; others are not told."""
    environ = _config(tmp_path, {"auths": {key: _auth("me", WORD)}})
    found = login_for(parse_reference(image), environ)
    assert found is not None
    assert (found.user, found.password) == ("me", WORD)
    assert login_for(parse_reference("other.io/app"), environ) is None
    assert login_for(parse_reference("quay.io/organ/app"), environ) is None
    assert login_for(parse_reference(image), {}) is None


def _helper(home: Path, script: str) -> None:
    file = home / "docker-credential-lab"
    file.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    file.chmod(0o755)


def test_credential_helpers_are_asked(tmp_path: Path) -> None:
    """For one registry or as the store for all, by their protocol."""
    said = json.dumps({"Username": "me", "Secret": WORD})
    _helper(tmp_path, f"read server; test $1 = get && echo '{said}'")
    for config in ({"credHelpers": {"ghcr.io": "lab"}}, {"credsStore": "lab"}):
        found = login_for(parse_reference("ghcr.io/a"), _config(tmp_path, config))
        assert found is not None
        assert found.password == WORD
    _helper(tmp_path, 'echo \'{"Username": "<token>", "Secret": "t"}\'')
    found = login_for(
        parse_reference("ghcr.io/a"), _config(tmp_path, {"credsStore": "lab"})
    )
    assert found is not None
    assert found.is_identity
    _helper(tmp_path, "echo credentials not found in native keychain; exit 1")
    environ = _config(tmp_path, {"credsStore": "lab"})
    assert login_for(parse_reference("ghcr.io/a"), environ) is None


@pytest.mark.parametrize(
    ("script", "match"),
    [
        ("echo locked; exit 1", "failed for ghcr.io: locked"),
        ("echo nonsense", "expected JSON"),
        ("sleep 60 & sleep 60", "did not answer within"),
    ],
)
def test_a_helper_that_fails_is_named(tmp_path: Path, script: str, match: str) -> None:
    """And ended with all that it has started, when it takes too long."""
    _helper(tmp_path, script)
    environ = _config(tmp_path, {"credsStore": "lab"})
    with pytest.raises(PrerequisiteError, match=match):
        login_for(parse_reference("ghcr.io/a"), environ, limit_s=0.5)


@pytest.mark.parametrize(
    ("config", "match"),
    [
        ("{", "logins of Docker as JSON"),
        ({"auths": {"ghcr.io": {"auth": "!"}}}, "base64 of USER:PASSWORD"),
        ({"credsStore": "../evil"}, "name of a credential helper"),
        ({"credsStore": "nowhere"}, "cannot be started"),
    ],
)
def test_logins_that_make_no_sense_are_named(
    tmp_path: Path, config: Any, match: str
) -> None:
    """With their file, or the helper."""
    with pytest.raises(PrerequisiteError, match=match):
        login_for(parse_reference("ghcr.io/a"), _config(tmp_path, config))


@pytest.mark.parametrize("is_basic", [True, False])
def test_a_registry_is_told_what_docker_knows(
    tmp_path: Path, *, is_basic: bool
) -> None:
    """When it asks who one is, and the plan knows that it did."""
    stub = with_image(
        user="me", password=WORD, is_basic=is_basic, is_token_needed=not is_basic
    )

    async def run() -> ImageRecord:
        async with stub:
            environ = _config(tmp_path, {"auths": {stub.address: _auth("me", WORD)}})
            access = Access(environ=environ)
            async with RegistryClient(access=access) as client:
                reader = ImageReader(client, access=access)
                return await reader.read(stub.reference, "linux/amd64")

    assert asyncio.run(run()).is_private


@pytest.mark.skipif(
    shutil.which("skopeo") is None or shutil.which("docker-registry") is None,
    reason="needs skopeo and docker-registry",
)
def test_skopeo_reads_the_same_images(tmp_path: Path) -> None:
    """Layer by layer, with sizes on the network; those on a disk are estimates."""
    layers = (Layer(digest="x", compressed_bytes=50_000, uncompressed_bytes=90_000),)
    made = make_images(
        {"a": ContainerImage(name="a", layers=layers)}, tmp_path / "made"
    )
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    access = Access(environ=environ)
    with RegistryServer(tmp_path / "registry") as server:

        async def push() -> None:
            async with RegistryClient(environ={}) as client:
                await push_image(client, made["a"], f"{server.address}/lab/a:1")
                await check_image_source(client, f"{server.address}/lab/a:1")
            async with SkopeoSource(access) as source:
                await check_image_source(source, f"{server.address}/lab/a:1")

        asyncio.run(push())
        wanted = [(f"{server.address}/lab/a:1", "linux/amd64")]
        own = read_wanted(wanted, access=access)
        other = read_wanted(wanted, access=access, with_skopeo=True)
        bad = [(f"{server.address}/lab/a:none", "linux/amd64")]
        none = read_wanted(bad, access=access, with_skopeo=True)
    one, two = own.records[wanted[0]], other.records[wanted[0]]
    assert two.manifest_digest == one.manifest_digest
    assert [x.digest for x in two.image.layers] == [x.digest for x in one.image.layers]
    assert two.image.compressed_bytes == one.image.compressed_bytes
    assert one.image.uncompressed_bytes == made["a"].image.uncompressed_bytes
    assert (one.has_estimates, two.has_estimates) == (False, True)
    (problem,) = none.problems.values()
    assert isinstance(problem, DataError)
    assert "skopeo cannot read" in problem.message


def test_a_mirror_that_is_not_there_does_not_matter() -> None:
    """Nor does it where the registry is down as well: that one is named."""
    access = Access(
        mirrors={"docker.test": ("127.0.0.1:9",)},
        plain_http=frozenset({"docker.test"}),
        environ={"http_proxy": "http://127.0.0.1:9"},
    )

    async def run() -> None:
        async with RegistryClient(access=access) as client:
            patience = Patience(RegistryRetries(n_most=0))
            reader = ImageReader(client, patience=patience, access=access)
            await reader.read("docker.test/a/b:1", "linux/amd64")

    with pytest.raises(NodeError, match=r"registry docker\.test failed"):
        asyncio.run(run())
