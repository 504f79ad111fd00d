"""Names of servers from the answers of name servers (RFC 1035)."""

from __future__ import annotations

import struct

_HEADER_BYTES = 12
_A, _AAAA = 1, 28
_ADDRESS_BYTES = {_A: 4, _AAAA: 16}
_MOST_JUMPS = 64


def read_answer(data: bytes) -> dict[bytes, str]:
    """The name that was asked for, by every address in the answer.

    Args:
        data: a DNS message, perhaps cut off or damaged.
    """
    found: dict[bytes, str] = {}
    if len(data) < _HEADER_BYTES:
        return found
    _, flags, n_questions, n_answers = struct.unpack_from(">HHHH", data)
    if not flags & 0x8000 or n_questions != 1:
        return found
    try:
        asked, at = _name(data, _HEADER_BYTES)
        at += 4
        for _ in range(n_answers):
            _, at = _name(data, at)
            kind, _, _, length = struct.unpack_from(">HHIH", data, at)
            at += 10
            address = data[at : at + length]
            if _ADDRESS_BYTES.get(kind) == length == len(address):
                found[address] = asked
            at += length
    except (IndexError, struct.error):
        return found
    return found


def _name(data: bytes, at: int) -> tuple[str, int]:
    """A name, and where the data go on behind it.

    Raises:
        IndexError: it is cut off, or refers to itself.
    """
    labels: list[str] = []
    behind = -1
    for _ in range(_MOST_JUMPS):
        length = data[at]
        if length & 0xC0 == 0xC0:  # noqa: PLR2004 - a reference to another place
            behind = at + 2 if behind < 0 else behind
            at = (length & 0x3F) << 8 | data[at + 1]
        elif length == 0:
            name = ".".join(labels)
            return (
                name if name.isprintable() else ""
            ), behind if behind >= 0 else at + 1
        else:
            labels.append(data[at + 1 : at + 1 + length].decode("ascii", "replace"))
            at += 1 + length
    raise IndexError
