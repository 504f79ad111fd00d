"""DCTCP as Linux has it: the share of marks, and the window that it leaves.

RFC 8257 and Alizadeh et al., *Data Center TCP* (2010), equations 1 and 2. Numbered
differences from them:

1. Shares are counted in segments, in 1024ths; a share begins at 1, and falls to 0.
2. What an ACK with an echo has newly acknowledged, by blocks or not, counts as marked;
   a window ends with the ACK of what was sent when it began, which counts into it.
3. A window never falls below 2 segments, and is halved after a loss.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.network.packet.tcp.arena import (
    C_ALGORITHM,
    C_LINUX,
    C_SENT_I,
    C_UNA_I,
    U_DELIVERED,
    U_WINDOW,
    compiled,
)

if TYPE_CHECKING:
    from midhaul.network.packet.tcp.arena import Cells

# cells of DCTCP, from C_ALGORITHM
A_ALPHA, A_END_I, A_DELIVERED, A_MARKED = range(4)
WHOLE, GAIN_BITS = 1024, 4
"""The share of marks is in 1024ths, and follows a window by a 16th."""
LEAST_WINDOW = 2


@compiled
def halved(m: Cells, c: int) -> int:
    """The threshold after a loss."""
    return max(m[c + C_LINUX + U_WINDOW] >> 1, LEAST_WINDOW)


@compiled
def begin_marks(m: Cells, c: int) -> None:
    """Begin with a share of 1, as nothing is known."""
    a = c + C_ALGORITHM
    m[a + A_ALPHA] = WHOLE
    m[a + A_END_I] = m[c + C_SENT_I]
    m[a + A_DELIVERED] = m[a + A_MARKED] = 0


@compiled
def follow_marks(m: Cells, c: int, is_echo: bool) -> None:  # noqa: FBT001
    """Take an ACK in, and let the share follow once a window."""
    a, delivered = c + C_ALGORITHM, m[c + C_LINUX + U_DELIVERED]
    m[a + A_DELIVERED] += delivered
    if is_echo:
        m[a + A_MARKED] += delivered
    if m[c + C_UNA_I] < m[a + A_END_I]:
        return
    alpha = m[a + A_ALPHA]
    fall = alpha >> GAIN_BITS
    alpha -= fall if fall > 0 else alpha
    more = m[a + A_MARKED] * (WHOLE >> GAIN_BITS) // max(m[a + A_DELIVERED], 1)
    m[a + A_ALPHA] = min(alpha + more, WHOLE)
    m[a + A_END_I] = m[c + C_SENT_I]
    m[a + A_DELIVERED] = m[a + A_MARKED] = 0


@compiled
def shrunk_by_marks(m: Cells, c: int) -> int:
    """The threshold of DCTCP once a window had marks."""
    window = m[c + C_LINUX + U_WINDOW]
    return max(window - (window * m[c + C_ALGORITHM + A_ALPHA] >> 11), LEAST_WINDOW)
