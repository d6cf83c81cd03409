"""Errors in OpenAI's shape, health, and limits that every route shares."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

MAX_BODY = 1_048_576
"""Bytes of a request body."""


class ErrorBody(Struct, frozen=True):
    type: str
    code: str | None
    message: str
    param: str | None = None


class ErrorReply(Struct, frozen=True):
    error: ErrorBody


class Health(Struct, frozen=True):
    """`/healthz` (the process answers) and `/readyz` (503 until it can take part)."""

    status: Literal["ok", "starting"]
