"""The listening side before anybody is known: accepts TCP, runs TLS, and bounds what a stranger may hold.

A connection is a *stranger* until its handler calls `admit`. Strangers have `stranger_s` seconds from the TCP accept on, whatever
they do (slow TLS, slow headers, a join that takes its time), and at most `max_strangers` of them exist: the oldest makes room,
because an honest peer needs milliseconds and a slow one is the attack.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable

import structlog

from node.links.tls import explain
from protocol.address import join_address
from protocol.errors import Conflict, InvalidRequest

STRANGER_S = 10.0
MAX_STRANGERS = 256
TLS_SHUTDOWN_S = 1.0
BACKLOG = 128
OUT_OF_FILES_S = 0.5
"""Pause of the accept loop while the process has no file descriptor left."""

log = structlog.get_logger("door")


class Door:
    """One listening socket. `context` is asked anew for every connection, so a renewed certificate is used at once."""

    def __init__(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        context: Callable[[], ssl.SSLContext],
        *,
        stranger_s: float = STRANGER_S,
        max_strangers: int = MAX_STRANGERS,
    ) -> None:
        self._protocol_factory = protocol_factory
        self._context = context
        self._stranger_s = stranger_s
        self._max_strangers = max_strangers
        self._strangers: dict[asyncio.Task[None], None] = {}
        self._admissions: dict[object, asyncio.Event] = {}
        self._accepting: asyncio.Task[None] | None = None
        self._socket: socket.socket | None = None

    async def open(self, host: str, port: int) -> tuple[str, int]:
        """Listen; returns the bound (host, port). Raises `Conflict` when the port is taken, `InvalidRequest` when it cannot be had."""
        loop = asyncio.get_running_loop()
        try:
            family, _, _, _, target = (await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE))[0]
            listener = socket.create_server(target[:2], family=family, backlog=BACKLOG)
        except OSError as error:
            raise _cannot_listen(host, port, error) from error
        listener.setblocking(False)
        self._socket = listener
        self._accepting = loop.create_task(self._accept(listener), name="door")
        self._accepting.add_done_callback(_report)
        bound: tuple[str, int] = listener.getsockname()[:2]
        return bound

    def admit(self, transport: object) -> None:
        """This connection is no stranger any more: its deadline is lifted and its place is free."""
        admission = self._admissions.get(transport)
        if admission is not None:
            admission.set()

    async def close(self) -> None:
        """Stop accepting and turn every stranger away."""
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.wait([self._accepting])
        if self._socket is not None:
            self._socket.close()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    connection, remote = await loop.sock_accept(listener)
                except OSError as error:
                    log.warning("cannot accept", reason=str(error))
                    await asyncio.sleep(OUT_OF_FILES_S)
                    continue
                if len(self._strangers) >= self._max_strangers:
                    next(iter(self._strangers)).cancel()
                task = group.create_task(self._greet(connection, join_address(*remote[:2])))
                self._strangers[task] = None
                task.add_done_callback(lambda done: self._strangers.pop(done, None))

    async def _greet(self, connection: socket.socket, remote: str) -> None:
        """See one connection through TLS and until it is admitted; cut it off when that takes too long."""
        transport: asyncio.Transport | None = None
        admitted = asyncio.Event()
        try:
            async with asyncio.timeout(self._stranger_s):
                transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
                    self._protocol_factory, connection, ssl=self._context(),
                    ssl_handshake_timeout=self._stranger_s, ssl_shutdown_timeout=TLS_SHUTDOWN_S,
                )  # fmt: skip
                self._admissions[transport] = admitted
                await admitted.wait()
        except ssl.SSLError as error:
            log.info("refused a connection", peer=remote, reason=explain(error))
        except (OSError, TimeoutError) as error:
            log.debug("dropped a connection", peer=remote, reason=str(error) or f"not admitted within {self._stranger_s:.1f} s")
        finally:
            self._admissions.pop(transport, None)
            if not admitted.is_set():
                transport.abort() if transport is not None else connection.close()


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        task.get_loop().call_exception_handler({"message": "the door failed", "exception": error, "task": task})


def _cannot_listen(host: str, port: int, error: OSError) -> Conflict | InvalidRequest:
    if error.errno == errno.EADDRINUSE:
        return Conflict(
            f"Port {port} on {host} is in use: stop what listens there, or choose another with --port (0 picks a free one).", param="port"
        )
    if error.errno == errno.EACCES:
        return InvalidRequest(f"Port {port} needs privileges this process does not have: choose one above 1023 with --port.", param="port")
    return InvalidRequest(
        f"Cannot listen on {join_address(host, port)} ({error.strerror}): give an address of this machine with --host.", param="host"
    )
