"""Addresses of vendors: overridable, for private links and tests, never in clear.

An address is written down: into the config of a run, messages, metrics. So none may
hold a secret; secrets come from the environment.
"""

from __future__ import annotations

import ipaddress
import os
import re
from urllib.parse import parse_qsl, urlsplit

from midhaul.errors import ConfigError, PrerequisiteError

_KINDS_OF_FILES = ("recorded", "local")
_AUTHORITY = re.compile(r"[^:/?#]*:/*([^/?#]*)")
_SECRET = re.compile(
    r"(^|[-_.])(key|apikey|accesskey|token|secret|sig|signature|pass|passwd|password|"
    r"pwd|auth|authorization|credentials?|code|sas|jwt|bearer)$",
    re.IGNORECASE,
)
_INSTEAD = (
    "name the environment variable that holds it in token_env; a vendor's credentials "
    "are read from the environment as its SDK does"
)


def demand_no_secret(address: str) -> str:
    """The same address, which may be written down.

    ValueError, which does not repeat it, where it holds a user, a password, or a query
    that may be a secret.
    """
    text = address.strip()
    kind = text.partition(":")[0].casefold()
    is_web = kind in ("http", "https")
    authority = _AUTHORITY.match(text)
    has_user = authority is not None and "@" in authority[1]
    where = ""
    if has_user and kind not in _KINDS_OF_FILES:
        where = "a user or a password"
    names = [name for name, _ in parse_qsl(text.partition("?")[2])]
    if secret := next((name for name in names if _SECRET.search(name)), None):
        where = where or f"the secret {secret!r}"
    if is_web and ("?" in text or "#" in text):
        where = where or "a query, which may be a secret"
    if where:
        message = f"an address is written down and must not hold {where}; {_INSTEAD}"
        raise ValueError(message)
    return address


def checked_endpoint(endpoint: str) -> str:
    """An address that credentials may be sent to: HTTPS, or this machine.

    A slash at the end is dropped; else ConfigError, also where it holds a user or a
    password.
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

    PrerequisiteError, which says ``what`` it holds, where none is set.
    """
    for name in names:
        value = os.environ.get(name, "").strip()
        if value:
            return value
    message = f"{what} is read from the environment, and {names[0]} is not set"
    raise PrerequisiteError(message, f"export {names[0]}=…")
