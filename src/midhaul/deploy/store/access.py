"""How a registry is reached: by which certificates, proxy and mirrors.

Certificates are found where Docker and containerd look for them, proxies in the
variables that Go programs read (golang.org/x/net/http/httpproxy).
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from midhaul.deploy.store.reference import parse_reference
from midhaul.errors import PrerequisiteError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import yarl

    from midhaul.deploy.store.reference import Reference

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
