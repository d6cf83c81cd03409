"""Who may call the API: host allow-list, origin check, tokens, and where the API may listen.

A page in the user's browser can reach 127.0.0.1. Two checks keep it out: the `Host` header must be a name of this machine (a page that
rebinds its own DNS name to 127.0.0.1 still sends its own name), and an `Origin`, where a browser sends one, must be the API itself.
"""

from __future__ import annotations

import hmac
import ipaddress
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import urlsplit

from node.http.errors import Forbidden
from protocol.errors import InvalidRequest, NotAuthorised

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class Scope(Enum):
    """What a route asks of its caller."""

    OPEN = "open"
    """Anybody who can connect: health, the description of the API."""
    USE = "use"
    """Asking and reading: free until API tokens are configured."""
    ADMIN = "admin"
    """Changing who may do what, or whether the node runs: the admin token, always."""


@dataclass(frozen=True, slots=True)
class Access:
    """The rules of one API."""

    admin_token: str = field(repr=False)
    """The secret of `api.json`."""
    api_tokens: tuple[str, ...] = field(default=(), repr=False)
    """When given, every route of scope USE wants one of them or the admin token."""
    hosts: frozenset[str] = frozenset()
    """Host names, besides loopback's and the address called, under which this API may be called (a reverse proxy's name)."""

    def authorise(self, authorization: str | None, scope: Scope) -> None:
        """Check an `Authorization` header. Raises `NotAuthorised` (401), or `Forbidden` when the token is good for less."""
        if scope is Scope.OPEN or (scope is Scope.USE and not self.api_tokens):
            return
        kind, _, presented = (authorization or "").partition(" ")
        presented = presented.strip()
        if kind.lower() != "bearer" or not presented:
            raise NotAuthorised(
                f"This route wants {_wanted(scope)} as 'Authorization: Bearer ...'; commands on this machine find it by --data-dir.",
                code="missing_api_key",
            )
        is_admin = _same(presented, self.admin_token)
        is_user = any([_same(presented, token) for token in self.api_tokens])  # noqa: C419 - compare all: equal time for any match
        if is_admin or (is_user and scope is Scope.USE):
            return
        if is_user:
            raise Forbidden(f"This API token may ask and read; this route wants {_wanted(scope)}.", code="insufficient_scope")
        raise NotAuthorised(f"The API token is not right: this route wants {_wanted(scope)}.", code="invalid_api_key")

    def check_host(self, header: str | None, called: str | None) -> None:
        """Refuse a `Host` that is no name of this machine. `called` is the local address of the connection."""
        name = _host_name(header or "")
        if name and (name in LOOPBACK_NAMES or name in self.hosts or name == called):
            return
        raise Forbidden(
            f"The API does not answer to the host name '{header or ''}': call it by its address, for example http://127.0.0.1.",
            code="host_not_allowed",
        )

    def check_origin(self, origin: str | None, host: str) -> None:
        """Refuse a browser page that is not the API's own. `host` is the (already checked) `Host` header."""
        if origin is None:
            return
        parts = urlsplit(origin)
        if parts.scheme not in {"http", "https"} or parts.netloc.lower() != host.lower():
            raise Forbidden(f"Pages of {origin} may not call this API: open it from its own address.", code="origin_not_allowed")


def check_binding(host: str, access: Access) -> None:
    """The API listens beyond loopback only where a token guards it. Raises `InvalidRequest`."""
    if not access.api_tokens and not is_loopback(host):
        raise InvalidRequest(
            f"The API would listen on {host} for anybody: set MOOT_API_TOKENS to one or more secrets, or leave --api-host at 127.0.0.1.",
            code="unguarded_api",
            param="api_host",
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _wanted(scope: Scope) -> str:
    return "the admin token" if scope is Scope.ADMIN else "an API token"


def _same(presented: str, secret: str) -> bool:
    return hmac.compare_digest(presented.encode("utf-8", "surrogateescape"), secret.encode())


def _host_name(header: str) -> str:
    """`example.org:80`, `[::1]:80` -> the name, lower case, without a trailing dot; empty when there is none."""
    try:
        return (urlsplit(f"//{header}").hostname or "").rstrip(".")
    except ValueError:
        return ""
