"""A registry on loopback that speaks the protocol, and misbehaves where a test asks."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import json
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"

Fault = "Callable[[web.Request, bytes], Awaitable[web.StreamResponse]]"


def digest_of(content: bytes) -> str:
    """The sha256 digest of something."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass(slots=True)
class Stub:
    """A registry with one repository, ``a/b``, an asynchronous context manager.

    Attributes:
        blobs: by digest.
        manifests: media type and body by tag or digest.
        user: who must log in, at a token service or by ``basic``; nobody if empty.
        realm: where the token service is said to be; where it is if empty.
        ticket: what it gives.
        place: where uploads are to go.
        faults: what the next requests for blobs meet, instead of an answer.
        slow_downs: what the next requests for manifests meet, instead of an answer.
        has_ranges: whether parts of blobs are given from their first byte on.
        asked: how often each ``METHOD path`` was asked for.
        ranges: the ranges that were asked for.
        seen: values of Authorization, by what was asked.
    """

    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    user: str = ""
    password: str = ""
    is_basic: bool = False
    is_token_needed: bool = False
    realm: str = ""
    ticket: str = "t0ken"
    place: str = "/v2/a/b/blobs/uploads/1?state=x%3D"
    faults: deque[Any] = field(default_factory=deque)
    slow_downs: deque[Any] = field(default_factory=deque)
    has_ranges: bool = False
    asked: Counter[str] = field(default_factory=Counter)
    ranges: list[str] = field(default_factory=list)
    seen: list[tuple[str, str | None]] = field(default_factory=list)
    address: str = ""
    _runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        """Listen on a free port."""
        app = web.Application()
        app.router.add_get("/token", self._token)
        app.router.add_get("/v2/a/b/manifests/{name}", self._manifest)
        app.router.add_get("/v2/a/b/blobs/{digest}", self._blob)
        app.router.add_post("/v2/a/b/blobs/uploads/", self._begin)
        app.router.add_put("/v2/a/b/blobs/uploads/1", self._upload)
        app.router.add_put("/v2/a/b/manifests/{name}", self._name)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.address = f"127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def reference(self) -> str:
        """The image ``latest``."""
        return f"{self.address}/a/b:latest"

    def add_blob(self, content: bytes) -> str:
        """Keep a blob."""
        self.blobs[digest_of(content)] = content
        return digest_of(content)

    def add_manifest(self, content: dict[str, Any], *names: str) -> str:
        """Keep a manifest under names and its digest."""
        body = json.dumps(content).encode()
        kind = content.get("mediaType", MANIFEST)
        for name in (*names, digest_of(body)):
            self.manifests[name] = (kind, body)
        return digest_of(body)

    def add_image(
        self,
        contents: Sequence[bytes],
        *names: str,
        media_type: str = LAYER,
        **config: Any,
    ) -> str:
        """Keep an image whose layers are gzips of some contents."""
        layers = [
            descriptor(
                self, packed(c) if media_type.endswith("gzip") else c, media_type
            )
            for c in contents
        ]
        settings = {
            "os": "linux",
            "architecture": "amd64",
            "rootfs": {"diff_ids": [digest_of(c) for c in contents]},
            **config,
        }
        return self.add_manifest(manifest(self, layers, settings), *names)

    async def _token(self, request: web.Request) -> web.Response:
        self.seen.append(("token", request.headers.get("Authorization")))
        pair = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        if self.user and request.headers.get("Authorization") != f"Basic {pair}":
            return web.Response(status=401)
        assert request.query["service"] == "stub, here"
        assert request.query["scope"] == "repository:a/b:pull"
        return web.json_response({"access_token": self.ticket})

    def _denial(self, request: web.Request) -> web.Response | None:
        said = request.headers.get("Authorization")
        self.seen.append((request.path, said))
        self.asked[f"{request.method} {request.path.rpartition('/')[2]}"] += 1
        pair = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        if self.is_basic and said != f"Basic {pair}":
            challenge = 'Basic realm="stub"'
        elif self.is_token_needed and said != f"Bearer {self.ticket}":
            realm = self.realm or f"http://{self.address}/token"
            challenge = f'Bearer realm="{realm}",service="stub, here",'
            challenge += 'scope="repository:a/b:pull"'
        else:
            return None
        return web.Response(status=401, headers={"WWW-Authenticate": challenge})

    async def _manifest(self, request: web.Request) -> web.StreamResponse:
        if denial := self._denial(request):
            return denial
        found = self.manifests.get(request.match_info["name"])
        if self.slow_downs and (fault := self.slow_downs.popleft()) is not None:
            return await fault(request, b"")
        if found is None:
            return web.Response(status=404)
        kind, body = found
        headers = {"Content-Type": kind}
        if "json" in kind:
            headers["Docker-Content-Digest"] = digest_of(body)
        return web.Response(body=body, headers=headers)

    async def _blob(self, request: web.Request) -> web.StreamResponse:
        if denial := self._denial(request):
            return denial
        content = self.blobs.get(request.match_info["digest"])
        if content is None:
            return web.Response(status=404)
        if "Range" in request.headers:
            self.ranges.append(request.headers["Range"])
        if self.faults and request.method == "GET":
            fault = self.faults.popleft()
            if fault is not None:
                return await fault(request, content)
        if self.has_ranges and "Range" in request.headers:
            part = content[request.http_range]
            start = request.http_range.start or 0
            said = f"bytes {start}-{start + len(part) - 1}/{len(content)}"
            return web.Response(status=206, body=part, headers={"Content-Range": said})
        return ranged(request, content)

    async def _begin(self, request: web.Request) -> web.Response:
        if denial := self._denial(request):
            return denial
        return web.Response(status=202, headers={"Location": self.place})

    async def _upload(self, request: web.Request) -> web.Response:
        if denial := self._denial(request):
            return denial
        assert request.query["state"] == "x="
        content = await request.read()
        assert request.query["digest"] == self.add_blob(content)
        return web.Response(status=201)

    async def _name(self, request: web.Request) -> web.Response:
        if denial := self._denial(request):
            return denial
        body = await request.read()
        self.manifests[request.match_info["name"]] = request.content_type, body
        return web.Response(status=201)


