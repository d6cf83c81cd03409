"""Errors on the wire: OpenAI's shape, one status each, never a stack trace.

`UserError` already carries its status and sentence. This file adds the refusals that only HTTP knows and maps the rest.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import ClassVar

import msgspec
import structlog
from aiohttp import web

from protocol.api.faults import ErrorBody, ErrorReply
from protocol.errors import NotAuthorised, NotFound, PeerError, RequestTooLarge, Unreachable, UserError

log = structlog.get_logger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class HttpRefusal(UserError):
    """A refusal that only HTTP knows; `headers` go with the reply."""

    headers: ClassVar[Mapping[str, str]] = {}


class Forbidden(HttpRefusal):
    """The caller is known, or knowable, and may not: wrong host name, foreign origin, scope too small."""

    status = 403
    exit_code = 5
    kind = "permission_error"


class NotAcceptable(HttpRefusal):
    """The route speaks another form than the client accepts."""

    status = 406


class UnsupportedMedia(HttpRefusal):
    """A body that is not declared to be JSON."""

    status = 415
    exit_code = 2


class TooBusy(HttpRefusal):
    """More at once than this node takes; try again shortly."""

    status = 429
    kind = "rate_limit_error"
    headers: ClassVar[Mapping[str, str]] = {"Retry-After": "1"}


class TimedOut(HttpRefusal):
    """The node could not finish in the time that the route allows."""

    status = 504
    kind = "timeout_error"


class PeerFailed(HttpRefusal):
    """Another node answered with something that the protocol forbids."""

    status = 502
    kind = "peer_error"


class PeersUnreachable(HttpRefusal):
    """The nodes that this needs do not answer."""

    status = 503
    kind = "unavailable_error"


def error_response(error: UserError) -> web.Response:
    """The reply for an error, with the headers that its status calls for."""
    headers = dict(error.headers) if isinstance(error, HttpRefusal) else {}
    if isinstance(error, NotAuthorised):
        headers["WWW-Authenticate"] = "Bearer"
    return _response(error.status, ErrorBody(error.kind, error.code, str(error), error.param), headers)


@web.middleware
async def in_error_shape(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Outermost: whatever goes wrong below leaves as one `ErrorReply`."""
    try:
        return await handler(request)
    except UserError as error:
        return error_response(error)
    except TimeoutError:
        return error_response(TimedOut("This took longer than the route allows: try again, or ask for less.", code="timeout"))
    except Unreachable as error:
        return error_response(PeersUnreachable(f"A node that this needs did not answer: {error}.", code="peer_unreachable"))
    except PeerError as error:
        return error_response(PeerFailed(f"Another node answered wrongly: {error}.", code="peer_failed"))
    except web.HTTPException as error:
        return _from_aiohttp(request, error)
    except Exception as error:  # the one supervision boundary of the API: a bug costs its request, not the daemon
        if isinstance(error, ConnectionError) and (request.transport is None or request.transport.is_closing()):
            raise  # the client went away while it was being answered: nobody is left to tell
        log.exception("request failed", method=request.method, path=request.path)
        body = ErrorBody("server_error", "internal", "This is a bug in moot; the daemon's log has the details.")
        return _response(500, body, {})


def _from_aiohttp(request: web.Request, error: web.HTTPException) -> web.Response:
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return error_response(RequestTooLarge("The body is larger than 1 MB: send less at once.", code="body_too_large"))
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        message = f"{request.path} does not take {request.method}: use {allowed}."
        return _response(405, ErrorBody("invalid_request_error", "method_not_allowed", message), {"Allow": allowed})
    if isinstance(error, web.HTTPNotFound):
        return error_response(NotFound(f"There is no route {request.path}: /openapi.json lists them.", code="route_not_found"))
    return _response(error.status, ErrorBody("invalid_request_error", None, f"{error.reason}."), {})


def _response(status: int, body: ErrorBody, headers: Mapping[str, str]) -> web.Response:
    return web.Response(body=msgspec.json.encode(ErrorReply(body)), status=status, headers=headers, content_type="application/json")
