"""The keeper's side of admission, and how a node comes by its credentials when it starts.

    keyring = Keyring(config.data_dir, runtime)
    credentials = await obtain_credentials(keyring, runtime, open_swarm=config.open, bootstrap=config.bootstrap, token=config.token)
    admission = Admission(runtime, credentials, keyring.issuer(), tokens, keepers)      # tokens: a TokenBook; keepers: () -> addresses
    factory = WssFactory(credentials, visits=admission.visits())

A visit to /join gets an `Offer` (public) and, on a keeper, may redeem a token; a visit to /renew with a valid certificate gets a new
one. A member that is no keeper names the keepers it knows. Joins are limited per address and over all; tokens are redeemed by the
book in one step, so uses cannot race.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from node.joining import JOIN_PATH, RENEW_PATH, join
from node.keyring import Issuer, Keyring
from node.links.visit import Visit, VisitHandler
from node.runtime import Runtime
from protocol.admission import (
    ADMISSION_VERSION,
    MAX_KEEPERS,
    NONCE_BYTES,
    Denial,
    Grant,
    Offer,
    Request,
    check_request,
    decode,
    encode,
)
from protocol.errors import BadSignature, Conflict, InvalidRequest, NotAuthorised, PeerError, Unreachable, UserError
from protocol.identity import Credentials, describe_leaf, node_id_of, show_id
from protocol.pins import WORDS
from protocol.token import (
    SECRET_BYTES,
    TOKEN_ID_BYTES,
    RefusalReason,
    Token,
    TokenEntry,
    hash_secret,
    parse_token,
    show_token_id,
)

VISITS_PER_S, VISIT_BURST = 20.0, 200.0
HOST_VISITS_PER_S, HOST_BURST = 2.0, 64.0
"""Visits a second that all hosts, and one, may pay, and how many at once. A lab of 50 daemons on one machine joins in one go."""
HOSTS_REMEMBERED = 1_024

log = structlog.get_logger("admission")


class TokenBook(Protocol):
    """Where a keeper keeps its tokens."""

    async def add(self, entry: TokenEntry) -> None:
        """Keep a new token."""

    async def entries(self) -> list[TokenEntry]:
        """All that are kept, oldest first."""

    async def revoke(self, token_id: bytes) -> bool:
        """Forget a token; False when there is none of this id."""

    async def redeem(self, token_id: bytes, secret: bytes, now: float) -> RefusalReason | None:
        """Use a token once: `protocol.token.refusal` decides, and None means that one use less is left, durably.

        Decision and decrement are one step: of two that race for a last use exactly one gets None.
        """


class Admission:
    """Offers, token redemption and renewal on one node."""

    def __init__(
        self,
        runtime: Runtime,
        credentials: Credentials,
        issuer: Issuer | None,
        tokens: TokenBook,
        keepers: Callable[[], Sequence[str]],
    ) -> None:
        """`issuer`: None on a plain member. `keepers`: addresses of keepers this node knows, best first."""
        self._runtime = runtime
        self._credentials = credentials
        self._issuer = issuer
        self._tokens = tokens
        self._keepers = keepers
        self._limit = VisitLimit(runtime)

    @property
    def keeper(self) -> bool:
        """Whether this node admits others."""
        return self._issuer is not None

    def renew(self, credentials: Credentials) -> None:
        """This node's own membership has been renewed."""
        self._credentials = credentials

    def visits(self) -> dict[str, VisitHandler]:
        """What to serve to visitors, by path."""
        return {JOIN_PATH: self._join, RENEW_PATH: self._renew}

    async def create_token(self, ttl_s: float, uses: int) -> tuple[Token, TokenEntry]:
        """Make a token. The secret exists only in what is returned. Raises `InvalidRequest` where nobody can be admitted."""
        if self._issuer is None:
            raise InvalidRequest(
                "This node is not a keeper: make the token on a keeper (the node that founded the swarm is one).", code="not_keeper"
            )
        now = self._runtime.now()
        token = Token(self._credentials.swarm_id, self._runtime.token_bytes(TOKEN_ID_BYTES), self._runtime.token_bytes(SECRET_BYTES))
        entry = TokenEntry(token.token_id, hash_secret(token.secret), now, now + ttl_s, uses)
        await self._tokens.add(entry)
        return token, entry

    async def _join(self, visit: Visit) -> None:
        if not self._limit.allows(visit.host):
            await visit.send(encode(Denial("busy", "too many joins from this address")))
            return
        nonce = self._runtime.token_bytes(NONCE_BYTES)
        mine = self._credentials
        keepers = [address for address in self._keepers() if len(address) <= 255][:MAX_KEEPERS]
        await visit.send(encode(Offer(ADMISSION_VERSION, mine.keeper, mine.root, nonce, keepers)))
        request = decode(await visit.receive())
        if isinstance(request, Request):
            await visit.send(encode(await self._decide(request, nonce, mine.leaf)))

    async def _decide(self, request: Request, nonce: bytes, certificate: bytes) -> Grant | Denial:
        if self._issuer is None:
            return Denial("not keeper", "this node admits nobody")
        try:
            check_request(request, nonce, certificate)
            reason = await self._tokens.redeem(request.token_id, request.secret, self._runtime.now())
        except BadSignature as error:
            return Denial("proof", str(error))
        except UserError as error:
            return Denial("unavailable", str(error)[:512])
        token = show_token_id(request.token_id)
        if reason is not None:
            log.info("refused a join", token=token, reason=reason)
            return Denial(reason, f"the token is {reason}")
        log.info("admitted", node=show_id(node_id_of(request.public_key)), token=token)
        return Grant(*self._issuer.issue(request.public_key, is_keeper=False, runtime=self._runtime))

    async def _renew(self, visit: Visit) -> None:
        """The certificate was verified by TLS. (Eviction will be asked here.)"""
        answer: Grant | Denial
        if not self._limit.allows(visit.host):
            answer = Denial("busy", "too many visits from this address")
        elif not visit.certificate:
            answer = Denial("no certificate", "a renewal wants this swarm's certificate")
        elif self._issuer is None:
            answer = Denial("not keeper", "this node admits nobody")
        else:
            member = describe_leaf(visit.certificate)
            answer = Grant(*self._issuer.issue(member.public_key, is_keeper=member.keeper, runtime=self._runtime))
            log.info("renewed", node=show_id(member.node_id))
        await visit.send(encode(answer))


