"""The client of registries: who asks, what is believed, and what goes wrong."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import pytest
from tests.deploy.store.stub import MANIFEST, Stub, answers, digest_of

from midhaul.deploy.store.access import credentials, parse_challenges
from midhaul.deploy.store.client import ExchangeLimits, RegistryClient
from midhaul.deploy.store.failures import Patience, RegistryRetries
from midhaul.deploy.store.manifests import parse_reference
from midhaul.deploy.store.reader import read_image
from midhaul.errors import DataError, MidhaulError, NodeError, PrerequisiteError

if TYPE_CHECKING:
    from collections.abc import Mapping

WORD = "s:ü"
ONCE = Patience(RegistryRetries(n_most=0))
QUICK = ExchangeLimits(connect_s=2, read_s=0.3, manifest_bytes=10_000, n_redirects=3)


def read(stub: Stub, environ: Mapping[str, str] | None = None, **options: Any) -> Any:
    """What the reader makes of an image of a stub; the stub runs meanwhile."""

    async def run() -> Any:
        async with stub, RegistryClient(limits=QUICK, environ=environ or {}) as client:
            return await read_image(client, stub.reference, patience=ONCE, **options)

    return asyncio.run(run())


def login(stub: Stub, user: str, password: str) -> Any:
    """Read an image with a user and a password in the environment."""

    async def run() -> Any:
        async with stub:
            tail = stub.address.replace(".", "_").replace(":", "_")
            environ = {
                f"MIDHAUL_REGISTRY_USER_{tail}": user,
                f"MIDHAUL_REGISTRY_PASSWORD_{tail}": password,
            }
            async with RegistryClient(limits=QUICK, environ=environ) as client:
                return await read_image(client, stub.reference)

    return asyncio.run(run())


def with_image(**options: Any) -> Stub:
    """A stub with one image of two layers."""
    stub = Stub(**options)
    stub.add_image([b"base" * 100, b"top" * 100], "latest")
    return stub


def test_a_registry_without_locks_is_read() -> None:
    """Nobody is asked who he is."""
    stub = with_image()
    assert len(read(stub).image.layers) == 2
    assert all(said is None for _, said in stub.seen)


def test_a_token_is_fetched_once_and_used_for_all_requests() -> None:
    """A token service gives anonymous tokens, with the service and scope asked for."""
    stub = with_image(is_token_needed=True)
    read(stub)
    assert [said for what, said in stub.seen if what == "token"] == [None]
    assert [said for what, said in stub.seen if what != "token"][1:] == [
        "Bearer t0ken"
    ] * 6


@pytest.mark.parametrize("is_basic", [True, False])
def test_a_user_logs_in_with_a_password_of_the_environment(*, is_basic: bool) -> None:
    """Both at a token service and without one."""
    stub = with_image(
        user="me", password=WORD, is_basic=is_basic, is_token_needed=not is_basic
    )
    assert len(login(stub, "me", WORD).image.layers) == 2


@pytest.mark.parametrize("is_basic", [True, False])
def test_a_wrong_password_is_not_shown(*, is_basic: bool) -> None:
    """The error names the registry and the variables, not the password."""
    stub = with_image(
        user="me", password=WORD, is_basic=is_basic, is_token_needed=not is_basic
    )
    with pytest.raises(PrerequisiteError, match="denies access") as caught:
        login(stub, "me", "wrong-one")
    assert "MIDHAUL_REGISTRY_USER_127_0_0_1_" in caught.value.hint
    assert "wrong-one" not in str(caught.value)
    assert sum(said is not None for _, said in stub.seen) <= 2


def test_a_user_is_asked_for_where_none_is_set() -> None:
    """The hint is the names of the two variables."""
    with pytest.raises(PrerequisiteError, match="denies access") as caught:
        read(with_image(user="me", password=WORD, is_basic=True))
    assert "MIDHAUL_REGISTRY_PASSWORD_127_0_0_1_" in caught.value.hint


def test_a_token_that_has_expired_is_fetched_anew() -> None:
    """Once for a request; a registry that likes no token is left."""

    async def run() -> None:
        async with (
            with_image(is_token_needed=True) as stub,
            RegistryClient(limits=QUICK, environ={}) as client,
        ):
            await read_image(client, stub.reference)
            stub.ticket = "an0ther"
            await read_image(client, stub.reference)
            assert [what for what, _ in stub.seen].count("token") == 2
            stub.faults.extend([answers(401)] * 2)
            with pytest.raises(PrerequisiteError, match="denies access"):
                await read_image(client, stub.reference)

    asyncio.run(run())


def test_one_of_user_and_password_is_not_enough() -> None:
    """The message says which registry it is about."""
    with pytest.raises(PrerequisiteError, match=r"ghcr\.io: expected user and pass"):
        credentials("ghcr.io", {"MIDHAUL_REGISTRY_USER_GHCR_IO": "me"})
    assert credentials("ghcr.io", {}) is None


def test_a_password_is_not_in_the_text_of_its_credentials() -> None:
    """Logs and tracebacks show the user only."""
    environ = {
        "MIDHAUL_REGISTRY_USER_H_5000": "me",
        "MIDHAUL_REGISTRY_PASSWORD_H_5000": "secret",
    }
    assert "secret" not in repr(credentials("h:5000", environ))


def test_a_token_does_not_follow_a_redirect_to_another_host() -> None:
    """Blobs may be elsewhere; that place gets neither token nor password."""

    async def run() -> None:
        async with with_image(is_token_needed=True) as stub, Stub() as other:
            other.blobs = stub.blobs
            place = f"http://{other.address}/v2/a/b/blobs/"
            digest = next(iter(stub.blobs))
            stub.faults.append(answers(307, Location=place + digest))
            async with RegistryClient(limits=QUICK, environ={}) as client:
                reference = parse_reference(stub.reference)
                fetched = await client.small_blob(reference, _descriptor(stub, digest))
            assert fetched == stub.blobs[digest]
            assert [said for _, said in other.seen] == [None]

    asyncio.run(run())


def test_a_place_that_was_redirected_to_cannot_ask_for_a_password() -> None:
    """Only the registry itself is told who asks."""

    async def run() -> None:
        async with with_image() as stub, with_image(is_token_needed=True) as other:
            digest = next(iter(stub.blobs))
            place = f"http://{other.address}/v2/a/b/blobs/{digest}"
            stub.faults.append(answers(307, Location=place))
            async with RegistryClient(limits=QUICK, environ={}) as client:
                reference = parse_reference(stub.reference)
                with pytest.raises(PrerequisiteError, match="denies access"):
                    await client.small_blob(reference, _descriptor(stub, digest))
            assert "token" not in [what for what, _ in other.seen]

    asyncio.run(run())


def test_redirects_have_an_end() -> None:
    """A registry that leads in circles is left."""

    async def run() -> None:
        async with with_image() as stub:
            digest = next(iter(stub.blobs))
            place = f"http://{stub.address}/v2/a/b/blobs/{digest}"
            stub.faults.extend([answers(307, Location=place)] * 20)
            async with RegistryClient(limits=QUICK, environ={}) as client:
                reference = parse_reference(stub.reference)
                with pytest.raises(NodeError, match="failed at"):
                    await client.small_blob(reference, _descriptor(stub, digest))
            assert stub.asked[f"GET {digest}"] <= 5

    asyncio.run(run())


def _descriptor(stub: Stub, digest: str) -> Any:
    from midhaul.deploy.store.manifests import Descriptor  # noqa: PLC0415

    n_bytes = len(stub.blobs[digest])
    return Descriptor(digest=digest, n_bytes=n_bytes, media_type="x")


def test_a_page_instead_of_a_manifest_is_named() -> None:
    """A web server that is no registry says 200 to everything."""
    stub = Stub(manifests={"latest": ("text/html", b"<html>hello")})
    with pytest.raises(DataError, match="found a page") as caught:
        read(stub)
    assert "is the address of a registry" not in caught.value.message
    assert stub.address in caught.value.hint


def test_a_huge_manifest_is_not_read_to_its_end() -> None:
    """The limit is in the message."""
    stub = Stub(manifests={"latest": (MANIFEST, b"x" * 1_000_000)})
    with pytest.raises(DataError, match="at most 10000 bytes"):
        read(stub)


def test_a_manifest_that_was_changed_is_refused() -> None:
    """Expected and found digest are in the message."""
    stub = with_image()
    digest = stub.add_image([b"other"], "other")
    kind, body = stub.manifests["latest"]

    async def run() -> None:
        async with stub, RegistryClient(limits=QUICK, environ={}) as client:
            stub.manifests[digest] = kind, body + b" "
            await read_image(client, f"{stub.address}/a/b@{digest}")

    with pytest.raises(DataError, match="expected digest") as caught:
        asyncio.run(run())
    assert digest in caught.value.message
    assert digest_of(body + b" ") in caught.value.message


def test_an_image_that_is_not_there_is_named() -> None:
    """Registry, status and reference are in the message."""
    stub = Stub()
    with pytest.raises(DataError, match="answered 404") as caught:
        read(stub)
    assert stub.reference in caught.value.message


@pytest.mark.parametrize(
    ("status", "error", "match"),
    [
        (500, NodeError, "answered 500"),
        (503, NodeError, "answered 503"),
        (429, NodeError, "answered 429"),
        (403, PrerequisiteError, "denies access"),
        (400, DataError, "answered 400"),
        (304, DataError, "answered 304"),
    ],
)
def test_a_status_becomes_an_error(
    status: int, error: type[MidhaulError], match: str
) -> None:
    """Whose fault it is decides which error."""
    stub = with_image()
    stub.faults.append(answers(status))
    with pytest.raises(error, match=match):
        read(stub)


def test_a_registry_that_is_not_there_is_named() -> None:
    """The hint speaks of plain HTTP, a usual reason."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    async def run() -> None:
        async with RegistryClient(limits=QUICK, environ={}) as client:
            await read_image(client, f"127.0.0.1:{port}/a", patience=ONCE)

    with pytest.raises(NodeError, match=f"127.0.0.1:{port} failed") as caught:
        asyncio.run(run())
    assert "plain_http" in caught.value.hint


