"""Who a server is, and where: providers by patterns, region pairs by paths."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from midhaul.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import tzinfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """How requests are named.

    Attributes:
        patterns: patterns of server names and addresses, by provider, in order.
        region_pair: of all captures; empty to take it from their paths.
        region_pattern: regular expression with a group ``pair``.
    """

    patterns: Mapping[str, Sequence[str]]
    region_pair: str = ""
    region_pattern: str = ""

    def provider(self, server_name: str, address: bytes) -> tuple[str, bool]:
        """The provider of a server, and whether a pattern names it."""
        name = server_name.lower().rstrip(".")
        host = str(ipaddress.ip_address(address))
        for provider, patterns in self.patterns.items():
            if any(
                fnmatchcase(name, p.lower()) or fnmatchcase(host, p) for p in patterns
            ):
                return provider, True
        return name or host, False

    def regions(self, path: str) -> str:
        """The region pair of a capture: the last match in its path, or empty."""
        if self.region_pair or not self.region_pattern:
            return self.region_pair
        found = list(re.finditer(self.region_pattern, f"/{path}"))
        return found[-1]["pair"] if found else ""


def zone(name: str) -> tzinfo:
    """A time zone by its name; ConfigError where there is none."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        message = f"expected a time zone such as Asia/Singapore, found {name!r}"
        raise ConfigError(message, "see time_zone") from error


def hour_of(time_ns: int, where: tzinfo) -> int:
    """The hour of the day of a time since 1970."""
    return datetime.fromtimestamp(time_ns / 1e9, where).hour