class VisitLimit:
    """Token buckets for visits, per host and over all; the hosts longest unseen are forgotten."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._all = _Bucket(VISIT_BURST, runtime.monotonic())
        self._hosts: OrderedDict[str, _Bucket] = OrderedDict()

    def allows(self, host: str) -> bool:
        """Count one visit."""
        now = self._runtime.monotonic()
        bucket = self._hosts.pop(host, None) or _Bucket(HOST_BURST, now)
        self._hosts[host] = bucket
        if len(self._hosts) > HOSTS_REMEMBERED:
            self._hosts.popitem(last=False)
        return bucket.take(HOST_VISITS_PER_S, HOST_BURST, now) and self._all.take(VISITS_PER_S, VISIT_BURST, now)


class _Bucket:
    def __init__(self, credit: float, now: float) -> None:
        self._credit = credit
        self._filled = now

    def take(self, rate: float, burst: float, now: float) -> bool:
        self._credit = min(burst, self._credit + (now - self._filled) * rate)
        self._filled = now
        if self._credit < 1:
            return False
        self._credit -= 1
        return True


Tell = Callable[[str, float], None]
"""`tell(stage, fraction)`: how far joining is; each address asked may take some seconds."""


async def obtain_credentials(
    keyring: Keyring,
    runtime: Runtime,
    *,
    open_swarm: bool,
    bootstrap: Sequence[str],
    token: str | None,
    embedder: str = WORDS,
    tell: Tell = lambda stage, fraction: None,
) -> Credentials:
    """What this node starts with: the membership it has, else the open swarm, else what the token buys, else a swarm of its own.

    `embedder` (its full name) is pinned where a swarm is founded; elsewhere its founder has settled it.

    A node with a valid membership ignores a token of its own swarm and refuses another's. Raises `NotAuthorised`,
    `NotAvailable`, `Conflict`, and `Unreachable` when none of the bootstrap addresses answers a first join.
    """
    if open_swarm:
        return keyring.enter_open_swarm()
    try:
        present = keyring.load()
    except NotAuthorised:
        if token is None:
            raise
        present = None
    if present is not None:
        _same_swarm(keyring, present, token)
        return present
    if token is None and bootstrap:
        raise NotAuthorised(
            f"Joining {bootstrap[0]} needs a token: run `moot token create` on one of its keepers and pass the line with --token.",
            code="no_token",
        )
    if token is None:
        return keyring.create_swarm(embedder)
    if not bootstrap:
        raise InvalidRequest("A token needs an address to join: pass --bootstrap HOST:PORT, or use `moot join HOST:PORT --token ...`.")
    return await _join_any(keyring, runtime, bootstrap, parse_token(token), tell)


def _same_swarm(keyring: Keyring, present: Credentials, token: str | None) -> None:
    """Whoever founded a swarm by mistake and then joins must hear of it, not go on alone. Raises `Conflict`."""
    try:
        wanted = None if token is None else parse_token(token).swarm_id
    except NotAuthorised:  # what is no token any more, left over in the environment, must not keep a member from starting
        return
    if wanted is not None and wanted != present.swarm_id:
        raise Conflict(
            f"{keyring.directory} belongs to another swarm than the token: choose another --data-dir,"
            " or move that directory away if its swarm is not wanted.",
            code="other_swarm",
        )


async def _join_any(keyring: Keyring, runtime: Runtime, bootstrap: Sequence[str], token: Token, tell: Tell) -> Credentials:
    failures: list[str] = []
    for address in bootstrap:
        tell(f"asking {address} to be let in", 0.0)
        try:
            credentials = await join(address, token, keyring.node_key(), runtime)
        except PeerError as error:
            failures.append(str(error))
            continue
        keyring.adopt(credentials)
        tell("joined", 1.0)
        return credentials
    check = "Check that the daemon runs there, that this is the port of its address (not of its API), and that no firewall is in between"
    raise Unreachable(f"Cannot join: {'; '.join(failures)}. {check}.")
