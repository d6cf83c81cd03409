"""A client of one daemon's HTTP API, on the standard library."""

from __future__ import annotations

import http.client
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import msgspec

from cli.target import DaemonUnreachable
from protocol.api.faults import MAX_BODY, ErrorBody, ErrorReply
from protocol.api.nodes import Event
from protocol.errors import Conflict, InvalidRequest, NotAuthorised, NotAvailable, NotFound, RequestTooLarge, UserError

T = TypeVar("T")

TIMEOUT_S = 40.0
LOOK_S = 10.0
"""For what a daemon only has to look up: one that takes longer hangs, and whoever waits wants to know."""
NOTICE_S = 2.0
MAX_REPLY = 64 * MAX_BODY
NOT_UTF8 = "What was typed or piped in is not text in UTF-8: convert it first, with `iconv -t utf-8` for instance."
ERRORS: dict[int, type[UserError]] = {
    400: InvalidRequest,
    401: NotAuthorised,
    403: NotAuthorised,
    404: NotFound,
    409: Conflict,
    413: RequestTooLarge,
    503: NotAvailable,
}


class Client:
    """Every method raises `DaemonUnreachable` (exit 3) or the `UserError` that the daemon's error stands for."""

    def __init__(self, api: str, token: str | None = None, timeout_s: float = TIMEOUT_S) -> None:
        """`api`: http://HOST:PORT. Raises `InvalidRequest` for anything else."""
        self.api = api.rstrip("/")
        self._token = token
        self._timeout_s = timeout_s
        try:
            parts = urlsplit(self.api)
            self._host, self._port, self._base = parts.hostname or "", parts.port, parts.path
        except ValueError as error:
            raise InvalidRequest(_not_a_url(api)) from error
        if parts.scheme not in ("http", "https") or not self._host:
            raise InvalidRequest(_not_a_url(api))
        self._secure = parts.scheme == "https"

    def get(self, path: str, shape: type[T], timeout_s: float | None = None) -> T:
        """`timeout_s` for what may take longer than a look."""
        with self._noticed():
            return self._decode(self._exchange("GET", path, None, timeout_s or min(LOOK_S, self._timeout_s)), shape)

    @contextmanager
    def _noticed(self) -> Iterator[None]:
        """Nobody looks at a silent terminal for long without wondering."""
        notice = threading.Timer(NOTICE_S, print, (f"moot: waiting for the daemon at {self.api}",), {"file": sys.stderr, "flush": True})
        notice.daemon = True
        notice.start()
        try:
            yield
        finally:
            notice.cancel()

    def post(self, path: str, shape: type[T], body: Any = None, timeout_s: float | None = None) -> T:
        """`timeout_s` for what may take longer than usual."""
        return self._decode(self._exchange("POST", path, body, timeout_s), shape)

    def patch(self, path: str, shape: type[T], body: Any) -> T:
        return self._decode(self._exchange("PATCH", path, body), shape)

    def download(self, path: str) -> bytes:
        """A body that is no JSON."""
        return self._exchange("GET", path)

    def delete(self, path: str) -> None:
        self._exchange("DELETE", path)

    @contextmanager
    def events(self) -> Iterator[Iterator[Event | None]]:
        """What happens there from now on; None when the daemon only says that it is still there."""
        with self._connected(None) as connection, self._translated():
            response = self._send(connection, "GET", "/v1/events", None, {"Accept": "text/event-stream"})
            if response.status != 200:
                raise self._error(response.status, response.read(MAX_BODY))
            response.readline()  # the greeting: from here on nothing is missed
            yield self._read_events(response)

    def _read_events(self, response: http.client.HTTPResponse) -> Iterator[Event | None]:
        while line := response.readline(MAX_BODY):
            if line.startswith(b"data: "):
                yield msgspec.json.decode(line[6:], type=Event)
            elif line.startswith(b":"):
                yield None
        raise DaemonUnreachable(f"The daemon at {self.api} stopped.")

    def _exchange(self, method: str, path: str, body: Any = None, timeout_s: float | None = None) -> bytes:
        with self._connected(timeout_s) as connection, self._translated():
            response = self._send(connection, method, path, body, {})
            raw = response.read(MAX_REPLY + 1)
        if len(raw) > MAX_REPLY:
            raise DaemonUnreachable(f"What answers at {self.api} sends more than a moot daemon would: check the address.")
        if not 200 <= response.status < 300:
            raise self._error(response.status, raw)
        return raw

    def _send(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: Any, headers: dict[str, str]
    ) -> http.client.HTTPResponse:
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection.request(method, self._base + path, None if body is None else _encoded(body), headers)
        return connection.getresponse()

    @contextmanager
    def _connected(self, timeout_s: float | None) -> Iterator[http.client.HTTPConnection]:
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=timeout_s or self._timeout_s)
        try:
            yield connection
        finally:
            connection.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:
            raise DaemonUnreachable(f"The daemon at {self.api} does not answer in time: see its log, or try again.") from error
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise DaemonUnreachable(
                f"No daemon answers at {self.api} ({why}): start one with `moot up`, or name one with --data-dir or --api."
            ) from error
        except http.client.HTTPException as error:
            raise DaemonUnreachable(f"What answers at {self.api} does not speak HTTP: check the address.") from error

    def _decode(self, raw: bytes, shape: type[T]) -> T:
        try:
            return msgspec.json.decode(raw, type=shape)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise DaemonUnreachable(f"What answers at {self.api} is not a moot daemon of this version: check the address.") from error

    def _error(self, status: int, raw: bytes) -> UserError:
        try:
            body = msgspec.json.decode(raw, type=ErrorReply).error
        except (msgspec.MsgspecError, UnicodeDecodeError):
            body = ErrorBody("http_error", None, f"{self.api} answered with HTTP status {status}.")
        return ERRORS.get(status, UserError)(body.message, code=body.code, param=body.param)


def in_path(text: str) -> str:
    """One segment of a path, or one value of a query, percent-encoded. Raises `InvalidRequest` for what is not UTF-8."""
    try:
        return quote(text, safe="")
    except UnicodeEncodeError as error:
        raise InvalidRequest(NOT_UTF8, code="usage") from error


def _encoded(body: Any) -> bytes:
    try:
        return msgspec.json.encode(body)
    except UnicodeEncodeError as error:  # an argument or a pipe in another encoding: Python keeps such bytes as lone surrogates
        raise InvalidRequest(NOT_UTF8, code="usage") from error


def _not_a_url(api: str) -> str:
    return f"'{api}' is not the address of an API: write http://HOST:PORT, as `moot up` prints it."
