"""Random numbers of the TCP simulator, the same on every machine.

1. ``mixed`` is splitmix64 (Steele, Lea and Flood, 2014): what it makes of the seed, a
   link and the number of a packet decides what that link loses and delays, so that a
   simulation by ns-3 of the same problem loses the same packets.
2. ``uniform`` is MRG32k3a (L'Ecuyer, 1999), which ns-3 draws from; ``stream_state`` is
   the state at the beginning of one of the streams that ns-3 numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.network.packet.tcp.arena import entry, inlined

if TYPE_CHECKING:
    from midhaul.network.packet.tcp.arena import Cells

_M1, _M2 = 4294967087, 4294944443
_A12, _A13 = 1403580, 810728
_A21, _A23 = 527612, 1370589
_STEP_1 = ((0, 1, 0), (0, 0, 1), (-_A13, _A12, 0))
_STEP_2 = ((0, 1, 0), (0, 0, 1), (-_A23, 0, _A21))

Matrix = tuple[tuple[int, ...], ...]


@inlined
def mixed(x: np.uint64) -> np.uint64:
    """A number of 64 bits that looks random, from another."""
    x += np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@entry
def uniform(m: Cells, at: int) -> float:
    """A number between 0 and 1 from the generator whose six cells begin at ``at``."""
    first = (_A12 * m[at + 1] - _A13 * m[at]) % _M1
    m[at], m[at + 1], m[at + 2] = m[at + 1], m[at + 2], first
    second = (_A21 * m[at + 5] - _A23 * m[at + 3]) % _M2
    m[at + 3], m[at + 4], m[at + 5] = m[at + 4], m[at + 5], second
    scale = 1.0 / (_M1 + 1.0)
    if first > second:
        return (first - second) * scale
    return (first - second + _M1) * scale


def _times(a: Matrix, b: Matrix, modulus: int) -> Matrix:
    return tuple(
        tuple(sum(a[i][k] * b[k][j] for k in range(3)) % modulus for j in range(3))
        for i in range(3)
    )


def _power(a: Matrix, n: int, modulus: int) -> Matrix:
    result: Matrix = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
    while n:
        if n & 1:
            result = _times(result, a, modulus)
        a = _times(a, a, modulus)
        n >>= 1
    return result


def stream_state(stream: int, run: int = 1, seed: int = 1) -> list[int]:
    """The six cells of a stream that is numbered by hand, as ns-3 begins it."""
    steps = ((1 << 63) + stream << 127) + (run << 76)
    state: list[int] = []
    for step, modulus in ((_STEP_1, _M1), (_STEP_2, _M2)):
        jump = _power(step, steps, modulus)
        state += [sum(row) * seed % modulus for row in jump]
    return state
