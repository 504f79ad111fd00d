"""What goes wrong with a registry, as errors that name it, the image and the status."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import aiohttp

from midhaul.deploy.registry.auth import variables
from midhaul.deploy.registry.patience import BusyRegistryError, told_wait_s
from midhaul.errors import DataError, MidhaulError, NodeError, PrerequisiteError

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from midhaul.deploy.registry.reference import Reference

_OK, _UNAUTHORIZED, _FORBIDDEN, _MISSING = 200, 401, 403, 404
_TIMEOUT, _TOO_EARLY, _TOO_MANY, _SERVERS_OWN = 408, 425, 429, 500


@contextlib.contextmanager
def network_errors(reference: Reference) -> Generator[None]:
    """Turn what can happen to a connection into a NodeError.

    Raises:
        NodeError: no connection, a connection that broke, silence, too many redirects.
        PrerequisiteError: the certificate at the other end is not trusted.
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

    Raises:
        DataError: what was asked for is not there, or the request made no sense to it.
        NodeError: the registry failed, or has had enough of us.
        PrerequisiteError: it denies access.
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


def mismatch(reference: Reference, what: str, expected: str, found: str) -> DataError:
    """The error for content that is not what its digest says."""
    message = f"{what} of {reference}: expected digest {expected}, found {found}"
    return DataError(message, "the registry or something before it changed it")


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
