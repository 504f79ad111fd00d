"""A client of any registry that follows the OCI distribution specification, 1.1.

One client talks to many registries. It answers challenges (bearer tokens, basic), and
keeps what it was given per repository. Nothing that a registry sends is believed:
bodies are bounded, and manifests are held against their digests.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from typing import TYPE_CHECKING

import aiohttp
import yarl

from midhaul.deploy.registry.answers import (
    check_status,
    denied,
    mismatch,
    network_errors,
)
from midhaul.deploy.registry.auth import Challenge, credentials, parse_challenges
from midhaul.deploy.registry.exchange import Ask, Fetched, Limits, bounded
from midhaul.deploy.registry.manifests import ACCEPT, Descriptor, parse_json
from midhaul.errors import DataError

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        Collection,
        Mapping,
    )
    from types import TracebackType
    from typing import Self

    from midhaul.deploy.registry.reference import Reference

_OK, _PARTIAL, _UNAUTHORIZED, _FORBIDDEN, _MISSING = 200, 206, 401, 403, 404
_NO_SUCH_METHOD = (405, 501)
_NO_PARTS = (400, 404, 406, 416, *_NO_SUCH_METHOD)
_READ_BUFFER_BYTES = 1 << 20


class RegistryClient:
    """Talks to registries; an asynchronous context manager.

    Registries on loopback are asked by plain HTTP, all others by HTTPS. Proxies of the
    environment are ignored.

    Args:
        plain_http: further registries (``host:port``) that are asked by plain HTTP.
        limits: of time and size.
        environ: where user and password are looked up
            (``MIDHAUL_REGISTRY_USER_GHCR_IO``); the process's environment by default.
    """

    def __init__(
        self,
        *,
        plain_http: Collection[str] = (),
        limits: Limits | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self._plain_http = frozenset(plain_http)
        self._environ = os.environ if environ is None else environ
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

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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
        algorithm = (named or "sha256").partition(":")[0]
        if algorithm not in {"sha256", "sha512"}:
            message = f"{reference}: expected a sha256 digest, found {named!r}"
            raise DataError(message)
        found = f"{algorithm}:{hashlib.new(algorithm, body).hexdigest()}"
        if named and found != named:
            raise mismatch(reference, "manifest", named, found)
        return Fetched(body=body, digest=found)

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
        algorithm = blob.digest.partition(":")[0]
        found = f"{algorithm}:{hashlib.new(algorithm, body).hexdigest()}"
        if found != blob.digest:
            raise mismatch(reference, "blob", blob.digest, found)
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
        is_plain = reference.is_loopback or reference.registry in self._plain_http
        scheme = "http" if is_plain else "https"
        return f"{scheme}://{reference.host}/v2/{reference.repository}/{path}"

    def _send(
        self, reference: Reference, ask: Ask, token: str | None
    ) -> contextlib.AbstractAsyncContextManager[aiohttp.ClientResponse]:
        url = ask.path if "://" in ask.path else self.url(reference, ask.path)
        is_own = _origin(url) == _origin(self.url(reference, ""))
        return self._open().request(
            ask.method,
            url,
            headers={
                **ask.headers,
                **({"Authorization": token} if token and is_own else {}),
            },
            params=ask.parameters or None,
            data=ask.body() if ask.body else None,
            max_redirects=self.limits.n_redirects,
            allow_redirects=True,
        )

    async def _authorise(
        self, reference: Reference, challenges: tuple[Challenge, ...]
    ) -> str:
        """The value of ``Authorization`` that answers a challenge."""
        known = credentials(reference.registry, self._environ)
        by_scheme = {challenge.scheme: challenge for challenge in challenges}
        if bearer := by_scheme.get("bearer"):
            return await self._token(reference, bearer)
        if "basic" in by_scheme and known:
            self.private_registries.add(reference.registry)
            return known.header
        raise denied(reference, _UNAUTHORIZED)

    async def _token(self, reference: Reference, challenge: Challenge) -> str:
        realm = challenge.parameters.get("realm", "")
        is_secure = self.url(reference, "").startswith("https:")
        if not realm.startswith("https://" if is_secure else ("http://", "https://")):
            message = f"{reference.registry}: expected the URL of its token service, "
            raise DataError(message + f"found {realm!r}")
        known = credentials(reference.registry, self._environ)
        names = ("service", "scope")
        parameters = {n: v for n in names if (v := challenge.parameters.get(n))}
        async with self._open().get(
            realm,
            params=parameters,
            headers={"Authorization": known.header} if known else {},
            max_redirects=self.limits.n_redirects,
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
