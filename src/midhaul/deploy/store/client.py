"""A client of any registry that follows the OCI distribution specification, 1.1.

One client talks to many registries. It answers challenges (bearer tokens, basic), and
keeps what it was given per repository. Nothing that a registry sends is believed:
bodies are bounded, and manifests are held against their digests.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import aiohttp
import yarl

from midhaul.deploy.store.access import (
    Access,
    Challenge,
    Credentials,
    credentials,
    login_for,
    parse_challenges,
)
from midhaul.deploy.store.failures import check_status, denied, network_errors, verify
from midhaul.deploy.store.manifests import ACCEPT, Descriptor, digest_of, parse_json
from midhaul.errors import DataError

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        Callable,
        Collection,
        Coroutine,
        Iterable,
        Mapping,
    )
    from typing import Self

    from midhaul.deploy.store.manifests import Reference

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeLimits:
    """How much of a registry's time and text is taken.

    Attributes:
        connect_s: longest wait for a connection.
        read_s: longest silence while an answer is read.
        manifest_bytes: largest manifest or configuration.
        n_redirects: most redirects that one request follows.
        n_connections: most connections open at once.
        helper_s: longest wait for a credential helper.
    """

    connect_s: float = 10.0
    read_s: float = 30.0
    manifest_bytes: int = 4 << 20
    n_redirects: int = 5
    n_connections: int = 16
    helper_s: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request: a path below ``/v2/REPOSITORY/``, or a URL that the registry named.

    ``body`` makes the body anew for each attempt.
    """

    method: str
    path: str
    is_write: bool = False
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    parameters: Mapping[str, str] = field(default_factory=dict[str, str])
    body: Callable[[], Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A manifest as the registry sent it, verified."""

    body: bytes
    digest: str


async def bounded(answer: aiohttp.ClientResponse, most_bytes: int, what: str) -> bytes:
    """The body of an answer that must be small; a DataError where it is not."""
    body = bytearray()
    async for piece in answer.content.iter_any():
        body += piece
        if len(body) > most_bytes:
            message = f"{what}: expected at most {most_bytes} bytes, found more"
            raise DataError(message)
    return bytes(body)


async def together(works: Iterable[Coroutine[Any, Any, _T]]) -> list[_T]:
    """Do some things at once; the first that fails ends the others, and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


_OK, _PARTIAL, _UNAUTHORIZED, _FORBIDDEN, _MISSING = 200, 206, 401, 403, 404
_BAD_REQUEST, _SEE_OTHER = 400, 303
_MOVED, _MOVED_AS_GET = frozenset({301, 302, 303, 307, 308}), frozenset({301, 302})
_NO_SUCH_METHOD = (405, 501)
_NO_PARTS = (400, 404, 406, 416, *_NO_SUCH_METHOD)
_READ_BUFFER_BYTES = 1 << 20


class RegistryClient:
    """Talks to registries; an asynchronous context manager.

    Registries on loopback are asked by what they speak, all others by HTTPS.

    Args:
        plain_http: registries (``host:port``) that are asked by plain HTTP.
        limits: of time and size.
        environ: where user and password are looked up
            (``MIDHAUL_REGISTRY_USER_GHCR_IO``), proxies, and where logins of Docker
            are; the process's environment by default.
        access: the same and certificates; in place of ``plain_http`` and ``environ``.
    """

    def __init__(
        self,
        *,
        plain_http: Collection[str] = (),
        limits: ExchangeLimits | None = None,
        environ: Mapping[str, str] | None = None,
        access: Access | None = None,
    ) -> None:
        self.limits = limits or ExchangeLimits()
        self._access = access or Access(
            plain_http=frozenset(plain_http),
            environ=os.environ if environ is None else environ,
        )
        self._schemes: dict[str, str] = {}
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._logins: dict[tuple[str, str], Credentials | None] = {}
        self._session: aiohttp.ClientSession | None = None
        self._tokens: dict[tuple[str, str, bool], str] = {}
        self.private_registries: set[str] = set()

    async def __aenter__(self) -> Self:
        """Open the pool of connections."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self.limits.n_connections),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "midhaul", "Accept-Encoding": "identity"},
            timeout=aiohttp.ClientTimeout(
                total=None,
                sock_connect=self.limits.connect_s,
                sock_read=self.limits.read_s,
            ),
            auto_decompress=False,
            trust_env=False,
            read_bufsize=_READ_BUFFER_BYTES,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the pool."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    @contextlib.asynccontextmanager
    async def request(
        self, reference: Reference, ask: Ask
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """Send one request, with a token if one is needed; yields any answer but 401.

        Raises:
            NodeError: the registry cannot be reached, or the connection broke.
            PrerequisiteError: it wants a user and a password.
        """
        key = (reference.registry, reference.repository, ask.is_write)
        with network_errors(reference):
            await self._find_scheme(reference)
            for is_retried in (False, True):
                async with self._send(reference, ask, self._tokens.get(key)) as answer:
                    if answer.status != _UNAUTHORIZED:
                        yield answer
                        return
                    asked = answer.headers.getall("WWW-Authenticate", [])
                    is_own = _origin(answer.url) == _origin(self.url(reference, ""))
                if is_retried or not is_own:
                    break
                self._tokens[key] = await self._authorise(
                    reference, parse_challenges(asked)
                )
        self._tokens.pop(key, None)
        raise denied(reference, _UNAUTHORIZED)

    async def manifest(
        self, reference: Reference, wanted: str | None = None
    ) -> Fetched:
        """The manifest of an image, held against its digest.

        Args:
            reference: the image.
            wanted: another digest of the same repository.

        Raises:
            DataError: there is none, it is too large, or its digest is another one.
            NodeError: the registry does not answer as it should.
            PrerequisiteError: it wants a user and a password.
        """
        wanted = wanted or reference.wanted
        ask = Ask(method="GET", path=f"manifests/{wanted}", headers={"Accept": ACCEPT})
        async with self.request(reference, ask) as answer:
            check_status(answer, reference, f"manifest {wanted}")
            kind = answer.content_type
            if "html" in kind:
                message = f"{reference}: expected a manifest, found a page ({kind})"
                hint = f"is {reference.registry} the address of a registry?"
                raise DataError(message, hint)
            body = await bounded(
                answer, self.limits.manifest_bytes, f"manifest of {reference}"
            )
            said = answer.headers.get("Docker-Content-Digest")
        named = wanted if ":" in wanted else said
        if not named:
            return Fetched(body=body, digest=digest_of(body))
        if named.partition(":")[0] not in {"sha256", "sha512"}:
            message = f"{reference}: expected a sha256 digest, found {named!r}"
            raise DataError(message)
        verify(reference, "manifest", named, body)
        return Fetched(body=body, digest=named)

    async def small_blob(self, reference: Reference, blob: Descriptor) -> bytes:
        """A blob that fits into memory, such as a configuration, verified.

        Raises:
            DataError, NodeError, PrerequisiteError: as :meth:`manifest`.
        """
        ask = Ask(method="GET", path=f"blobs/{blob.digest}")
        async with self.request(reference, ask) as answer:
            check_status(answer, reference, f"blob {blob.digest}")
            body = await bounded(
                answer, self.limits.manifest_bytes, f"blob {blob.digest} of {reference}"
            )
        verify(reference, "blob", blob.digest, body)
        return body

    async def blob_bytes(
        self, reference: Reference, digest: str, *, is_write: bool = False
    ) -> int | None:
        """Size of a blob that the registry has; None if it has not, -1 if untold.

        Raises:
            NodeError, PrerequisiteError: as :meth:`manifest`.
        """
        ask = Ask(method="HEAD", path=f"blobs/{digest}", is_write=is_write)
        async with self.request(reference, ask) as answer:
            if answer.status == _MISSING:
                return None
            if answer.status in _NO_SUCH_METHOD:
                return -1  # a cache before a registry may know GET only
            check_status(answer, reference, f"blob {digest}")
            length = answer.headers.get("Content-Length", "")
            return int(length) if length.isascii() and length.isdigit() else -1

    async def blob_part(
        self, reference: Reference, blob: Descriptor, first: int, last: int
    ) -> bytes | None:
        """Bytes ``first`` to ``last`` of a blob; None where parts are not given.

        They cannot be held against the digest, unless they are the whole blob.

        Raises:
            DataError, NodeError, PrerequisiteError: as :meth:`manifest`.
        """
        headers = {"Range": f"bytes={first}-{last}"}
        ask = Ask(method="GET", path=f"blobs/{blob.digest}", headers=headers)
        n_bytes = last - first + 1
        async with self.request(reference, ask) as answer:
            if answer.status in _NO_PARTS:
                return None
            check_status(answer, reference, f"blob {blob.digest}")
            said = answer.headers.get("Content-Range", "").replace(" ", "")
            is_part = answer.status == _PARTIAL and said.startswith(f"bytes{first}-")
            if not is_part and not (answer.status == _OK and n_bytes == blob.n_bytes):
                return None
            body = b""
            while len(body) < n_bytes:
                piece = await answer.content.read(n_bytes - len(body))
                if not piece:
                    return None
                body += piece
        return body

    def url(self, reference: Reference, path: str) -> str:
        """The URL of something in a repository."""
        is_plain = (
            reference.is_loopback or reference.registry in self._access.plain_http
        )
        usual = "http" if is_plain else "https"
        scheme = self._schemes.get(reference.registry, usual)
        return f"{scheme}://{reference.host}/v2/{reference.repository}/{path}"

    async def _find_scheme(self, reference: Reference) -> None:
        """Find out whether a registry on loopback speaks TLS, once."""
        registry = reference.registry
        is_told = registry in self._access.plain_http or registry in self._schemes
        if is_told or not reference.is_loopback:
            return
        probe = f"http://{reference.host}/v2/"
        limit = aiohttp.ClientTimeout(total=self.limits.connect_s)
        try:
            async with self._open().get(
                probe, timeout=limit, allow_redirects=False
            ) as answer:
                is_plain = answer.status != _BAD_REQUEST  # what Go and nginx say to it
        except aiohttp.ClientConnectorError:
            return  # nobody is there
        except (aiohttp.ClientError, TimeoutError, OSError):
            is_plain = False
        if is_plain or not await self._has_tls(yarl.URL(probe)):
            self._schemes[registry] = "http"
        else:
            self._schemes[registry] = "https"

    async def _has_tls(self, url: yarl.URL) -> bool:
        """Whether there is TLS at a place, whoever it belongs to."""
        anyone = ssl.create_default_context()
        anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
        try:
            async with asyncio.timeout(self.limits.connect_s):
                _, writer = await asyncio.open_connection(
                    url.host, url.port, ssl=anyone
                )
        except (OSError, TimeoutError):
            return False
        writer.close()
        return True

    @contextlib.asynccontextmanager
    async def _send(
        self, reference: Reference, ask: Ask, token: str | None
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """Send a request, and after it wherever it is redirected to."""
        is_path = "://" not in ask.path
        url = yarl.URL(self.url(reference, ask.path) if is_path else ask.path)
        parameters = dict(ask.parameters)
        if is_path and reference.mirrored:
            parameters["ns"] = reference.mirrored  # as containerd tells its mirrors
        method, body = ask.method, ask.body
        for _ in range(self.limits.n_redirects + 1):
            is_own = _origin(url) == _origin(self.url(reference, ""))
            login = {"Authorization": token} if token and is_own else {}
            async with self._open().request(
                method,
                url,
                headers={**ask.headers, **login},
                params=parameters or None,
                data=body() if body else None,
                allow_redirects=False,
                **self._way(url),
            ) as answer:
                place = answer.headers.get("Location", "")
                if answer.status not in _MOVED or not place:
                    yield answer
                    return
                if answer.status == _SEE_OTHER or (
                    method == "POST" and answer.status in _MOVED_AS_GET
                ):
                    method, body = "GET", None
            url, parameters = url.join(yarl.URL(place, encoded=True)), {}
            if url.scheme not in {"http", "https"} or not url.host:
                message = f"a redirect to {url.scheme or 'nowhere'}"
                raise aiohttp.ClientError(message)
        message = f"more than {self.limits.n_redirects} redirects"
        raise aiohttp.ClientError(message)

    def _way(self, url: yarl.URL) -> dict[str, Any]:
        """Certificates and proxy for an address, as aiohttp takes them."""
        proxy = self._access.proxy(url)
        found: dict[str, Any] = {} if proxy is None else {"proxy": proxy}
        if url.scheme == "https":
            place = url.host_port_subcomponent or ""
            if place not in self._contexts:
                self._contexts[place] = self._access.context(place)
            found["ssl"] = self._contexts[place]
        return found

    async def _login(self, reference: Reference) -> Credentials | None:
        """Who one is: as the environment says, or as Docker's logins do."""
        key = reference.registry, reference.repository
        if key not in self._logins:
            environ = self._access.environ
            self._logins[key] = credentials(
                reference.registry, environ
            ) or await asyncio.to_thread(
                login_for, reference, environ, limit_s=self.limits.helper_s
            )
        return self._logins[key]

    async def _authorise(
        self, reference: Reference, challenges: tuple[Challenge, ...]
    ) -> str:
        """The value of ``Authorization`` that answers a challenge."""
        known = await self._login(reference)
        by_scheme = {challenge.scheme: challenge for challenge in challenges}
        if bearer := by_scheme.get("bearer"):
            return await self._token(reference, bearer, known)
        if "basic" in by_scheme and known and not known.is_identity:
            self.private_registries.add(reference.registry)
            return known.header
        raise denied(reference, _UNAUTHORIZED)

    async def _token(
        self, reference: Reference, challenge: Challenge, known: Credentials | None
    ) -> str:
        realm = challenge.parameters.get("realm", "")
        is_secure = self.url(reference, "").startswith("https:")
        if not realm.startswith("https://" if is_secure else ("http://", "https://")):
            message = f"{reference.registry}: expected the URL of its token service, "
            raise DataError(message + f"found {realm!r}")
        names = ("service", "scope")
        said = {n: v for n in names if (v := challenge.parameters.get(n))}
        if known is not None and known.is_identity:
            # RFC 6749, section 6, as Docker's token services take it.
            form = {**said, "grant_type": "refresh_token", "client_id": "midhaul"}
            form["refresh_token"] = known.password
            how: dict[str, Any] = {"method": "POST", "data": form}
        else:
            login = {"Authorization": known.header} if known else {}
            how = {"method": "GET", "params": said, "headers": login}
        async with self._open().request(
            url=realm,
            max_redirects=self.limits.n_redirects,
            **how,
            **self._way(yarl.URL(realm)),
        ) as answer:
            if answer.status in {_UNAUTHORIZED, _FORBIDDEN}:
                raise denied(reference, answer.status)
            check_status(answer, reference, f"token from {realm}")
            body = await bounded(
                answer, self.limits.manifest_bytes, f"token from {realm}"
            )
        if known:
            self.private_registries.add(reference.registry)
        found = parse_json(body, f"token from {realm}")
        token = found.get("token") or found.get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            message = f"token from {realm}: expected a token, found "
            raise DataError(message + (", ".join(sorted(found)[:5]) or "nothing"))
        return f"Bearer {token}"

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            message = "enter the RegistryClient first: async with"
            raise RuntimeError(message)
        return self._session


def _origin(url: str | yarl.URL) -> yarl.URL:
    """Scheme, host and port: tokens and passwords go to those of the registry only."""
    return yarl.URL(url).origin()
