"""Opening TLS records with the secrets of a key log (SSLKEYLOGFILE).

TLS 1.3 (RFC 8446 5.2, 7.1, 7.3) and the AEAD suites of TLS 1.2 (RFC 5288, RFC 7905).
Whatever cannot be opened stays closed; nothing is raised for it.
"""

from __future__ import annotations

import hmac
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

from midhaul import documents
from midhaul.captures.tls import APPLICATION, HANDSHAKE
from midhaul.errors import require

if TYPE_CHECKING:
    from pathlib import Path

    from midhaul.captures.tls import Hello, Record

Secrets = dict[bytes, dict[str, bytes]]
"""Secrets by their label, by the random of the client."""

_FINISHED, _KEY_UPDATE = 20, 24
_TAG_BYTES, _NONCE_BYTES = 16, 12
_AES128 = frozenset((0x1301, 0x009C, 0x009E, 0xC02B, 0xC02F))
_AES256 = frozenset((0x1302, 0x009D, 0x009F, 0xC02C, 0xC030))
_CHACHA = frozenset((0x1303, 0xCCA8, 0xCCA9, 0xCCAA))
_SHA384 = _AES256
_N_FIELDS = 3


class _Key(NamedTuple):
    """A cipher with its nonce."""

    cipher: Any
    iv: bytes
    has_explicit_nonce: bool
    secret: bytes


def read_key_log(file: Path) -> Secrets:
    """Read lines of a label, the client's random and a secret, in hex.

    Others are left out.
    """
    with documents.expected(f"{file} cannot be read:"):
        data = documents.read_bytes(file, max_bytes=documents.MAX_TEXT_BYTES)
    found: Secrets = {}
    for line in data.decode("ascii", "replace").splitlines():
        fields = line.split()
        if len(fields) != _N_FIELDS or line.startswith("#"):
            continue
        try:
            random, secret = bytes.fromhex(fields[1]), bytes.fromhex(fields[2])
        except ValueError:
            continue
        found.setdefault(random, {})[fields[0]] = secret
    return found


class Opener:
    """Opens the records of one connection."""

    def __init__(self, client: Hello, server: Hello, secrets: dict[str, bytes]) -> None:
        require("cryptography", "federation")
        self._suite = server.suites[0] if server.suites else 0
        self._hash = "sha384" if self._suite in _SHA384 else "sha256"
        self._is_tls13 = server.is_tls13
        self._secrets = secrets
        self._keys: dict[bool, _Key | None] = {True: None, False: None}
        self._numbers = {True: 0, False: 0}
        if self._is_tls13:
            for is_client, side in ((True, "CLIENT"), (False, "SERVER")):
                secret = secrets.get(f"{side}_HANDSHAKE_TRAFFIC_SECRET")
                self._keys[is_client] = self._key13(secret)
        elif "CLIENT_RANDOM" in secrets:
            self._derive12(secrets["CLIENT_RANDOM"], client.random, server.random)

    def open(self, record: Record, *, is_client: bool) -> bytes | None:
        """What the application sealed in a record, empty for other contents.

        None when it cannot be opened: no key, or not captured as a whole.
        """
        key, body = self._keys[is_client], record.body
        if key is None or body is None or len(body) != record.n_bytes:
            return None
        number = self._numbers[is_client]
        self._numbers[is_client] += 1
        content = self._unsealed(key, number, record, body)
        if content is None:
            return None
        if not self._is_tls13:
            return content if record.type == APPLICATION else b""
        content = content.rstrip(b"\0")
        if not content:
            return b""
        if content[-1] == HANDSHAKE:
            self._handshake(content[:-1], key, is_client=is_client)
        return content[:-1] if content[-1] == APPLICATION else b""

    def _unsealed(
        self, key: _Key, number: int, record: Record, body: bytes
    ) -> bytes | None:
        if self._is_tls13:
            nonce = _mixed(key.iv, number)
            more = bytes((record.type, 3, 3)) + struct.pack(">H", record.n_bytes)
        else:
            explicit = 8 if key.has_explicit_nonce else 0
            nonce = key.iv + body[:8] if explicit else _mixed(key.iv, number)
            body = body[explicit:]
            length = len(body) - _TAG_BYTES
            if length < 0:
                return None
            more = struct.pack(">QBBBH", number, record.type, 3, 3, length)
        exceptions = require("cryptography.exceptions", "federation")
        try:
            return bytes(key.cipher.decrypt(nonce, body, more))
        except (exceptions.InvalidTag, ValueError):
            return None

    def _handshake(self, content: bytes, key: _Key, *, is_client: bool) -> None:
        """Change keys behind a Finished or a KeyUpdate."""
        at = 0
        while at + 4 <= len(content):
            kind = content[at]
            at += 4 + int.from_bytes(content[at + 1 : at + 4], "big")
            if kind == _FINISHED:
                side = "CLIENT" if is_client else "SERVER"
                secret = self._secrets.get(f"{side}_TRAFFIC_SECRET_0")
            elif kind == _KEY_UPDATE:
                secret = self._expanded(key.secret, b"traffic upd", len(key.secret))
            else:
                continue
            self._keys[is_client] = self._key13(secret)
            self._numbers[is_client] = 0

    def _key13(self, secret: bytes | None) -> _Key | None:
        cipher, n_bytes = self._cipher()
        if secret is None or cipher is None:
            return None
        key = self._expanded(secret, b"key", n_bytes)
        iv = self._expanded(secret, b"iv", _NONCE_BYTES)
        return _Key(cipher(key), iv, has_explicit_nonce=False, secret=secret)

    def _expanded(self, secret: bytes, label: bytes, n_bytes: int) -> bytes:
        """HKDF-Expand-Label of RFC 8446 7.1 without a context."""
        name = b"tls13 " + label
        info = struct.pack(">HB", n_bytes, len(name)) + name + b"\0"
        made, block, i = b"", b"", 1
        while len(made) < n_bytes:
            block = hmac.digest(secret, block + info + bytes((i,)), self._hash)
            made, i = made + block, i + 1
        return made[:n_bytes]

    def _derive12(self, master: bytes, client: bytes, server: bytes) -> None:
        """The key block of RFC 5246 6.3."""
        cipher, n_bytes = self._cipher()
        if cipher is None:
            return
        is_chacha = self._suite in _CHACHA
        iv_bytes = _NONCE_BYTES if is_chacha else 4
        seed = b"key expansion" + server + client
        made, block = b"", seed
        while len(made) < 2 * (n_bytes + iv_bytes):
            block = hmac.digest(master, block, self._hash)
            made += hmac.digest(master, block + seed, self._hash)
        for is_client, place in ((True, 0), (False, 1)):
            key = made[place * n_bytes : (place + 1) * n_bytes]
            at = 2 * n_bytes + place * iv_bytes
            self._keys[is_client] = _Key(
                cipher(key),
                made[at : at + iv_bytes],
                has_explicit_nonce=not is_chacha,
                secret=master,
            )

    def _cipher(self) -> tuple[Any, int]:
        aead = require("cryptography.hazmat.primitives.ciphers.aead", "federation")
        if self._suite in _AES128:
            return aead.AESGCM, 16
        if self._suite in _AES256:
            return aead.AESGCM, 32
        return (aead.ChaCha20Poly1305, 32) if self._suite in _CHACHA else (None, 0)


def _mixed(iv: bytes, number: int) -> bytes:
    """The nonce of a record: its number into the end of the IV."""
    return bytes(a ^ b for a, b in zip(iv, number.to_bytes(12, "big"), strict=True))
