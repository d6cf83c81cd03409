"""Join tokens in the database (`node.admission.TokenBook`), and as the HTTP API shows them (`TokenService`)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from node.admission import Admission
from node.store import Store
from protocol.api.nodes import TokenInfo, TokenReply, TokenRequest
from protocol.errors import NotFound
from protocol.token import RefusalReason, TokenEntry, parse_token_id, refusal, show_token_id

COLUMNS = "id, secret_hash, created_at, expires_at, uses_left"


class SqliteTokens:
    """Redeeming is one change of the writer thread: of two that race for a last use exactly one wins, durably."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def add(self, entry: TokenEntry) -> None:
        row = (show_token_id(entry.token_id), entry.secret_hash, entry.created_at, entry.expires_at, entry.uses_left)
        await self._store.write(lambda db: db.execute(f"INSERT INTO tokens ({COLUMNS}) VALUES (?, ?, ?, ?, ?)", row).rowcount)  # noqa: S608

    async def entries(self) -> list[TokenEntry]:
        """All that are kept, oldest first."""
        sql = f"SELECT {COLUMNS} FROM tokens ORDER BY created_at"  # noqa: S608 - a constant
        return [_entry(row) for row in await self._store.read(lambda db: db.execute(sql).fetchall())]

    async def revoke(self, token_id: bytes) -> bool:
        name = show_token_id(token_id)
        return bool(await self._store.write(lambda db: db.execute("DELETE FROM tokens WHERE id = ?", (name,)).rowcount))

    async def redeem(self, token_id: bytes, secret: bytes, now: float) -> RefusalReason | None:
        name = show_token_id(token_id)

        def change(db: sqlite3.Connection) -> RefusalReason | None:
            row = db.execute(f"SELECT {COLUMNS} FROM tokens WHERE id = ?", (name,)).fetchone()  # noqa: S608 - a constant
            reason = refusal(_entry(row) if row is not None else None, secret, now)
            if reason is None:
                db.execute("UPDATE tokens SET uses_left = uses_left - 1 WHERE id = ?", (name,))
            return reason

        return await self._store.write(change)


class TokenView:
    """Tokens as people make, list and revoke them."""

    def __init__(self, book: SqliteTokens, admission: Admission, address: Callable[[], str]) -> None:
        self._book = book
        self._admission = admission
        self._address = address

    async def create(self, request: TokenRequest) -> TokenReply:
        token, entry = await self._admission.create_token(request.ttl_s, request.uses)
        text = token.show()
        join = f"moot join {self._address()} --token {text}"
        return TokenReply(show_token_id(entry.token_id), text, entry.expires_at, entry.uses_left, join)

    async def list(self) -> list[TokenInfo]:
        return [TokenInfo(show_token_id(entry.token_id), entry.expires_at, entry.uses_left) for entry in await self._book.entries()]

    async def revoke(self, id: str) -> None:  # noqa: A002 - the name users see
        if not await self._book.revoke(parse_token_id(id)):
            raise NotFound(f"There is no token '{id}' on this node: `moot token ls` lists them.", param="id")


def _entry(row: tuple[str, bytes, float, float, int]) -> TokenEntry:
    return TokenEntry(parse_token_id(row[0]), *row[1:])
