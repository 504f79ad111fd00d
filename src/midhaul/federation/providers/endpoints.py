"""Addresses of vendors: overridable, for private links and tests, never in clear."""

from __future__ import annotations

import ipaddress
import os
from urllib.parse import urlsplit

from midhaul.errors import ConfigError, PrerequisiteError


def checked_endpoint(endpoint: str) -> str:
    """An address that credentials may be sent to: HTTPS, or this machine.

    Args:
        endpoint: such as ``https://vision.example.net``; a slash at the end is dropped.

    Raises:
        ConfigError: it is no such address, or holds a user or a password.
    """
    try:
        parts = urlsplit(endpoint)
        host, is_odd = parts.hostname or "", bool(parts.username or parts.password)
        _ = parts.port
    except ValueError:
        host, is_odd, parts = "", True, urlsplit("")
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
    if not host or is_odd or not is_safe or parts.query or parts.fragment:
        shown = f"{parts.scheme}://{host}" if host else "something else"
        message = f"an endpoint is https://HOST, or http:// on loopback, found {shown}"
        raise ConfigError(message, "credentials come from the environment")
    return endpoint.rstrip("/")


def is_loopback(host: str) -> bool:
    """True for this machine's own addresses."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def from_environment(*names: str, what: str) -> str:
    """The first of some environment variables that is set.

    Args:
        names: of the variables, the usual one first.
        what: it holds, for the message.

    Raises:
        PrerequisiteError: none is set.
    """
    for name in names:
        value = os.environ.get(name, "").strip()
        if value:
            return value
    message = f"{what} is read from the environment, and {names[0]} is not set"
    raise PrerequisiteError(message, f"export {names[0]}=…")
