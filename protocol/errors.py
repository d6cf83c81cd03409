"""One error tree, drawn once.

    MootError
    ├── LocalError          our bug: a state we promised could not be reached
    ├── PeerError           their fault: a peer sent what the protocol forbids
    │   ├── Malformed           bytes that are no message of ours
    │   ├── TooLarge            longer than the protocol allows
    │   ├── BadSignature        a signature, hash or certificate that does not hold
    │   ├── Refused             the peer said no, and why (code, message)
    │   └── Unreachable         the peer did not answer before the deadline
    └── UserError           what to fix: carries an HTTP status and an exit code
        ├── InvalidRequest      400, exit 2
        ├── NotAuthorised       401, exit 5
        ├── NotFound            404, exit 1
        ├── Conflict            409, exit 1
        ├── RequestTooLarge     413, exit 2
        └── NotAvailable        503, exit 1

A `UserError` message is one clear sentence that names the cause and the remedy.
"""

from __future__ import annotations

from typing import ClassVar


class MootError(Exception):
    """Base of everything this project raises on purpose."""


class LocalError(MootError):
    """Our own bug: an invariant of this process does not hold."""


class PeerError(MootError):
    """A peer broke the protocol; its message is dropped and counted, never used."""


class Malformed(PeerError):
    """Bytes that do not decode to a message of this protocol."""


class TooLarge(PeerError):
    """A message over the size the protocol allows."""


class BadSignature(PeerError):
    """A signature, hash or certificate that does not hold."""


class Refused(PeerError):
    """The peer understood and said no."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Unreachable(PeerError):
    """The peer did not answer before the deadline."""


class UserError(MootError):
    """Something the person can fix; the message says what and how."""

    status: ClassVar[int] = 400
    exit_code: ClassVar[int] = 1
    kind: ClassVar[str] = "invalid_request_error"

    def __init__(self, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.param = param


class InvalidRequest(UserError):
    """A request or flag that cannot be carried out as written."""

    status = 400
    exit_code = 2


class NotAuthorised(UserError):
    """A secret, token or certificate that is missing, wrong, expired or used up."""

    status = 401
    exit_code = 5
    kind = "authentication_error"


class NotFound(UserError):
    """The named thing is not here."""

    status = 404
    kind = "not_found_error"


class Conflict(UserError):
    """Something else already holds what was asked for (a port, a lock, a name)."""

    status = 409
    kind = "conflict_error"


class RequestTooLarge(UserError):
    """A body over the size limit."""

    status = 413
    exit_code = 2


class NotAvailable(UserError):
    """This node cannot do it now: no weights, no memory, a damaged file."""

    status = 503
    kind = "unavailable_error"