def test_silence_has_an_end() -> None:
    """Something that accepts connections and never answers is left."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]

        async def run() -> None:
            async with RegistryClient(limits=QUICK, environ={}) as client:
                await read_image(client, f"127.0.0.1:{port}/a", patience=ONCE)

        with pytest.raises(NodeError, match="failed at"):
            asyncio.run(run())


def test_a_registry_elsewhere_is_asked_by_https_unless_it_is_named() -> None:
    """Only loopback and those named are trusted without encryption."""
    client = RegistryClient(plain_http=("10.0.0.1:5000",), environ={})
    for text, scheme in (
        ("10.0.0.1:5000/a", "http"),
        ("10.0.0.2:5000/a", "https"),
        ("localhost:5000/a", "http"),
        ("debian", "https"),
    ):
        assert client.url(parse_reference(text), "x").startswith(f"{scheme}://")


@pytest.mark.parametrize("realm", ["ftp://h/token", "/token", "file:///etc/passwd"])
def test_a_token_service_must_be_on_the_web(realm: str) -> None:
    """The realm is a stranger's text."""
    with pytest.raises(DataError, match="expected the URL of its token service"):
        read(with_image(is_token_needed=True, realm=realm))


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], []),
        (["Basic"], [("basic", {})]),
        (['Basic realm="x y"'], [("basic", {"realm": "x y"})]),
        (
            ['Bearer realm="https://a/t",service="s",scope="repository:a:pull,push"'],
            [("bearer", {
                "realm": "https://a/t", "service": "s",
                "scope": "repository:a:pull,push",
            })],
        ),
        (
            ['Basic realm="a", Bearer realm="b" , service=c'],
            [("basic", {"realm": "a"}), ("bearer", {"realm": "b", "service": "c"})],
        ),
        (["Basic realm=a", "Bearer Realm=b"],
         [("basic", {"realm": "a"}), ("bearer", {"realm": "b"})]),
        ([r'Basic realm="a\"b"'], [("basic", {"realm": 'a"b'})]),
        (['="nonsense', "x=1"], [("nonsense", {})]),
    ],
)  # fmt: skip
def test_challenges_are_read(headers: list[str], expected: list[Any]) -> None:
    """Several in one header or in several, quoted or not; nonsense does no harm."""
    found = parse_challenges(headers)
    assert [(c.scheme, dict(c.parameters)) for c in found] == [
        (s, p) if s != "nonsense" else (s, {"x": "1"}) for s, p in expected
    ]
