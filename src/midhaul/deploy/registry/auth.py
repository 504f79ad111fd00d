"""Who one is to a registry: challenges, and credentials from the environment.

RFC 9110, section 11 (challenges), and the token authentication of the CNCF
Distribution project, which every public registry speaks.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from midhaul.errors import PrerequisiteError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_PIECE = re.compile(
    r'(?P<key>[\w-]+)\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^\s,"]+))'
    r"|(?P<scheme>[A-Za-z][\w-]*)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """How a registry wants to be told who asks.

    Attributes:
        scheme: ``bearer``, ``basic``, …, in lower case.
        parameters: by name in lower case.
    """

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(headers: Iterable[str]) -> tuple[Challenge, ...]:
    """Read the values of ``WWW-Authenticate``; what makes no sense is skipped."""
    found: list[tuple[str, dict[str, str]]] = []
    for header in headers:
        for piece in _PIECE.finditer(header):
            if piece["scheme"]:
                found.append((piece["scheme"].lower(), {}))
            elif found:
                quoted = piece["quoted"]
                value = (
                    piece["bare"] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
                )
                found[-1][1][piece["key"].lower()] = value
    return tuple(Challenge(scheme=s, parameters=p) for s, p in found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A user and a password, which is not shown.

    Attributes:
        user: empty for an identity token.
        password: or the identity token.
        is_identity: whether the password is a token that a token service takes.
    """

    user: str
    password: str
    is_identity: bool = False

    @property
    def header(self) -> str:
        """The value of ``Authorization``."""
        pair = f"{self.user}:{self.password}".encode()
        return f"Basic {base64.b64encode(pair).decode('ascii')}"

    def __repr__(self) -> str:
        """Without the password."""
        return f"Credentials(user={self.user!r})"


def variables(registry: str) -> tuple[str, str]:
    """Environment variables of the user and the password for a registry.

    ``ghcr.io`` becomes ``MIDHAUL_REGISTRY_USER_GHCR_IO``.
    """
    name = re.sub(r"[^A-Z0-9]", "_", registry.upper())
    return f"MIDHAUL_REGISTRY_USER_{name}", f"MIDHAUL_REGISTRY_PASSWORD_{name}"


def credentials(registry: str, environ: Mapping[str, str]) -> Credentials | None:
    """User and password for a registry; None to ask as nobody.

    Raises:
        PrerequisiteError: one of them is set and the other is not.
    """
    user, password = (environ.get(name, "") for name in variables(registry))
    if bool(user) != bool(password):
        names = variables(registry)
        message = f"registry {registry}: expected user and password, found one of them"
        raise PrerequisiteError(message, f"set {names[0]} and {names[1]}, or none")
    return Credentials(user=user, password=password) if user else None
