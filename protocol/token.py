"""Join tokens: text <-> fields, and when a keeper honours one.

    moot1-<CA hash>-<token id>-<secret>        three lower-case base32 fields of 32, 8 and 32 characters

The CA hash (a `SwarmId`) lets the joiner check the swarm before it says anything; the id names the token in lists; the secret is
kept by nobody but its holder: keepers store its SHA-256. Pure: times and random bytes are arguments.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Literal

from protocol.errors import InvalidRequest, NotAuthorised
from protocol.identity import ID_BYTES, SwarmId

PREFIX = "moot1"
TOKEN_ID_BYTES = 5
SECRET_BYTES = 20
"""160 bits: beyond guessing, so a fast hash is enough to store it."""

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_DURATION = re.compile(r"([0-9]{1,9})([smhd])")

RefusalReason = Literal["unknown", "wrong", "expired", "used up"]


@dataclass(frozen=True, slots=True)
class Token:
    """What the holder has. `repr` leaves the secret out; `show` prints it."""

    swarm_id: SwarmId
    token_id: bytes
    secret: bytes

    def show(self) -> str:
        """The line that people copy."""
        return "-".join((PREFIX, _base32(self.swarm_id), _base32(self.token_id), _base32(self.secret)))

    def __repr__(self) -> str:
        return f"Token({_base32(self.token_id)})"


def parse_token(text: str) -> Token:
    """The inverse of `Token.show`; case and surrounding space do not matter. Raises `NotAuthorised`; never quotes the secret."""
    fields = text.strip().lower().split("-")
    if fields[0] != PREFIX or len(fields) != 4:
        raise _not_a_token(f"it must read {PREFIX}-...-...-...")
    swarm_id, token_id, secret = (_from_base32(field) for field in fields[1:])
    if (len(swarm_id), len(token_id), len(secret)) != (ID_BYTES, TOKEN_ID_BYTES, SECRET_BYTES):
        raise _not_a_token("a part of it is missing or mistyped")
    return Token(SwarmId(swarm_id), token_id, secret)


def show_token_id(token_id: bytes) -> str:
    """As `moot token ls` prints it."""
    return _base32(token_id)


def parse_token_id(text: str) -> bytes:
    """The inverse of `show_token_id`. Raises `InvalidRequest`."""
    try:
        token_id = _from_base32(text.strip().lower())
    except NotAuthorised:
        token_id = b""
    if len(token_id) != TOKEN_ID_BYTES:
        raise InvalidRequest(f"'{text[:80]}' is not a token id: use one that `moot token ls` prints.")
    return token_id


def parse_duration(text: str) -> int:
    """Seconds in `90s`, `5m`, `1h` or `2d`. Raises `InvalidRequest`."""
    match = _DURATION.fullmatch(text.strip().lower())
    if match is None or int(match[1]) == 0:
        raise InvalidRequest(f"'{text[:80]}' is not a duration: write a number with s, m, h or d, for instance 90s, 5m, 1h or 2d.")
    return int(match[1]) * _UNITS[match[2]]


@dataclass(frozen=True, slots=True)
class TokenEntry:
    """What a keeper keeps of a token. Times are seconds since the epoch."""

    token_id: bytes
    secret_hash: bytes
    created_at: float
    expires_at: float
    uses_left: int


def hash_secret(secret: bytes) -> bytes:
    """What is stored in place of a secret, 32 bytes."""
    return hashlib.sha256(secret).digest()


def refusal(entry: TokenEntry | None, secret: bytes, now: float) -> RefusalReason | None:
    """Why a token is not honoured, or None when it is. Who does not know the secret learns nothing about the token's state."""
    if entry is None:
        return "unknown"
    if not hmac.compare_digest(entry.secret_hash, hash_secret(secret)):
        return "wrong"
    if now >= entry.expires_at:
        return "expired"
    if entry.uses_left < 1:
        return "used up"
    return None


def _base32(data: bytes) -> str:
    return base64.b32encode(data).decode().rstrip("=").lower()


def _from_base32(text: str) -> bytes:
    try:
        data = base64.b32decode(text.upper() + "=" * (-len(text) % 8))
    except ValueError as error:
        raise _not_a_token("a part of it is mistyped") from error
    if _base32(data) != text:  # unused bits must be zero: one token, one spelling
        raise _not_a_token("a part of it is mistyped")
    return data


def _not_a_token(why: str) -> NotAuthorised:
    return NotAuthorised(f"This is not a join token ({why}): copy the whole line that `moot token create` printed.", code="bad_token")
