"""Join tokens in memory."""

from __future__ import annotations

from dataclasses import replace

from protocol.token import RefusalReason, TokenEntry, refusal


class MemoryTokenBook:
    """`node.admission.TokenBook` without a file: nothing awaits between decision and decrement, so redeeming is one step."""

    def __init__(self) -> None:
        self._entries: dict[bytes, TokenEntry] = {}

    async def add(self, entry: TokenEntry) -> None:
        self._entries[entry.token_id] = entry

    async def entries(self) -> list[TokenEntry]:
        return list(self._entries.values())

    async def revoke(self, token_id: bytes) -> bool:
        return self._entries.pop(token_id, None) is not None

    async def redeem(self, token_id: bytes, secret: bytes, now: float) -> RefusalReason | None:
        entry = self._entries.get(token_id)
        reason = refusal(entry, secret, now)
        if entry is not None and reason is None:
            self._entries[token_id] = replace(entry, uses_left=entry.uses_left - 1)
        return reason
