"""How a registry is reached: certificates, proxy, mirrors, and credentials.

Certificates are found where Docker and containerd look for them, proxies in the
variables that Go programs read (golang.org/x/net/http/httpproxy).

Credentials are those that ``docker login`` and ``podman login`` leave. Files:
``$REGISTRY_AUTH_FILE``, ``$DOCKER_CONFIG/config.json`` (``~/.docker``), and
``$XDG_RUNTIME_DIR/containers/auth.json``. In each, a helper for the registry
(``credHelpers``), a store for all (``credsStore``), or the words in ``auths``. The
protocol of helpers is that of docker-credential-helpers: a program that is told ``get``
and a registry, and answers with JSON.

Credentials come from the environment as well. A registry asks for them by challenges:
RFC 9110, section 11, and the token authentication of the CNCF Distribution project,
which every public registry speaks.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import ipaddress
import json
import os
import re
import signal
import ssl
import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from midhaul.deploy.store.manifests import parse_reference
from midhaul.errors import PrerequisiteError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import yarl

    from midhaul.deploy.store.manifests import Reference

_CERTS = (Path("/etc/docker/certs.d"), Path("/etc/containerd/certs.d"))
_SCHEMES = ("http", "https")


def _environment() -> Mapping[str, str]:
    return os.environ


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How registries are reached.

    Attributes:
        plain_http: registries (``host:port``) that are asked without TLS. One on
            loopback is asked by what it speaks.
        ca_file: a certificate authority beside those of the system; PEM.
        mirrors: by registry, places that are asked before it: ``host[:port][/path]``.
        certs: folders with a folder for each registry, in which Docker puts ``*.crt``
            (authorities) and ``*.cert`` with ``*.key`` (who one is).
        environ: variables: proxies, home, user and password.
    """

    plain_http: frozenset[str] = frozenset()
    ca_file: Path | None = None
    mirrors: Mapping[str, tuple[str, ...]] = field(
        default_factory=dict[str, tuple[str, ...]]
    )
    certs: tuple[Path, ...] = _CERTS
    environ: Mapping[str, str] = field(default_factory=_environment)

    def places(self, reference: Reference) -> tuple[Reference, ...]:
        """Where an image may be: at the mirrors of its registry, then there itself.

        Raises:
            DataError: a mirror has no possible name.
        """
        found: list[Reference] = []
        for mirror in self.mirrors.get(reference.registry, ()):
            host, _, prefix = mirror.rstrip("/").partition("/")
            path = f"{prefix}/{reference.repository}" if prefix else ""
            place = parse_reference(f"{host}/{path or reference.repository}")
            found.append(
                replace(
                    place,
                    registry=host,
                    repository=path or reference.repository,
                    tag=reference.tag,
                    digest=reference.digest,
                    mirrored=reference.registry,
                )
            )
        return (*found, reference)

    def context(self, registry: str) -> ssl.SSLContext:
        """The certificates that count for a registry.

        Raises:
            PrerequisiteError: a file of them cannot be read.
        """
        context = ssl.create_default_context()
        folders = [folder / registry for folder in self.certs]
        authorities = [self.ca_file] if self.ca_file is not None else []
        authorities += [file for one in folders for file in sorted(one.glob("*.crt"))]
        try:
            for file in authorities:
                context.load_verify_locations(cafile=str(file))
            for one in folders:
                for file in sorted(one.glob("*.cert")):
                    context.load_cert_chain(file, file.with_suffix(".key"))
        except (OSError, ssl.SSLError) as error:
            message = f"certificates of registry {registry} cannot be read: {error}"
            hint = "images.ca_file is a PEM file; a *.cert needs its *.key beside it"
            raise PrerequisiteError(message, hint) from error
        return context

    def proxy(self, url: yarl.URL) -> str | None:
        """The proxy for an address; none for loopback and for what ``NO_PROXY`` names.

        Raises:
            PrerequisiteError: the proxy is of a kind that cannot be used.
        """
        host, port = url.host or "", url.port or 0
        if _is_loopback(host) or _is_spared(host, port, self._variable("no_proxy")):
            return None
        text = self._variable(f"{url.scheme}_proxy") or self._variable("all_proxy")
        if not text:
            return None
        proxy = text if "://" in text else f"http://{text}"
        if proxy.partition("://")[0] not in _SCHEMES:
            kind = proxy.partition("://")[0]
            message = f"expected an HTTP proxy for {host}, found one of kind {kind}"
            raise PrerequisiteError(
                message, "set HTTPS_PROXY, or NO_PROXY for the host"
            )
        return proxy

    def _variable(self, name: str) -> str:
        return self.environ.get(name) or self.environ.get(name.upper()) or ""


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def _is_spared(host: str, port: int, listed: str) -> bool:
    """Whether ``NO_PROXY`` names a host: itself, a domain it is in, or its network."""
    address = _address(host)
    for entry in listed.replace(",", " ").split():
        if entry == "*":
            return True
        name, _, wanted = entry.rpartition(":")
        if name and wanted.isdigit() and name.count(":") == 0:
            if int(wanted) != port:
                continue
        else:
            name = entry
        if address is not None and "/" in name:
            try:
                if address in ipaddress.ip_network(name, strict=False):
                    return True
            except ValueError:
                continue
        domain = name.removeprefix("*").strip("[]").lower()
        if host.lower() == domain or host.lower().endswith(f".{domain.lstrip('.')}"):
            return True
    return False


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


