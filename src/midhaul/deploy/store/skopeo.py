"""Another reader of registries: the program skopeo, with its own way to log in.

It knows ``registries.conf``, policies and transports of the containers tools. It gives
manifests and configurations, no parts of layers: their sizes on a disk are estimates.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from typing import TYPE_CHECKING

from midhaul.deploy.store.client import Fetched
from midhaul.deploy.store.failures import verify
from midhaul.deploy.store.manifests import digest_of, parse_json
from midhaul.errors import DataError, NodeError, PrerequisiteError

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Self

    from midhaul.deploy.store.access import Access
    from midhaul.deploy.store.manifests import Descriptor, Reference

_LIMIT_S = 60.0
_DENIED = ("unauthorized", "denied", "authentication required")
_MISSING = ("manifest unknown", "not found", "name unknown", "name invalid")


class SkopeoSource:
    """Asks registries with skopeo; an asynchronous context manager.

    Args:
        access: which registries speak plain HTTP, and the environment.
        limit_s: time that one question may take.
    """

    def __init__(self, access: Access, *, limit_s: float = _LIMIT_S) -> None:
        self._access = access
        self._limit_s = limit_s
        self._manifest_of: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        """See that there is such a program."""
        if shutil.which("skopeo") is None:
            message = "images.reader is skopeo, which is not installed"
            raise PrerequisiteError(
                message, 'apt install skopeo, or reader = "midhaul"'
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing is left open."""

    @property
    def private_registries(self) -> Collection[str]:
        """None: it does not say whom it told a password."""
        return ()

    async def manifest(
        self, reference: Reference, wanted: str | None = None
    ) -> Fetched:
        """A manifest or an index, held against its digest where one was asked for.

        Raises:
            DataError, NodeError, PrerequisiteError: as every ``ImageSource``.
        """
        wanted = wanted or reference.wanted
        body = await self._ask(reference, wanted)
        digest = wanted if ":" in wanted else digest_of(body)
        verify(reference, "manifest", digest, body)
        config = parse_json(body, str(reference)).get("config")
        if isinstance(config, dict):
            self._manifest_of[str(config.get("digest"))] = digest
        return Fetched(body=body, digest=digest)

    async def small_blob(self, reference: Reference, blob: Descriptor) -> bytes:
        """The configuration of a manifest that was asked for before, verified.

        Raises:
            DataError, NodeError, PrerequisiteError: as every ``ImageSource``.
        """
        body = await self._ask(reference, self._manifest_of[blob.digest], "--config")
        verify(reference, "blob", blob.digest, body)
        return body

    async def blob_bytes(self, reference: Reference, digest: str) -> int | None:
        """Not told."""
        del reference, digest
        return -1

    async def blob_part(
        self, reference: Reference, blob: Descriptor, first: int, last: int
    ) -> bytes | None:
        """Not given."""
        del reference, blob, first, last
        return None

    async def _ask(self, reference: Reference, wanted: str, *more: str) -> bytes:
        at = "@" if ":" in wanted else ":"
        name = f"docker://{reference.registry}/{reference.repository}{at}{wanted}"
        is_plain = reference.registry in self._access.plain_http
        plain = ["--tls-verify=false"] if is_plain or reference.is_loopback else []
        process = await asyncio.create_subprocess_exec(
            *("skopeo", "inspect", "--raw", *more, *plain, name),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(self._access.environ),
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(self._limit_s):
                out, err = await process.communicate()
        except TimeoutError as error:
            message = f"skopeo did not answer within {self._limit_s:g} s for {name}"
            raise NodeError(message) from error
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        if process.returncode:
            raise _error(reference, err.decode("utf-8", "replace"))
        return out


def _error(
    reference: Reference, said: str
) -> DataError | NodeError | PrerequisiteError:
    last = (said.strip().splitlines() or ["it said nothing"])[-1][-300:]
    message = f"skopeo cannot read {reference}: {last}"
    if any(word in said.lower() for word in _DENIED):
        return PrerequisiteError(message, f"skopeo login {reference.registry}")
    if any(word in said.lower() for word in _MISSING):
        return DataError(message, "check repository and tag; they are case-sensitive")
    return NodeError(message)
