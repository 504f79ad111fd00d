"""Which congestion controls are simulated with the ways of Linux."""

from __future__ import annotations

KNOWN = ("newreno", "linux-reno", "cubic", "bbr")
"""The first two are one in Linux: reno."""


def is_simulated(congestion: str) -> bool:
    """Whether a congestion control is simulated with the ways of Linux.

    Args:
        congestion: its name, as in ``TcpTransport``.

    Returns:
        False for one whose ways are those of ns-3 only.
    """
    return congestion in KNOWN
