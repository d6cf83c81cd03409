"""The listening socket of the API."""

from __future__ import annotations

import errno
from types import TracebackType

from aiohttp import web

from node.http.access import check_binding
from node.http.routes import SERVICES
from protocol.errors import Conflict, InvalidRequest

SHUTDOWN_S = 0.5
"""Seconds that requests under way get at shutdown; streams get none."""


class ApiServer:
    """A running API: `async with ApiServer(app, host, port) as api: api.url`.

    A request whose client hangs up is cancelled (`handler_cancellation`), and with it its question.
    """

    def __init__(self, app: web.Application, host: str, port: int) -> None:
        self._app, self._host, self._port = app, host, port
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=SHUTDOWN_S)

    @property
    def port(self) -> int:
        """The port that is bound, also where 0 was asked for."""
        return int(self._runner.addresses[0][1])

    @property
    def url(self) -> str:
        """The API's address as this machine calls it; a wildcard is called by its loopback address."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._host, self._host)  # noqa: S104 - read, not bound
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    async def start(self) -> None:
        """Bind. Raises `Conflict` when the port is taken, `InvalidRequest` when the address is not ours or is unguarded."""
        check_binding(self._host, self._app[SERVICES].access)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError as error:
            await self._runner.cleanup()
            if error.errno == errno.EADDRINUSE:
                raise Conflict(
                    f"Port {self._port} on {self._host} is taken: stop what uses it, or choose another with --api-port (0: any free one).",
                    code="port_in_use",
                    param="api_port",
                ) from error
            raise InvalidRequest(
                f"The API cannot listen on {self._host}:{self._port}: {error.strerror or error}. Check --api-host and --api-port.",
                param="api_host",
            ) from error

    async def close(self) -> None:
        """Stop listening, give requests under way half a second, end the rest."""
        await self._runner.cleanup()

    async def __aenter__(self) -> ApiServer:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()
