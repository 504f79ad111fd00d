"""Bytes that nearly are what a reader expects: changed, cut, spliced, repeated."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

LONGEST_BYTES = 1 << 16
ODD = (
    b"\0", b"\xff", b"\xed\xa0\x80", b"\\ud800", b"\\u0000", b"NaN", b"1e999", b"-1",
    b"9" * 400, b"null", b"{}", b"[]", b"[" * 150, b'"', b"'", b"\n", b"\r\n\r\n",
    b"true", b"0x", b"1979-05-27", b"18446744073709551616", b"../", b"%s", b",", b":",
)  # fmt: skip
"""What parsers stumble over, put between other bytes."""


def mutant(corpus: Sequence[bytes], rng: random.Random) -> bytes:
    """One of the corpus with one to six changes."""
    data = bytearray(rng.choice(corpus))
    for _ in range(rng.randint(1, 6)):
        at = rng.randint(0, len(data))
        end = min(len(data), at + 1 + int(rng.expovariate(0.1)))
        match rng.randrange(6):
            case 0 if data:
                data[at - 1] ^= 1 << rng.randrange(8)
            case 1:
                data[at:end] = rng.choice(ODD)
            case 2:
                data[at:at] = rng.choice(ODD)
            case 3:
                del data[at:end]
            case 4:
                data[at:at] = data[at:end] * rng.randint(1, 40)
            case _:
                other = rng.choice(corpus)
                data[at:] = other[rng.randint(0, len(other)) :]
    return bytes(data[:LONGEST_BYTES])