_PIECE = re.compile(
    r'(?P<key>[\w-]+)\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^\s,"]+))'
    r"|(?P<scheme>[A-Za-z][\w-]*)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """How a registry wants to be told who asks; names are in lower case."""

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
    """A user and a password, not shown; or no user and an identity token."""

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

    A PrerequisiteError says that one of them is set and the other is not.
    """
    user, password = (environ.get(name, "") for name in variables(registry))
    if bool(user) != bool(password):
        names = variables(registry)
        message = f"registry {registry}: expected user and password, found one of them"
        raise PrerequisiteError(message, f"set {names[0]} and {names[1]}, or none")
    return Credentials(user=user, password=password) if user else None


_HUB = "https://index.docker.io/v1/"
_HUB_NAMES = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_HELPER = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TOKEN_USER = "<token>"  # noqa: S105 - what helpers say instead of a user
_MOST_BYTES = 1 << 20


def login_for(
    reference: Reference, environ: Mapping[str, str], *, limit_s: float = 10.0
) -> Credentials | None:
    """Who one is to the registry of an image; None to ask as nobody.

    Without the variables that say where the files are none is read. A PrerequisiteError
    says that a file makes no sense, or that a helper fails or takes too long.
    """
    for file in _files(environ):
        config = _read(file)
        key, entry = _entry(config, reference)
        helpers = _table(config.get("credHelpers"))
        name = next((v for k, v in helpers.items() if _is_of(k, reference)), None)
        if name is None and not _has_words(entry):
            name = config.get("credsStore")
        if isinstance(name, str) and name:
            server = key or _server(reference)
            found = _ask_helper(name, server, environ, limit_s)
        else:
            found = _words(entry, file)
        if found is not None:
            return found
    return None


def _files(environ: Mapping[str, str]) -> Iterator[Path]:
    if named := environ.get("REGISTRY_AUTH_FILE"):
        yield Path(named)
    home = environ.get("HOME")
    folder = environ.get("DOCKER_CONFIG") or (f"{home}/.docker" if home else "")
    if folder:
        yield Path(folder) / "config.json"
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        yield Path(runtime) / "containers" / "auth.json"


def _read(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > _MOST_BYTES:
            message = f"{file}: expected logins, found more than {_MOST_BYTES} bytes"
            raise PrerequisiteError(message)
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        message = f"{file}: expected the logins of Docker as JSON: {error}"
        raise PrerequisiteError(message, "docker login writes it anew") from error
    return _table(found)


def _entry(
    config: Mapping[str, Any], reference: Reference
) -> tuple[str, dict[str, Any]]:
    """The longest name of a login that is one for an image, and what it holds."""
    fitting = [
        (key, _table(entry))
        for key, entry in _table(config.get("auths")).items()
        if _is_of(key, reference)
    ]
    return max(fitting, key=lambda pair: len(_place(pair[0])), default=("", {}))


def _is_of(key: str, reference: Reference) -> bool:
    """Whether a name (an address, a host, a path of podman) is of an image."""
    host, _, path = _place(key).partition("/")
    names = _HUB_NAMES if reference.registry in _HUB_NAMES else {reference.registry}
    inside = f"{reference.repository}/".startswith(f"{path}/") if path else True
    return host in names and inside


def _place(key: str) -> str:
    return re.sub(r"^https?://|/(?:v[12]/?)?$", "", key).removesuffix("/v1")


def _server(reference: Reference) -> str:
    return _HUB if reference.registry in _HUB_NAMES else reference.registry


def _has_words(entry: Mapping[str, Any]) -> bool:
    return any(entry.get(name) for name in ("auth", "identitytoken", "registrytoken"))


def _words(entry: Mapping[str, Any], file: Path) -> Credentials | None:
    if token := entry.get("identitytoken"):
        return Credentials(user="", password=str(token), is_identity=True)
    if not (pair := entry.get("auth")):
        return None
    try:
        text = base64.b64decode(str(pair), validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        text = ""
    user, colon, password = text.rstrip("\0").partition(":")
    if not colon:
        message = (
            f"{file}: expected auth as base64 of USER:PASSWORD, found another text"
        )
        raise PrerequisiteError(message, "docker login writes it anew")
    return Credentials(user=user, password=password)


def _ask_helper(
    name: str, server: str, environ: Mapping[str, str], limit_s: float
) -> Credentials | None:
    """What a helper knows of a registry; None if it knows nothing."""
    if not _HELPER.fullmatch(name):
        message = f"expected the name of a credential helper, found {name!r}"
        raise PrerequisiteError(message)
    program = f"docker-credential-{name}"
    out, code = _run([program, "get"], server, environ, limit_s)
    if code:
        if "not found" in out.lower():  # what helpers say of a registry they know not
            return None
        message = (
            f"{program} failed for {server}: {out.strip()[:200] or f'exit {code}'}"
        )
        raise PrerequisiteError(message, f"docker login {server}")
    try:
        found = _table(json.loads(out))
        user, secret = str(found["Username"]), str(found["Secret"])
    except (ValueError, KeyError, RecursionError) as error:
        message = f"{program}: expected JSON with Username and Secret for {server}"
        raise PrerequisiteError(message) from error
    is_identity = user == _TOKEN_USER
    return Credentials(
        user="" if is_identity else user, password=secret, is_identity=is_identity
    )


def _run(
    argv: list[str], told: str, environ: Mapping[str, str], limit_s: float
) -> tuple[str, int]:
    try:
        process = subprocess.Popen(  # noqa: S603 - a helper that the user has chosen
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dict(environ),
            start_new_session=True,
        )
    except OSError as error:
        message = f"{argv[0]} cannot be started: {error.strerror or error}"
        raise PrerequisiteError(
            message, "install it, or docker login without"
        ) from error
    try:
        out, _ = process.communicate(told.encode(), timeout=limit_s)
    except subprocess.TimeoutExpired as error:
        message = f"{argv[0]} did not answer within {limit_s:g} s"
        raise PrerequisiteError(message, "does it wait for somebody?") from error
    finally:
        # What it has started may still hold the pipe; all of it goes.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
    return out[:_MOST_BYTES].decode("utf-8", "replace"), process.returncode


def _table(found: object) -> dict[str, Any]:
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}
