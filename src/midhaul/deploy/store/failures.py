"""Registry failures and retries: errors that name registry, image and status.

*Retries*: how a registry that fails, or has had enough of us, is asked again.

Waits double (exponential backoff) and are partly left to chance, so that many programs
do not come back in the same moment (RFC 9110, section 10.2.3, for ``Retry-After``; RFC
6585, section 4, for 429). What a registry asks for is granted up to a bound, and all
waits for one registry together have another.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import math
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, TypeVar

import aiohttp
import numpy as np

from midhaul.deploy.store.access import variables
from midhaul.deploy.store.manifests import digest_of
from midhaul.errors import DataError, MidhaulError, NodeError, PrerequisiteError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Mapping

    from midhaul.deploy.store.manifests import Reference

_T = TypeVar("_T")
_EPOCH_S = 1e9
"""A number of seconds from here on is a time, not a wait; some write that."""


class BusyRegistryError(NodeError):
    """A registry limits requests, or rests, and said when to come again.

    Args:
        message: as of every error.
        hint: as of every error.
        wait_s: what it asks for.
    """

    def __init__(self, message: str, hint: str = "", *, wait_s: float) -> None:
        super().__init__(message, hint)
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryRetries:
    """How often, and after which waits, a failed registry is asked again.

    Attributes:
        n_most: most failures in a row; one that brought bytes before it ends a row.
        first_s: wait before the second attempt; each further one doubles it.
        longest_s: no wait of our own is longer.
        longest_told_s: no wait that a registry asks for is longer; one that asks for
            more is left at once.
    """

    n_most: int = 8
    first_s: float = 0.2
    longest_s: float = 10.0
    longest_told_s: float = 60.0

    def wait_s(self, n_failures: int, rng: np.random.Generator) -> float:
        """The wait after some failures in a row, half of it left to chance."""
        full = min(self.longest_s, self.first_s * 2.0 ** min(n_failures - 1, 60))
        return full * rng.uniform(0.5, 1.0)

    def wait_after(
        self, error: NodeError, n_failures: int, rng: np.random.Generator
    ) -> float:
        """The wait after a failure: what the registry asks for, or one's own.

        Raises:
            NodeError: the failure, where there were too many, or the wait is too long.
        """
        if n_failures > self.n_most:
            raise error
        own_s = self.wait_s(n_failures, rng)
        if not isinstance(error, BusyRegistryError):
            return own_s
        if error.wait_s > self.longest_told_s:
            raise error
        # Not before the time: some count what comes too early against the next one.
        return max(own_s, error.wait_s * rng.uniform(1.0, 1.1))


class Patience:
    """Asks again until a registry answers, failed too often, or has had its time.

    Args:
        retries: how patient it is with one request.
        total_s: all waits for one registry together; afterwards each request to it has
            one attempt.
        rng: chance of the waits.
        sleep: waits for some seconds.
    """

    def __init__(
        self,
        retries: RegistryRetries | None = None,
        *,
        total_s: float = 120.0,
        rng: np.random.Generator | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._retries = retries or RegistryRetries(n_most=5)
        self._total_s = total_s
        self._rng = rng or np.random.default_rng()
        self._sleep = sleep
        self._waited_s: Counter[str] = Counter()

    async def __call__(self, registry: str, work: Callable[[], Awaitable[_T]]) -> _T:
        """Do something small, again where a registry failed, but not for ever."""
        n_failures = 0
        while True:
            try:
                return await work()
            except NodeError as error:
                n_failures += 1
                wait_s = self._retries.wait_after(error, n_failures, self._rng)
                if self._waited_s[registry] + wait_s > self._total_s:
                    raise
            self._waited_s[registry] += wait_s  # pyright: ignore[reportArgumentType]  seconds count, too
            await self._sleep(wait_s)


def told_wait_s(
    headers: Mapping[str, str], clock: Callable[[], float] = time.time
) -> float | None:
    """The wait that an answer asks for; None where it asks for none, or nonsense.

    ``Retry-After`` is a number of seconds or a date; the date is held against that of
    the answer, since two machines' clocks may differ.
    """
    text = headers.get("Retry-After", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        due_s = _date_s(text)
        if due_s is None:
            return None
        said_s = _date_s(headers.get("Date", ""))
        return max(0.0, due_s - (clock() if said_s is None else said_s))
    if not math.isfinite(seconds):
        return None
    return max(0.0, seconds - clock() if seconds >= _EPOCH_S else seconds)


def _date_s(text: str) -> float | None:
    """Seconds since 1970 of a date as HTTP writes it."""
    try:
        found = email.utils.parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


_OK, _UNAUTHORIZED, _FORBIDDEN, _MISSING = 200, 401, 403, 404
_TIMEOUT, _TOO_EARLY, _TOO_MANY, _SERVERS_OWN = 408, 425, 429, 500


@contextlib.contextmanager
def network_errors(reference: Reference) -> Generator[None]:
    """Turn what can happen to a connection into a NodeError.

    A certificate at the other end that is not trusted is a PrerequisiteError.
    """
    try:
        yield
    except aiohttp.ClientConnectorCertificateError as error:
        reason = str(error.certificate_error) or "it is not trusted"
        message = f"registry {reference.registry}: its certificate fails: {reason}"
        hint = (
            "name its authority: images.ca_file, SSL_CERT_FILE, or as Docker does in "
        )
        hint += f"/etc/docker/certs.d/{reference.registry}/ca.crt"
        raise PrerequisiteError(message, hint) from error
    except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
        reason = str(error) or type(error).__name__
        message = f"registry {reference.registry} failed at {reference}: {reason}"
        hint = f"is it running, and does {reference.host} lead to it? A registry that "
        hint += "speaks plain HTTP and is not on loopback must be named in plain_http"
        raise NodeError(message, hint) from error


def check_status(
    answer: aiohttp.ClientResponse, reference: Reference, what: str
) -> None:
    """Refuse an answer that is not a success.

    A DataError where what was asked for is not there or made no sense, a NodeError
    where the registry failed or has had enough of us, a PrerequisiteError where it
    denies access.
    """
    status = answer.status
    if _OK <= status < 300:  # noqa: PLR2004 - the successes of HTTP
        return
    if status in {_UNAUTHORIZED, _FORBIDDEN}:
        raise denied(reference, status)
    told = f"registry {reference.registry} answered {status} for {what} of {reference}"
    if status == _MISSING:
        message = f"{told}: it has none"
        raise DataError(message, "check repository and tag; they are case-sensitive")
    hint = "try again, or look into the registry's log"
    if status == _TOO_MANY:
        hint = "it limits requests: wait, or give a user and a password"
    if status in {_TIMEOUT, _TOO_EARLY, _TOO_MANY} or status >= _SERVERS_OWN:
        wait_s = told_wait_s(answer.headers)
        if wait_s is None:
            raise NodeError(told, hint)
        told += f": come again in {wait_s:.0f} s"
        raise BusyRegistryError(told, hint, wait_s=wait_s)
    raise DataError(told)


def denied(reference: Reference, status: int) -> PrerequisiteError:
    """The error for a registry that wants to know who asks, or knows and says no."""
    registry = reference.registry
    user, password = variables(registry)
    message = f"registry {reference.registry} denies access to {reference} ({status})"
    hint = f"docker login {registry}, or set {user} and {password} in the environment; "
    hint += "or check the name: many registries say this of what is not there"
    return PrerequisiteError(message, hint)


def verify(reference: Reference, what: str, digest: str, body: bytes) -> None:
    """Hold content against its digest; a DataError where that is another one."""
    found = digest_of(body, digest)
    if found != digest:
        message = f"{what} of {reference}: expected digest {digest}, found {found}"
        raise DataError(message, "the registry or something before it changed it")


def all_of(problems: Mapping[str, MidhaulError], n: int) -> MidhaulError:
    """The error that tells all that is wrong with some images.

    Args:
        problems: by what was asked for; at least one.
        n: of so many images.
    """
    errors = list(problems.values())
    if len(errors) == 1:
        return errors[0]
    said = "".join(f"\n  {asked}: {error.message}" for asked, error in problems.items())
    message = f"{len(errors)} of {n} container images cannot be read:{said}"
    hint = "; ".join(dict.fromkeys(error.hint for error in errors if error.hint))
    kinds = (PrerequisiteError, NodeError, DataError)
    kind = next((k for k in kinds if any(isinstance(e, k) for e in errors)), DataError)
    return kind(message, hint)
