"""Sealing: secrets that are kept in the database, readable only with a key, and only in the place they were put."""

import base64
import binascii
import hmac
import json
import re
import secrets
from collections.abc import Sequence
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from bot.core.errors import BotError

_FORM = re.compile(r"v1\.([0-9a-f]{16})\.([A-Za-z0-9_-]+)")
_NONCE = 12
_KEY = 32


class SealBroken(BotError):
    """A sealed value does not open, or nothing can be sealed; the message says why, and holds nothing secret."""


class Keyring:
    """Seals with the newest of the operator's keys (the first), opens with any of them.

    A sealed value is `v1.KEY_ID.BASE64`: AES-256-GCM under a key that is derived for its table and column. Its place
    (table, row, column) and the key's id are authenticated, so a value that was moved does not open.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = {_derived(key, "key id", 8).hex(): key for key in keys}
        self._ciphers: dict[tuple[str, str], AESGCM] = {}

    def __repr__(self) -> str:
        return f"Keyring({', '.join(self._keys)})"

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the keys, newest first; an id says nothing of its key."""
        return tuple(self._keys)

    @property
    def newest(self) -> str:
        """The id of the key that seals."""
        if not self._keys:
            raise SealBroken("there is no key to seal with: set SLUICE_SECRET_KEYS (openssl rand -hex 32)")
        return self.ids[0]

    def seal(self, text: str, *, table: str, row: UUID, column: str) -> str:
        """`text` as it may lie in that column of that row, and nowhere else."""
        key_id, nonce = self.newest, secrets.token_bytes(_NONCE)
        place = _place(key_id, table, row, column)
        sealed = nonce + self._cipher(key_id, table, column).encrypt(nonce, text.encode(), place)
        return f"v1.{key_id}.{base64.urlsafe_b64encode(sealed).decode().rstrip('=')}"

    def open(self, sealed: str, *, table: str, row: UUID, column: str) -> str:
        """The text that was sealed for this place; SealBroken for everything else."""
        where = f"{table}.{column} of row {row}"
        key_id, data = _parts(sealed, where)
        if key_id not in self._keys:
            known = ", ".join(self._keys) or "none"
            raise SealBroken(f"{where} is sealed with the key {key_id}; SLUICE_SECRET_KEYS has {known}")
        try:
            nonce, rest = data[:_NONCE], data[_NONCE:]
            return self._cipher(key_id, table, column).decrypt(nonce, rest, _place(key_id, table, row, column)).decode()
        except (InvalidTag, ValueError):
            pass  # outside of `except`, so that no error holds what was read
        raise SealBroken(f"{where} does not open: it was changed, or sealed for another place")

    def stale(self, sealed: str) -> bool:
        """Whether it was sealed with another key than the newest."""
        return key_id_of(sealed) != self.newest

    def reseal(self, sealed: str, *, table: str, row: UUID, column: str) -> str:
        """The same secret for the same place, under the newest key."""
        return self.seal(self.open(sealed, table=table, row=row, column=column), table=table, row=row, column=column)

    def sign(self, data: bytes) -> tuple[str, str]:
        """(key id, signature) of something that may be read, but not be made up."""
        return self.newest, self._signature(self.newest, data)

    def signed(self, data: bytes, key_id: str, signature: str) -> bool:
        """Whether one of the keys signed this; False also for a key that is not here any more."""
        return key_id in self._keys and hmac.compare_digest(self._signature(key_id, data), signature)

    def _signature(self, key_id: str, data: bytes) -> str:
        return hmac.new(_derived(self._keys[key_id], "sign", _KEY), data, "sha256").hexdigest()

    def _cipher(self, key_id: str, table: str, column: str) -> AESGCM:
        purpose = f"{table}.{column}"
        found = self._ciphers.get((key_id, purpose))
        if found is None:
            key = _derived(self._keys[key_id], f"seal {purpose}", _KEY)
            found = self._ciphers[key_id, purpose] = AESGCM(key)
        return found


def key_id_of(sealed: str) -> str | None:
    """The id of the key that a value was sealed with; None for what is no sealed value."""
    found = _FORM.fullmatch(sealed)
    return found[1] if found else None


def _parts(sealed: str, where: str) -> tuple[str, bytes]:
    found = _FORM.fullmatch(sealed)
    if found is not None:
        try:
            return found[1], base64.urlsafe_b64decode(found[2] + "=" * (-len(found[2]) % 4))
        except binascii.Error:
            pass
    raise SealBroken(f"{where} is no sealed value")


def _place(key_id: str, table: str, row: UUID, column: str) -> bytes:
    """What is authenticated beside the text; JSON keeps the parts apart."""
    return json.dumps(["sluice", 1, key_id, table, str(row), column]).encode()


def _derived(key: bytes, purpose: str, length: int) -> bytes:
    """A key for one purpose: whoever learns it learns neither the operator's key nor that of another purpose."""
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=f"sluice {purpose}".encode()).derive(key)
