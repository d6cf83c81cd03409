"""What one row of the route table is, and how a request becomes a call of its handler.

A row names method, path, handler, what it takes (the JSON body; for GET the query), what it gives, and its scope. The server and
`/openapi.json` are both made from the rows, so the description cannot drift from the behaviour.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec
from aiohttp import web

from node.http.access import Scope
from node.http.errors import Handler, UnsupportedMedia
from node.http.services import Services
from protocol.api.faults import MAX_BODY
from protocol.errors import InvalidRequest, RequestTooLarge

B = TypeVar("B")
R = TypeVar("R")

SERVICES: web.AppKey[Services] = web.AppKey("services", Services)

READ_S = 30.0
"""Seconds a client has to send its body."""
ANSWER_S = 30.0
"""Seconds a route has to answer, unless it keeps its own time."""
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Call(Generic[B]):
    """One request that passed the guards, its body or query decoded."""

    services: Services
    request: web.Request
    body: B

    def path(self, name: str) -> str:
        """A variable of the path, percent-decoded."""
        return self.request.match_info[name]


@dataclass(frozen=True, slots=True)
class Route:
    """One row. Made by `get`, `post`, `put`, `delete`, which tie the types together."""

    method: str
    path: str
    handler: Callable[[Call[Any]], Awaitable[Any]]
    summary: str
    takes: Any
    gives: Any
    scope: Scope
    media: str
    timeout_s: float | None
    """None: the handler keeps its own time (questions, streams)."""


Takes = Callable[[Call[B]], Awaitable[R | web.StreamResponse]]


def get(
    path: str,
    handler: Takes[B, R],
    summary: str,
    *,
    gives: type[R],
    takes: type[B] | None = None,
    scope: Scope = Scope.USE,
    media: str = JSON,
    timeout_s: float | None = ANSWER_S,
) -> Route:
    """A row that reads; `takes` describes its query."""
    return Route("GET", path, handler, summary, takes, gives, scope, media, timeout_s)


def post(
    path: str,
    handler: Takes[B, R],
    summary: str,
    *,
    gives: type[R],
    takes: type[B] | None = None,
    scope: Scope = Scope.USE,
    timeout_s: float | None = ANSWER_S,
) -> Route:
    """A row that does something; `takes` describes its JSON body."""
    return Route("POST", path, handler, summary, takes, gives, scope, JSON, timeout_s)


def put(path: str, handler: Takes[B, R], summary: str, *, gives: type[R], takes: type[B], scope: Scope = Scope.USE) -> Route:
    """A row that stores its body under its path."""
    return Route("PUT", path, handler, summary, takes, gives, scope, JSON, ANSWER_S)


def patch(path: str, handler: Takes[B, R], summary: str, *, gives: type[R], takes: type[B], scope: Scope = Scope.USE) -> Route:
    """A row that changes part of what its path names."""
    return Route("PATCH", path, handler, summary, takes, gives, scope, JSON, ANSWER_S)


def delete(path: str, handler: Takes[None, None], summary: str, *, scope: Scope) -> Route:
    """A row that removes what its path names."""
    return Route("DELETE", path, handler, summary, None, type(None), scope, JSON, ANSWER_S)


def serve(route: Route) -> Handler:
    """The aiohttp handler of a row: authorise, decode, call, encode."""

    async def handle(request: web.Request) -> web.StreamResponse:
        services = request.app[SERVICES]
        services.access.authorise(request.headers.get("Authorization"), route.scope)
        body = await _decode(request, route)
        async with asyncio.timeout(route.timeout_s):
            result = await route.handler(Call(services, request, body))
        if isinstance(result, web.StreamResponse):
            return result
        return web.Response(status=204) if result is None else json_response(result)

    return handle


def json_response(value: Any, status: int = 200) -> web.Response:
    """A struct, or a list of them, as JSON."""
    return web.Response(body=msgspec.json.encode(value), status=status, content_type=JSON)


async def _decode(request: web.Request, route: Route) -> Any:
    if route.takes is None:
        return None
    if route.method == "GET":
        return _query(request, route.takes)
    if request.content_type != JSON:
        raise UnsupportedMedia(f"The body must be JSON: send it with 'Content-Type: {JSON}'.", code="unsupported_media_type")
    async with asyncio.timeout(READ_S):
        return decode_body(await _read(request), route.takes)


async def _read(request: web.Request) -> bytes:
    if (request.content_length or 0) > MAX_BODY:  # refused before a byte of it is read
        raise RequestTooLarge("The body is larger than 1 MB: send less at once.", code="body_too_large")
    return await request.read()


def decode_body(raw: bytes, kind: Any) -> Any:
    """JSON bytes to a struct. Raises `InvalidRequest` that names the field at fault."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        raise _field_error(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        hint = " (NaN and Infinity are not JSON)" if b"NaN" in raw or b"Infinity" in raw else ""
        raise InvalidRequest(f"The body is not JSON: {error}{hint}.", code="invalid_json") from error


def _query(request: web.Request, kind: Any) -> Any:
    try:
        return msgspec.convert(dict(request.query), kind, strict=False)
    except msgspec.ValidationError as error:
        raise _field_error(str(error)) from error


_AT = re.compile(r"(?P<what>.*?)(?: - at `\$\.?(?P<at>[^`]*)`)?", re.DOTALL)
_NAMED = re.compile(r"Object (?P<how>contains unknown|missing required) field `(?P<field>[^`]*)`")


def _field_error(text: str) -> InvalidRequest:
    """msgspec's sentence, with the field in front and as `param`."""
    parts = _AT.fullmatch(text)
    what, at = (parts["what"], parts["at"] or "") if parts else (text, "")
    named = _NAMED.fullmatch(what)
    if named is None:
        where = f"Field '{at}'" if at else "The body"
        return InvalidRequest(f"{where} is not right: {what[:1].lower()}{what[1:]}.", code="invalid_value", param=at or None)
    param = f"{at}.{named['field']}" if at else named["field"]
    if named["how"] == "missing required":
        return InvalidRequest(f"The field '{param}' is missing: /openapi.json describes this route.", code="missing_field", param=param)
    return InvalidRequest(f"Unknown field '{param}': /openapi.json lists what this route takes.", code="unknown_field", param=param)