def ranged(request: web.Request, content: bytes) -> web.Response:
    """A blob, or the rest of it from where the request says."""
    start = request.http_range.start or 0
    if not start:
        return web.Response(body=content)
    whole = len(content)
    headers = {"Content-Range": f"bytes {start}-{whole - 1}/{whole}"}
    return web.Response(status=206, body=content[start:], headers=headers)


def dies_after(n_bytes: int) -> Any:
    """A fault: the connection breaks after some bytes of the answer."""

    async def die(request: web.Request, content: bytes) -> web.StreamResponse:
        start = request.http_range.start or 0
        response = web.StreamResponse(status=206 if start else 200)
        response.content_length = len(content) - start
        if start:
            whole = len(content)
            response.headers["Content-Range"] = f"bytes {start}-{whole - 1}/{whole}"
        await response.prepare(request)
        await response.write(content[start : start + n_bytes])
        await asyncio.sleep(0.02)
        assert request.transport is not None
        request.transport.abort()
        return response

    return die


def answers(status: int = 200, body: bytes = b"", **headers: str) -> Any:
    """A fault: something else is answered."""

    async def answer(_: web.Request, __: bytes) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, body=body, headers=named)

    return answer


def hangs(n_bytes: int) -> Any:
    """A fault: some bytes come, and then nothing more."""

    async def hang(request: web.Request, content: bytes) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = len(content)
        await response.prepare(request)
        await response.write(content[:n_bytes])
        await asyncio.sleep(30)
        return response

    return hang


def packed(content: bytes) -> bytes:
    """A gzip without a time in it."""
    return gzip.compress(content, mtime=0)


def descriptor(stub: Stub, content: bytes, media_type: str = LAYER) -> dict[str, Any]:
    """Keep a blob and describe it."""
    digest = stub.add_blob(content)
    return {"mediaType": media_type, "digest": digest, "size": len(content)}


def manifest(
    stub: Stub, layers: list[dict[str, Any]], config: dict[str, Any]
) -> dict[str, Any]:
    """An OCI manifest; its configuration is kept."""
    body = json.dumps(config).encode()
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(stub, body, "application/vnd.oci.image.config.v1+json"),
        "layers": layers,
    }
