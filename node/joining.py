"""The joiner's side of admission: trade a token for a membership, and later the old membership for a new one.

The order is what keeps the secret safe: read the offer; check that its root is the token's and that the certificate in use on this
very TLS connection chains to it and is marked keeper; only then send the request. A plain member is asked for keepers instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from node.links.tls import client_context, stranger_context
from node.links.visit import Visit, visit
from node.runtime import Runtime
from protocol.admission import (
    ADMISSION_VERSION,
    Denial,
    Grant,
    Message,
    Offer,
    check_offer,
    credentials_of,
    decode,
    encode,
    make_request,
)
from protocol.errors import BadSignature, Malformed, MootError, NotAuthorised, NotAvailable, PeerError, Refused, Unreachable
from protocol.identity import Credentials, NodeKey
from protocol.token import Token

JOIN_PATH = "/join"
RENEW_PATH = "/renew"
JOIN_S = 10.0
MAX_ASKED = 4
"""Keepers asked at most, whatever a member lists."""

_ASK_ANEW = "ask for a new one with `moot token create`"
_REASONS = {
    "unknown": f"The token is not known to the keepers of this swarm (it may have been revoked): {_ASK_ANEW}.",
    "wrong": f"The token's secret is wrong: copy the whole line again, or {_ASK_ANEW}.",
    "expired": f"The token has expired: {_ASK_ANEW}.",
    "used up": f"The token has been used up: {_ASK_ANEW}, with --uses for several machines.",
}


class WrongSwarm(NotAuthorised):
    """The node is not of the token's swarm; it was told nothing."""


async def join(address: str, token: Token, key: NodeKey, runtime: Runtime, timeout: float = JOIN_S) -> Credentials:
    """Have `key` admitted through the node at HOST:PORT. `timeout` is for each node asked, and at most `1 + MAX_ASKED` are.

    Raises `Unreachable` when nobody answers, `NotAuthorised` when the swarm is another or the token is not honoured, and
    `NotAvailable` when no keeper can be found.
    """
    answer = await _knock(address, token, key, runtime, timeout)
    if isinstance(answer, Credentials):
        return answer
    failure, others = answer
    unusable: list[str] = []
    for other in list(dict.fromkeys(others))[:MAX_ASKED]:
        try:
            answer = await _knock(other, token, key, runtime, timeout)
        except (PeerError, NotAvailable, WrongSwarm) as error:
            unusable.append(str(error))
            continue
        if isinstance(answer, Credentials):
            return answer
        failure = answer[0]
    if isinstance(failure, NotAvailable) and unusable:
        raise NotAvailable(f"{address} is a plain member, and no keeper that it names could be used ({'; '.join(unusable)}).")
    raise failure


async def renew(keepers: Sequence[str], credentials: Credentials, runtime: Runtime, timeout: float = JOIN_S) -> Credentials:
    """A new membership for the same key, from the first of these addresses that grants one. Raises `Unreachable` when none does."""
    failures: list[str] = []
    context = client_context(credentials)
    for address in keepers[:MAX_ASKED]:
        try:
            async with asyncio.timeout(timeout), visit(address, RENEW_PATH, context) as call:
                answer = await _next(call)
            if not isinstance(answer, Grant):
                raise Refused("renew", answer.message if isinstance(answer, Denial) else "an unexpected answer")
            return credentials_of(answer, credentials.key, credentials.root, runtime.now())
        except (PeerError, TimeoutError) as error:
            failures.append(f"{address}: {error or 'no answer in time'}")
    raise Unreachable(f"no keeper renewed this node's membership ({'; '.join(failures) or 'no keeper is known'})")


async def _knock(address: str, token: Token, key: NodeKey, runtime: Runtime, timeout: float) -> Credentials | tuple[MootError, list[str]]:
    """Ask one node. Where it cannot decide: what to say if nobody else can, and whom to ask."""
    try:
        async with asyncio.timeout(timeout), visit(address, JOIN_PATH, stranger_context()) as call:
            offer = await _next(call)
            if not isinstance(offer, Offer):
                raise _denied(address, offer)
            if not _is_keeper(address, offer, call.certificate, token, runtime.now()):
                return NotAvailable(
                    f"{address} is a plain member and no keeper could be asked: join through the node that made the token."
                ), offer.keepers
            await call.send(encode(make_request(token, key, offer, call.certificate)))
            answer = await _next(call)
            if isinstance(answer, Grant):
                return credentials_of(answer, key, offer.root, runtime.now())
            failure = _denied(address, answer)
            if isinstance(answer, Denial) and answer.code == "unknown":
                return failure, offer.keepers
            raise failure
    except TimeoutError as error:
        raise Unreachable(f"{address} did not answer within {timeout:.1f} s") from error


def _is_keeper(address: str, offer: Offer, certificate: bytes, token: Token, now: float) -> bool:
    """Everything that must hold before the secret may be sent."""
    if offer.version != ADMISSION_VERSION:
        raise NotAvailable(f"{address} speaks admission version {offer.version}, this node {ADMISSION_VERSION}: update the older one.")
    try:
        return check_offer(offer, certificate, token.swarm_id, now).keeper
    except BadSignature as error:
        raise WrongSwarm(
            f"{address} is not of the swarm that the token is for ({error}); the secret was not sent. Check the address, or {_ASK_ANEW}.",
            code="wrong_swarm",
        ) from error


async def _next(call: Visit) -> Message:
    return decode(await call.receive())


def _denied(address: str, answer: Message) -> MootError:
    """What a keeper's no means for the person at this machine. Known codes get our words, not the peer's."""
    if not isinstance(answer, Denial):
        return Malformed(f"{address} answered out of turn")
    if answer.code in _REASONS:
        return NotAuthorised(_REASONS[answer.code], code=f"token_{answer.code.replace(' ', '_')}")
    return NotAvailable(f"{address} admits nobody now ({answer.message}): try again in a minute.")
